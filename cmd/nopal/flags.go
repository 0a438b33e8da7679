package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/ftrace"
)

// enumFlag is a flag with a few words as values; anything else is refused where the flag is read.
type enumFlag struct {
	value  *string
	values []string
	name   string
}

func (f *enumFlag) String() string {
	if f.value == nil {
		return ""
	}
	return *f.value
}

func (f *enumFlag) Type() string { return f.name }

func (f *enumFlag) Set(s string) error {
	if !slices.Contains(f.values, s) {
		return fmt.Errorf("it is one of %s", strings.Join(f.values, ", "))
	}
	*f.value = s
	return nil
}

func completeEnum(c *cobra.Command, flag string, values []string) {
	// It fails only for a flag that does not exist or was given twice, which the tests would see.
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

func addFormat(c *cobra.Command, value *string, values ...string) {
	*value = values[0]
	c.Flags().Var(&enumFlag{value: value, values: values, name: "format"}, "format", "write the report as "+strings.Join(values, " or "))
	completeEnum(c, "format", values)
}

// sizeFlag is a number of bytes, with k, m or g for the powers of 1024.
type sizeFlag int64

func (f *sizeFlag) String() string {
	n := int64(*f)
	for _, unit := range []struct {
		suffix string
		shift  uint
	}{{"g", 30}, {"m", 20}, {"k", 10}} {
		if n != 0 && n%(1<<unit.shift) == 0 {
			return strconv.FormatInt(n>>unit.shift, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}

func (f *sizeFlag) Type() string { return "size" }

func (f *sizeFlag) Set(s string) error {
	number, shift := strings.ToLower(s), uint(0)
	if number != "" {
		if i := strings.IndexByte("kmg", number[len(number)-1]); i >= 0 {
			number, shift = number[:len(number)-1], uint(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n <= 0 {
		return fmt.Errorf("a size is a number of bytes, or one with k, m or g behind it: 64m")
	}
	if n > math.MaxInt64>>shift {
		return fmt.Errorf("this is more than any machine has")
	}
	*f = sizeFlag(n << shift)
	return nil
}

// durationFlag is a time with a unit; a bare number is seconds.
type durationFlag time.Duration

func (f *durationFlag) String() string {
	if *f == 0 {
		return ""
	}
	return time.Duration(*f).String()
}

func (f *durationFlag) Type() string { return "time" }

func (f *durationFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d <= 0 {
		return fmt.Errorf("a time is a number of seconds, or one with a unit: 10s, 1m30s, 500ms")
	}
	*f = durationFlag(d)
	return nil
}

// thresholdFlag is a short time, which has to have a unit: other tools disagree about what a bare number is.
type thresholdFlag time.Duration

func (f *thresholdFlag) String() string { return (*durationFlag)(f).String() }

func (f *thresholdFlag) Type() string { return "time" }

func (f *thresholdFlag) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("a time has a unit: 500ns, 10us, 2ms, 1s")
	}
	*f = thresholdFlag(d)
	return nil
}

// countFlag is a number of at least 1. The zero value is none.
type countFlag int

func (f *countFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.Itoa(int(*f))
}

func (f *countFlag) Type() string { return "N" }

func (f *countFlag) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 31)
	if err != nil || n <= 0 {
		return fmt.Errorf("this is a number of at least 1")
	}
	*f = countFlag(n)
	return nil
}

// pidFlag is a process id. The zero value is none.
type pidFlag int

func (f *pidFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.Itoa(int(*f))
}

func (f *pidFlag) Type() string { return "pid" }

func (f *pidFlag) Set(s string) error {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n <= 0 {
		return fmt.Errorf("a process id is a number above 0 (`pidof NAME` finds it)")
	}
	*f = pidFlag(n)
	return nil
}

// filterFlags are -F and -N.
type filterFlags struct {
	only, not []string
}

func (f *filterFlags) add(c *cobra.Command, verb string) {
	// Not a StringSlice: commas are part of C++ names.
	c.Flags().StringArrayVarP(&f.only, "filter", "F", nil, verb+" only functions that the `glob` matches ([object:]name; !name leaves out); may be repeated")
	c.Flags().StringArrayVarP(&f.not, "notrace", "N", nil, verb+" no function that the `glob` matches; may be repeated")
}

func (f *filterFlags) compile(c *cobra.Command) (*ftrace.Filter, error) {
	filter, err := ftrace.NewFilter(f.only, f.not)
	if err != nil {
		return nil, &usageError{c.CommandPath(), err}
	}
	return filter, nil
}
