package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nopal/internal/ftrace"
	"nopal/internal/image"
)

func newSites(a *app) *cobra.Command {
	var pid pidFlag
	var format string
	var filter filterFlags
	c := &cobra.Command{
		Use:   "sites [FLAGS] FILE\n  nopal sites [FLAGS] -p PID",
		Short: "List functions and whether they can be traced",
		Long: `sites lists the functions of a program or library, or of all that a process has loaded, by address: the kind of the site
(table: listed by the compiler in __patchable_function_entries; nop-pair: two NOPs found at a symbol, on arm64; nops: five bytes of
NOPs found at a symbol, on x86-64; mcount: listed in __mcount_loc), and the reason where a function cannot be traced. It changes
nothing and needs no privilege for a file, which may be for another machine than this one.

Of a function that can be traced it tells how many exits it has, the places that --graph records durations with. "no return"
means that it has none; "entry only" that they could not be proven, with the reason: what is recorded then is when it begins, and
its end follows from what comes next. On x86-64 exits need no proof, since the functions' bodies are called ("called"); "entry only"
are a few that must find their own caller.

For a process it shows as well what is armed, in the letters of the kernel's enabled_functions (R registers are saved,
I the program counter may be changed, D called directly), and by whom.

The JSON report is one array with one function on each line:
  name, symbol (as in the file), addr (of the function), site (of its first NOP), object, kind, traceable, and where
  it applies reason, exits (their number), called (x86-64) or exits_reason, flags and ops.`,
		Example: `  nopal sites ./program
  nopal sites -F 'sqlite3_*' /usr/lib/aarch64-linux-gnu/libsqlite3.so.0
  sudo nopal sites -p 1234 --format=json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case pid == 0 && len(args) == 0:
				return usageErrorf(c, "whose sites? give a FILE, or a process with -p PID")
			case pid != 0 && len(args) > 0, len(args) > 1:
				return usageErrorf(c, "unexpected argument %q: give one FILE, or -p PID", args[len(args)-1])
			}
			f, err := filter.compile(c)
			if err != nil {
				return err
			}
			if pid != 0 {
				return a.sitesOfProcess(int(pid), f, format)
			}
			return a.sitesOfFile(args[0], f, format)
		},
	}
	c.Flags().VarP(&pid, "pid", "p", "list the sites of this running process")
	filter.add(c, "list")
	addFormat(c, &format, "text", "json")
	return c
}

// siteRow is a line of the report, and with these names of the JSON one.
type siteRow struct {
	Name        string   `json:"name"`
	Symbol      string   `json:"symbol,omitempty"`
	Addr        hex      `json:"addr"`
	Site        hex      `json:"site,omitempty"`
	Object      string   `json:"object"`
	Kind        string   `json:"kind,omitempty"`
	Traceable   bool     `json:"traceable"`
	Reason      string   `json:"reason,omitempty"`
	Exits       *int     `json:"exits,omitempty"` // nil: not proven, not traceable, or called
	Called      bool     `json:"called,omitempty"`
	ExitsReason string   `json:"exits_reason,omitempty"`
	Flags       string   `json:"flags,omitempty"`
	Ops         []string `json:"ops,omitempty"`
}

func (r *siteRow) addExits(e image.Exits) {
	r.ExitsReason, r.Called = e.Reason, e.Called
	if e.Reason == "" && !e.Called {
		n := len(e.List)
		r.Exits = &n
	}
}

// exitsColumn is what the text report says about exits.
func (r *siteRow) exitsColumn() string {
	switch {
	case r.ExitsReason != "":
		return "entry only"
	case r.Called:
		return "called"
	case r.Exits == nil:
		return "-"
	case *r.Exits == 0:
		return "no return"
	case *r.Exits == 1:
		return "1 exit"
	}
	return fmt.Sprintf("%d exits", *r.Exits)
}

// hex is an address, a string in JSON: numbers above 2^53 do not survive it.
type hex uint64

func (h hex) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", uint64(h)), nil }

// siteList gathers the rows of one or more objects.
type siteList struct {
	filter *ftrace.Filter
	rows   []siteRow
	all    []ftrace.Candidate // what the filter was asked about
	sites  int                // that can be traced, whether the filter wants them or not
}

// add reports whether the filter wants the row.
func (l *siteList) add(r siteRow) bool {
	if r.Traceable {
		l.sites++
	}
	if l.filter != nil {
		l.all = append(l.all, ftrace.Candidate{Raw: r.Symbol, Demangled: r.Name, Object: r.Object})
		if !l.filter.Match(r.Symbol, r.Name, r.Object) {
			return false
		}
	}
	l.rows = append(l.rows, r)
	return true
}

// addImage lists an object that is loaded at bias. armed tells what is armed at a site, and is nil for a file.
func (l *siteList) addImage(im *image.Image, bias uint64, armed func(site uint64) (flags string, ops []string)) {
	first := len(l.rows)
	for i, s := range im.Sites() {
		raw := im.SiteName(s)
		r := siteRow{
			Name: image.Demangle(raw), Symbol: raw, Addr: hex(bias + s.Entry), Site: hex(bias + s.Addr), Object: im.Path,
			Kind: s.Kind.String(), Traceable: s.Reason == "", Reason: s.Reason,
		}
		if armed != nil {
			r.Flags, r.Ops = armed(s.Addr)
		}
		if l.add(r) && r.Traceable {
			l.rows[len(l.rows)-1].addExits(im.Exits(i))
		}
	}
	for _, u := range im.Untraceable() {
		f := im.Funcs()[u.Func]
		l.add(siteRow{Name: f.Demangled(), Symbol: f.Name, Addr: hex(bias + f.Addr), Object: im.Path, Reason: u.Reason})
	}
	slices.SortStableFunc(l.rows[first:], func(a, b siteRow) int {
		switch {
		case a.Addr < b.Addr:
			return -1
		case a.Addr > b.Addr:
			return 1
		}
		return 0
	})
}

func (a *app) sitesOfFile(file string, filter *ftrace.Filter, format string) (err error) {
	im, err := image.Open(file, image.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, im.Close()) }()
	list := &siteList{filter: filter}
	list.addImage(im, 0, nil)
	return a.printSites(list, format, false, file)
}

func (a *app) printSites(l *siteList, format string, live bool, what string) error {
	w := bufio.NewWriter(a.stdout)
	switch {
	case format == "json":
		if err := sitesJSON(w, l.rows); err != nil {
			return err
		}
	case len(l.rows) > 0:
		sitesText(w, l.rows, live)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if l.sites == 0 {
		return noSites(what)
	}
	return l.filter.Check(slices.Values(l.all))
}

func noSites(what string) error {
	return fmt.Errorf("%s has no functions that can be traced: compile it with -fpatchable-function-entry=2, for x86-64 =5 (GCC 8, clang 10 or later), which puts NOPs at each function's entry", what)
}

func sitesJSON(w io.Writer, rows []siteRow) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	// Names are full of < and >, and nobody reads this as HTML.
	encoder.SetEscapeHTML(false)
	separator := "[\n"
	for _, r := range rows {
		line.Reset()
		if err := encoder.Encode(r); err != nil {
			return fmt.Errorf("encode site: %w", err)
		}
		fmt.Fprintf(w, "%s%s", separator, bytes.TrimSuffix(line.Bytes(), []byte("\n")))
		separator = ",\n"
	}
	if len(rows) == 0 {
		fmt.Fprint(w, "[")
	}
	_, err := fmt.Fprintln(w, "\n]")
	return err
}

func sitesText(w io.Writer, rows []siteRow, live bool) {
	const line = "%-18s  %-8s  %-10s  "
	fmt.Fprintf(w, line, "ADDRESS", "KIND", "EXITS")
	ops := len("OPS")
	if live {
		for _, r := range rows {
			ops = max(ops, len(strings.Join(r.Ops, ",")))
		}
		fmt.Fprintf(w, "%-5s  %-*s  ", "FLAGS", ops, "OPS")
	}
	fmt.Fprintln(w, "FUNCTION")
	for _, r := range rows {
		kind := r.Kind
		if kind == "" {
			kind = "-"
		}
		fmt.Fprintf(w, line, fmt.Sprintf("%#x", uint64(r.Addr)), kind, r.exitsColumn())
		if live {
			fmt.Fprintf(w, "%-5s  %-*s  ", r.Flags, ops, strings.Join(r.Ops, ","))
		}
		fmt.Fprint(w, r.Name)
		if live {
			fmt.Fprintf(w, " [%s]", path.Base(r.Object))
		}
		if r.Reason != "" {
			fmt.Fprintf(w, "  (not traceable: %s)", r.Reason)
		}
		if r.ExitsReason != "" {
			fmt.Fprintf(w, "  (entry only: %s)", r.ExitsReason)
		}
		fmt.Fprintln(w)
	}
}
