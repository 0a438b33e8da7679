//go:build linux && (arm64 || amd64)

package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// plain is a value without a choice of how it is written.
func plain(v json.RawMessage) string {
	if len(v) == 0 {
		return ""
	}
	d := json.NewDecoder(bytes.NewReader(v))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return "bad value: " + err.Error()
	}
	b, err := json.Marshal(x)
	if err != nil {
		return "bad value: " + err.Error()
	}
	return string(b)
}

// shown is what a call was passed or has returned, in one line.
func (e event) shown() string {
	if e.Type == "exit" {
		return e.Name + "=" + plain(e.Ret)
	}
	var b strings.Builder
	for i, a := range e.Args {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%s:%s", a.Name, plain(a.Value))
	}
	return e.Name + "(" + b.String() + ")"
}

// valued runs a program and returns what its calls of some functions have shown. The program does what it does untraced.
func valued(t *testing.T, options []string, names []string, argv ...string) []string {
	t.Helper()
	_, file := recordSame(t, "", append(slices.Clone(roomy), options...), argv...)
	r := replay(t, file, func(e event) bool { return slices.Contains(names, e.Name) && (len(e.Args) > 0 || len(e.Ret) > 0) })
	var list []string
	for _, e := range r.all {
		list = append(list, e.shown())
	}
	return list
}

// probePrograms are the builds of probes.c that are tried.
var probePrograms = []string{"probes", "probes-clang", "probes-static", "probes-musl"}

var byHand = []string{
	"-A", "ints@arg1/i8,arg2/u8,arg3/i16,arg4/u16,arg5/i32,arg6/u32,arg7/i64,arg8/u64",
	"-A", "twelve@arg1,arg8/i64,arg9/i64,arg10/i64,arg12/i64",
	"-A", "floats@fparg1/f32,fparg2/f64,arg1/i32,fparg3/f64",
	"-A", "text@arg1/s,arg2/i32",
}

func byHandWant(exits bool) []string {
	var want []string
	for i := range 3 {
		entry := fmt.Sprintf(`ints(arg1:%d arg2:255 arg3:-300 arg4:60000 arg5:%d arg6:4000000000 arg7:-5000000000 arg8:18000000000000000000)`, -1-i, -70000+i)
		ret := fmt.Sprintf("ints=%d", -70001+i)
		calls := []string{
			entry, ret,
			fmt.Sprintf(`twelve(arg1:1 arg8:8 arg9:9 arg10:-10 arg12:%d)`, 12+i), fmt.Sprintf("twelve=%d", 12+i),
			fmt.Sprintf(`floats(fparg1:0.5 fparg2:-2.25 arg1:%d fparg3:1e+10)`, i), "floats=9.99999999825e+09",
			fmt.Sprintf(`text(arg1:"hello \"world\"\n" arg2:%d)`, i), `text="ello \"world\"\n"`,
		}
		for j, c := range calls {
			if j%2 == 0 || exits {
				want = append(want, c)
			}
		}
	}
	return want
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("%d: got %s, want %s", i, g, w)
		}
	}
}

// Arguments and results by hand are what the program passed and returned: as events of their own kind, and beside
// events of which filters decide.
func TestProbesByHand(t *testing.T) {
	notYet(t, "arguments")
	names := []string{"ints", "twelve", "floats", "text"}
	results := []string{"--graph", "-R", "ints@ret/i32;twelve@ret/i64;floats@fpret/f64;text@ret/s"}
	for _, program := range probePrograms {
		for name, options := range map[string][]string{
			"plain": nil, "graph": results, "filtered": append(results[:len(results):len(results)], "-F", "main", "-D", "5"),
			"regs": {"--regs"}, "threshold": append(results[:len(results):len(results)], "-t", "1ns"),
		} {
			t.Run(program+"/"+name, func(t *testing.T) {
				got := valued(t, append(options, byHand...), names, fixture(t, program))
				compare(t, got, byHandWant(slices.Contains(options, "-R")))
			})
		}
	}
}

