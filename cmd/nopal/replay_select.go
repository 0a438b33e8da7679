package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"nopal/internal/analyze"
	"nopal/internal/ftrace"
	"nopal/trace"
)

// selectFlags say which calls of a recording are wanted. They are those of record where record has them.
type selectFlags struct {
	filter  filterFlags
	tid     tidFlag
	depth   int
	minTime durationFlag
	span    rangeFlag
}

func (f *selectFlags) add(c *cobra.Command, verb string) {
	f.filter.add(c, verb)
	c.Flags().Var(&f.tid, "tid", verb+" only the thread with this id")
}

func (f *selectFlags) addDepth(c *cobra.Command) {
	c.Flags().IntVarP(&f.depth, "depth", "D", 0, "show only so many `levels` of calls")
	c.Flags().VarP(&f.minTime, "time-filter", "t", "leave out calls that take less than this")
}

func (f *selectFlags) addRange(c *cobra.Command) {
	c.Flags().VarP(&f.span, "time-range", "r", "only what happens from one time to another")
}

// selection is what the flags ask for.
type selection struct {
	analyze.Selection
	filters []*ftrace.Filter
}

func (f *selectFlags) compile(c *cobra.Command) (*selection, error) {
	if f.depth < 0 {
		return nil, usageErrorf(c, "-D %d: a depth is a number above 0", f.depth)
	}
	s := &selection{Selection: analyze.Selection{
		TID: uint32(f.tid), Depth: f.depth, MinTime: int64(time.Duration(f.minTime)), Range: analyze.Range(f.span),
	}}
	// What is left out is left out with all that it calls, so it is asked for by itself.
	var only, not []string
	for _, text := range f.filter.only {
		if strings.HasPrefix(text, "!") {
			not = append(not, text)
		} else {
			only = append(only, text)
		}
	}
	in, err := (&filterFlags{only: only}).compile(c)
	if err != nil {
		return nil, err
	}
	out, err := (&filterFlags{only: not, not: f.filter.not}).compile(c)
	if err != nil {
		return nil, err
	}
	if in != nil {
		s.Only = in
		s.filters = append(s.filters, in)
	}
	if out != nil {
		s.Not = leftOut{out}
		s.filters = append(s.filters, out)
	}
	return s, nil
}

// leftOut matches what a filter that only leaves out does not match.
type leftOut struct{ filter *ftrace.Filter }

func (l leftOut) Match(raw, demangled, object string) bool {
	return !l.filter.Match(raw, demangled, object)
}

// check finds patterns that fit no function of the recording. One that fits a function which was never called is no mistake.
func (s *selection) check(rec *trace.Recording) error {
	for _, filter := range s.filters {
		if err := checkRecorded(filter, rec); err != nil {
			return err
		}
	}
	return nil
}

func checkRecorded(filter *ftrace.Filter, rec *trace.Recording) error {
	if len(filter.Unmatched()) == 0 {
		return nil
	}
	for f := range analyze.Functions(rec) {
		filter.Match(f.Raw, f.Demangled, f.Object)
	}
	return filter.Check(func(yield func(ftrace.Candidate) bool) {
		for f := range analyze.Functions(rec) {
			if !yield(ftrace.Candidate(f)) {
				return
			}
		}
	})
}

// tidFlag is the id of a thread, or of none.
type tidFlag uint32

func (f *tidFlag) String() string {
	if *f == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(*f), 10)
}

func (f *tidFlag) Type() string { return "tid" }

func (f *tidFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return fmt.Errorf("a thread id is a number above 0 (`nopal info` lists them)")
	}
	*f = tidFlag(n)
	return nil
}

// rangeFlag is FROM~TO.
type rangeFlag analyze.Range

func (f *rangeFlag) String() string { return "" }

func (f *rangeFlag) Type() string { return "from~to" }

func (f *rangeFlag) Set(s string) error {
	r, err := analyze.ParseRange(s)
	*f = rangeFlag(r)
	return err
}
