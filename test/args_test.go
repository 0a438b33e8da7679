//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// said is what a call was passed and has returned, by the program itself.
type said struct {
	name string
	args []string
	ret  string // empty: nothing
}

func (s said) String() string {
	return fmt.Sprintf("%s(%s) = %s", s.name, strings.Join(s.args, ", "), s.ret)
}

// saidBy reads the lines of a program of package argsgen, {"args":[{"name":..,"value":..}],"ret":..}.
func saidBy(t *testing.T, stdout string) []said {
	t.Helper()
	var list []said
	for line := range strings.Lines(stdout) {
		name, rest, _ := strings.Cut(line, " ")
		var e event
		if err := json.Unmarshal([]byte(rest), &e); err != nil {
			t.Fatalf("line %q of the program: %v", line, err)
		}
		list = append(list, saidIn(name, e, e.Ret))
	}
	return list
}

// saidIn is what one line says.
func saidIn(name string, e event, ret json.RawMessage) said {
	s := said{name: name, ret: plain(ret)}
	for _, a := range e.Args {
		s.args = append(s.args, a.Name+"="+plain(a.Value))
	}
	return s
}

// shownBy is what nopal shows of the calls of a program.
func shownBy(t *testing.T, program string, keep func(name string) bool) (outcome, []said) {
	t.Helper()
	o, file := recordSame(t, "", append(slices.Clone(roomy), "-a", "--graph"), fixture(t, program))
	var open []said
	var list []said
	for _, e := range replay(t, file, func(e event) bool { return keep(e.Name) }).all {
		if e.Type == "entry" {
			open = append(open, saidIn(e.Name, e, nil))
			continue
		}
		if len(open) == 0 {
			t.Fatalf("%s: an exit of %s without an entry", program, e.Name)
		}
		call := open[len(open)-1]
		open = open[:len(open)-1]
		call.ret = plain(e.Ret)
		list = append(list, call)
	}
	return o, list
}

// What nopal shows of functions with random signatures is what they have seen themselves.
func TestArgsRandom(t *testing.T) {
	notYet(t, "arguments")
	for _, compiler := range []string{"gcc", "clang"} {
		for level := range 4 {
			program := fmt.Sprintf("random-%s-o%d", compiler, level)
			t.Run(program, func(t *testing.T) {
				o, got := shownBy(t, program, func(name string) bool { return strings.HasPrefix(name, "f") })
				want := saidBy(t, o.stdout)
				if len(got) != len(want) {
					t.Fatalf("%d calls, want %d", len(got), len(want))
				}
				values, results, bad := 0, 0, 0
				for i, w := range want {
					g := got[i]
					if g.name != w.name || len(g.args) != len(w.args) {
						t.Errorf("call %v, want %v", g, w)
						continue
					}
					for j := range w.args {
						values++
						if g.args[j] != w.args[j] {
							bad++
							t.Errorf("%s: argument %s, want %s", w.name, g.args[j], w.args[j])
						}
					}
					if g.ret != w.ret {
						t.Errorf("%s: result %s, want %s", w.name, g.ret, w.ret)
					}
					if w.ret != "" {
						results++
					}
				}
				t.Logf("%d calls with %d values, %d of them wrong, and %d results", len(want), values, bad, results)
				if results < len(want)/2 {
					t.Error("too few results")
				}
			})
		}
	}
}

// Classes, strings and enumerations of C++ and Rust are shown as they are written.
func TestArgsClasses(t *testing.T) {
	notYet(t, "arguments")
	for _, program := range []string{"classes", "classes-o0", "classes-clang", "rust"} {
		t.Run(program, func(t *testing.T) {
			names := []string{"counted", "strings", "boxes", "modes", "point", "joined", "made", "Base::method", "name", "greet", "pass", "split", "numbers"}
			base := func(name string) string {
				name, _, _ = strings.Cut(name, "(")
				return strings.TrimPrefix(name, "rust::")
			}
			o, got := shownBy(t, program, func(name string) bool { return slices.Contains(names, base(name)) })
			i := 0
			for line := range strings.Lines(o.stdout) {
				name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				d := json.NewDecoder(strings.NewReader(rest))
				var args []json.RawMessage
				var ret json.RawMessage
				if err := d.Decode(&args); err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				if err := d.Decode(&ret); err != nil {
					t.Fatalf("line %q: %v", line, err)
				}
				if i == len(got) {
					t.Fatalf("no call of %s", name)
				}
				g := got[i]
				i++
				var values []string
				for _, a := range g.args {
					_, value, _ := strings.Cut(a, "=")
					values = append(values, value)
				}
				var want []string
				for _, a := range args {
					want = append(want, plain(a))
				}
				if len(values) > 0 && want[0] == "null" {
					values[0] = "null" // this, which is another at each run
				}
				if base(g.name) != name || !slices.Equal(values, want) || g.ret != plain(ret) {
					t.Errorf("call %v, want %s(%s) = %s", g, name, strings.Join(want, ", "), ret)
				}
			}
		})
	}
}