// What a pointer leads to is read if it is there, and is never what stops the program.
func TestProbesFaults(t *testing.T) {
	notYet(t, "arguments")
	for _, program := range probePrograms {
		got := valued(t, []string{"-A", "blind@arg1/s,arg2/i32"}, []string{"blind"}, fixture(t, program), "faults")
		if len(got) != 10 {
			t.Fatalf("%d calls: %q", len(got), got)
		}
		fault := `{"fault":"`
		for i, want := range []string{
			`"whole"`, `"brink"`, fault, fault, `{"fault":"0x0"}`, `{"fault":"0x123"}`, `{"fault":"0xdead00000000beef"}`, `"constant"`, `"on the stack"`, `""`,
		} {
			if !strings.HasPrefix(got[i], "blind(arg1:"+want) || !strings.HasSuffix(got[i], fmt.Sprintf(" arg2:%d)", i)) {
				t.Errorf("%s: %s, want %s", program, got[i], want)
			}
		}
	}
}

// Memory that another thread unmaps and writes at the same time is read as far as it is written, or is not there: a
// compiler writes a text of six bytes in two stores, so half a text is what the memory held.
func TestProbesRace(t *testing.T) {
	notYet(t, "arguments")
	got := valued(t, []string{"-A", "blind@arg1/s"}, []string{"blind"}, fixture(t, "probes"), "race")
	possible := []string{`blind(arg1:{"fault":"0x500000000000"})`}
	for i := range len("there") + 1 {
		possible = append(possible, fmt.Sprintf("blind(arg1:%q)", "there"[:i]))
	}
	kinds := map[string]int{}
	for _, g := range got {
		kinds[g]++
		if !slices.Contains(possible, g) {
			t.Errorf("a call with %s, want one of %v", g, possible)
		}
	}
	if len(got) != 3000 || kinds[possible[0]] == 0 {
		t.Errorf("%d calls, want 3000, some of them without the memory: %v", len(got), kinds)
	}
}

// A filter that kills for our system call does not get to see one.
func TestProbesSandbox(t *testing.T) {
	notYet(t, "arguments")
	for _, program := range probePrograms {
		untraced := run(t, "", fixture(t, program), "sandbox")
		traced, file := record(t, "", append([]string{"-A", "blind@arg1/s"}, roomy...), fixture(t, program), "sandbox")
		if traced.stdout != untraced.stdout || traced.status != untraced.status {
			t.Errorf("%s: status %#x, %q, %q", program, traced.status, traced.stdout, traced.stderr)
		}
		var got []string
		for _, e := range replay(t, file, func(e event) bool { return e.Name == "blind" }).all {
			got = append(got, e.shown())
		}
		if len(got) != 4 {
			t.Fatalf("%s: %q", program, got)
		}
		if strings.Contains(got[3], "on the heap") || got[0] != `blind(arg1:"on the heap")` || strings.Contains(got[1], "on the heap") || got[2] != `blind(arg1:"on the stack")` {
			t.Errorf("%s: %q", program, got)
		}
	}
}

// Conditions choose calls by what they are passed and, in a graph, by what they return.
func TestProbesConditions(t *testing.T) {
	notYet(t, "arguments")
	for _, program := range probePrograms {
		for _, c := range []struct {
			options []string
			want    string
		}{
			{[]string{"-F", "failing@arg1>=7"}, "7 8 9"},
			{[]string{"-F", "failing@arg1/i32 < 2 || arg1 == 5"}, "0 1 5"},
			{[]string{"-F", "failing@arg1 & 4 && !(arg1 == 6)"}, "4 5 7"},
			{[]string{"--graph", "-F", "failing@arg1>=7", "-A", "leaf@arg1/i32"}, "7=-7 8(8=8)=9 9=-9"},
			{[]string{"--graph", "-F", "failing@ret/i32<0"}, "1=-1 3=-3 5=-5 7=-7 9=-9"},
			{[]string{"--graph", "-F", "failing@ret/i32<0 && arg1>4"}, "5=-5 7=-7 9=-9"},
			{[]string{"--graph", "-F", "main", "-F", "failing@ret/i32==9"}, "8=9"},
		} {
			t.Run(program+" "+strings.Join(c.options, " "), func(t *testing.T) {
				options := append(slices.Clone(c.options), "-A", "failing@arg1/i32")
				if c.options[0] == "--graph" {
					options = append(options, "-R", "failing@ret/i32;leaf@ret/i32")
				}
				_, file := recordSame(t, "", append(slices.Clone(roomy), options...), fixture(t, program))
				r := replay(t, file, func(e event) bool { return e.Name == "failing" || e.Name == "leaf" })
				var b strings.Builder
				for _, e := range r.all {
					switch {
					case e.Type == "exit" && e.Name == "leaf":
						fmt.Fprintf(&b, "=%s)", e.Ret)
					case e.Type == "exit":
						fmt.Fprintf(&b, "=%s", e.Ret)
					case e.Name == "leaf":
						b.WriteString("(")
					default:
						b.WriteString(" ")
					}
					for _, a := range e.Args {
						var v json.Number
						if err := json.Unmarshal(a.Value, &v); err != nil {
							t.Fatal(err)
						}
						b.WriteString(v.String())
					}
				}
				if got := strings.TrimSpace(b.String()); got != c.want {
					t.Errorf("recorded %s, want %s", got, c.want)
				}
			})
		}
	}
}

