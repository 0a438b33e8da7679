package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is a line of `go test -json` and of test2json (see go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

// report follows the events of all runs. It prints what failed tests print, and
// one line for each package.
type report struct {
	out     io.Writer
	verbose bool
	output  map[string]*bytes.Buffer // of tests that are still running
	passed  map[string]bool
	skipped map[string]string // test -> reason
	failed  []string
	counts  map[string]int // passed tests by run
}

func newReport(out io.Writer, verbose bool) *report {
	return &report{
		out: out, verbose: verbose, output: make(map[string]*bytes.Buffer),
		passed: make(map[string]bool), skipped: make(map[string]string), counts: make(map[string]int),
	}
}

// writer returns where the events of one run are to be written.
func (r *report) writer(run string) io.WriteCloser { return &eventWriter{report: r, run: run} }

type eventWriter struct {
	report *report
	run    string
	rest   []byte
}

func (w *eventWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(p), nil
		}
		w.rest = rest
		w.report.line(w.run, line)
	}
}

// Close ends the run. What has not ended by then was cut off.
func (w *eventWriter) Close() error {
	if len(w.rest) > 0 {
		w.report.line(w.run, w.rest)
		w.rest = nil
	}
	for _, key := range slices.Sorted(maps.Keys(w.report.output)) {
		if strings.HasPrefix(key, w.run+" ") && strings.Contains(key, ".Test") {
			fmt.Fprintf(w.report.out, "cut off\t%s\n%s", key, w.report.output[key])
			w.report.failed = append(w.report.failed, key+" (cut off)")
			delete(w.report.output, key)
		}
	}
	return nil
}

func (r *report) line(run string, line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		fmt.Fprintf(r.out, "%s\n", line)
		return
	}
	name := e.Package
	if e.Test != "" {
		name += "." + e.Test
	}
	key := run + " " + name
	switch e.Action {
	case "build-output":
		io.WriteString(r.out, e.Output)
	case "build-fail":
		r.failed = append(r.failed, key+" (build)")
	case "output":
		r.collect(key, e)
	case "pass", "skip", "fail":
		r.end(run, key, name, e)
	}
}

func (r *report) collect(key string, e event) {
	if r.verbose && e.Test != "" {
		io.WriteString(r.out, e.Output)
	}
	b := r.output[key]
	if b == nil {
		b = new(bytes.Buffer)
		r.output[key] = b
	}
	b.WriteString(e.Output)
}

// end takes note of how a test, or a package, ended.
func (r *report) end(run, key, name string, e event) {
	var output string
	if b := r.output[key]; b != nil {
		output = b.String()
		delete(r.output, key)
	}
	if e.Test == "" {
		r.endPackage(run, key, output, e)
		return
	}
	switch e.Action {
	case "pass":
		r.passed[name] = true
		r.counts[run+" "+e.Package]++
	case "skip":
		r.skipped[name] = reason(output)
	case "fail":
		r.failed = append(r.failed, key)
		if !r.verbose {
			io.WriteString(r.out, output)
		}
	}
}

func (r *report) endPackage(run, key, output string, e event) {
	switch e.Action {
	case "pass":
		if n := r.counts[key]; n > 0 {
			fmt.Fprintf(r.out, "ok  \t%s\t%.3fs\t(%s, %d tests)\n", e.Package, e.Elapsed, run, n)
		}
	case "fail":
		// A panic, a data race or a timeout is no output of a single test.
		io.WriteString(r.out, output)
		fmt.Fprintf(r.out, "FAIL\t%s\t%.3fs\t(%s)\n", e.Package, e.Elapsed, run)
		// What was running when the process died has no end of its own.
		for other, b := range r.output {
			if strings.HasPrefix(other, key+".") {
				io.WriteString(r.out, b.String())
				delete(r.output, other)
			}
		}
		r.failed = append(r.failed, key)
	}
}

// reason finds what t.Skip was given: the last line that is not the runner's.
func reason(output string) string {
	var last string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			last = line
		}
	}
	return last
}

func (r *report) sawFailure() bool { return len(r.failed) > 0 }

// summary prints what failed, and returns how much.
func (r *report) summary() int {
	if len(r.failed) > 0 {
		fmt.Fprintln(r.out, "failed:")
	}
	for _, name := range r.failed {
		fmt.Fprintf(r.out, "\t%s\n", name)
	}
	return len(r.failed)
}

// neverRun prints the tests that were skipped wherever they were tried.
func (r *report) neverRun() int {
	var names []string
	for name := range r.skipped {
		if !r.passed[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		fmt.Fprintln(r.out, "skipped everywhere:")
	}
	for _, name := range names {
		fmt.Fprintf(r.out, "\t%s: %s\n", name, r.skipped[name])
	}
	return len(names)
}