// What cannot be is said before anything runs.
func TestProbesRefused(t *testing.T) {
	notYet(t, "arguments")
	prog := fixture(t, "probes")
	for _, c := range []struct{ option, value, want string }{
		{"-A", "ints@arg0/i32", "numbered from 1"},
		{"-A", "ints@arg1/q", "no format"},
		{"-R", "ints@ret/i32", "--graph"},
		{"-F", "ints@ret<0", "--graph"},
		{"-F", "ints@arg1 ==", "missing"},
		{"-F", "ints@nosuch==1", "nosuch"},
		{"-A", "nosuchfunction@arg1/i32", `-A "nosuchfunction"`},
	} {
		o := nopal(t, "record", "-o", t.TempDir()+"/x.data", c.option, c.value, prog)
		if o.ok() || !strings.Contains(o.stderr, c.want) || strings.Contains(o.stdout, "sum") {
			t.Errorf("%s %s: status %#x, stdout %q, stderr %q, want %q in it", c.option, c.value, o.status, o.stdout, o.stderr, c.want)
		}
	}
}

// A recording with arguments is steered like any other: its records are events by themselves while nothing else decides
// about calls, and beside the events while something does.
func TestProbesSteered(t *testing.T) {
	notYet(t, "arguments")
	prog := fixture(t, "busy")
	p := startReady(t, prog, "4")
	r := startRecorder(t, p.pid(), "--graph", "-a", "--overwrite", "--buffer", "1m")
	for range 3 {
		for _, args := range [][]string{
			{"filter", "-D", "2"}, {"filter", "-F", "b1"}, {"filter", "-t", "1us"}, {"off"}, {"on"}, {"filter", "-F", "*", "-D", "0", "-t", "0"}, {"disarm", "b*"}, {"arm", "b*"},
		} {
			r.ctl(t, args...)
		}
	}
	time.Sleep(50 * time.Millisecond)
	r.stop(t)
	clean(t, p.pid())
	busyRight(t, p.finish(t))
	with := 0
	for _, e := range replay(t, r.file, func(e event) bool { return e.Name == "b1" }).all {
		if len(e.Args) > 0 || len(e.Ret) > 0 {
			with++
		}
	}
	if with == 0 {
		t.Error("no arguments of b1")
	}
}

// Killed at any moment, nopal leaves code in the target that goes on to work.
func TestProbesKilled(t *testing.T) {
	notYet(t, "arguments")
	prog := fixture(t, "busy")
	p := startReady(t, prog, "4")
	for i := range 6 {
		options := [][]string{{"-a"}, {"--graph", "-a"}, {"--graph", "-a", "-F", "b1"}}[i%3]
		rec := start(t, append([]string{nopalBin(t), "record", "-p", p.pid(), "-o", t.TempDir() + "/nopal.data"}, options...)...)
		eventually(t, "armed functions", func() bool { return armed(t, p.pid(), prog) })
		time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		rec.signal(t, syscall.SIGKILL)
		rec.wait(t)
		if i == 2 {
			nopalOK(t, "detach", "-p", p.pid())
			clean(t, p.pid())
		}
	}
	nopalOK(t, "detach", "-p", p.pid())
	clean(t, p.pid())
	busyRight(t, p.finish(t))
}
