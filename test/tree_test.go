//go:build linux && (arm64 || amd64)

package test

import (
	"strconv"
	"strings"
	"testing"
)

// walkFib checks that events are those of fib(n) at a depth and returns the rest.
func walkFib(t *testing.T, all []event, n, depth int) []event {
	if t.Failed() {
		return nil
	}
	if len(all) == 0 || all[0].Type != "entry" || all[0].Name != "fib" || all[0].Depth != depth {
		t.Errorf("fib(%d) at depth %d does not begin with its entry: %+v", n, depth, first(all))
		return nil
	}
	all = all[1:]
	if n >= 2 {
		all = walkFib(t, all, n-1, depth+1)
		all = walkFib(t, all, n-2, depth+1)
	}
	if t.Failed() {
		return nil
	}
	if len(all) == 0 || all[0].Type != "exit" || all[0].Name != "fib" || all[0].Depth != depth || all[0].Inferred {
		t.Errorf("fib(%d) at depth %d does not end with its exit: %+v", n, depth, first(all))
		return nil
	}
	return all[1:]
}

func first(all []event) any {
	if len(all) == 0 {
		return "nothing"
	}
	return all[0]
}

// The tree of fib(20), node by node: 21,891 calls.
func TestGraphFibTree(t *testing.T) {
	for _, prog := range []string{"fib", "fib-clang", "fib-o0"} {
		_, file := recordSame(t, "", roomyGraph, fixture(t, prog), "20")
		r := replay(t, file, func(e event) bool { return e.Name == "fib" })
		if len(r.all) != 2*21891 {
			t.Errorf("%s: %d entries and exits of fib, want %d", prog, len(r.all), 2*21891)
		}
		if rest := walkFib(t, r.all, 20, r.all[0].Depth); len(rest) > 0 {
			t.Errorf("%s: %d events after the end", prog, len(rest))
		}
	}
}

// shownTrees are the calls of programs/tree.c's functions as nopal shows them, by thread, in the program's notation,
// and how many of their ends are inferred.
func shownTrees(t *testing.T, file string, args ...string) (trees map[int]string, inferred int) {
	t.Helper()
	builders := make(map[int]*strings.Builder)
	replay(t, file, func(e event) bool {
		letter, ok := strings.CutPrefix(e.Name, "t_")
		if !ok {
			return false
		}
		b := builders[e.TID]
		if b == nil {
			b = new(strings.Builder)
			builders[e.TID] = b
		}
		if e.Type == "entry" {
			b.WriteString(letter + "(")
			return false
		}
		b.WriteString(")")
		if e.Inferred {
			inferred++
		}
		return false
	}, args...)
	trees = make(map[int]string)
	for tid, b := range builders {
		trees[tid] = b.String()
	}
	return trees, inferred
}

// writtenTrees are those that the program wrote down itself.
func writtenTrees(t *testing.T, stdout string) map[int]string {
	t.Helper()
	trees := make(map[int]string)
	for line := range strings.Lines(stdout) {
		f := strings.Fields(line)
		if f[0] != "~tree" {
			continue
		}
		tid, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		trees[tid] = f[2]
	}
	if len(trees) != 3 {
		t.Errorf("%d trees, want 3", len(trees))
	}
	return trees
}

// sameTree compares two trees and shows where they part.
func sameTree(t *testing.T, tid int, is, want string) {
	t.Helper()
	if is == want {
		return
	}
	at := 0
	for at < len(is) && at < len(want) && is[at] == want[at] {
		at++
	}
	t.Errorf("thread %d: the tree differs at %d of %d and %d: ...%s, want ...%s", tid, at, len(is), len(want),
		around(is, at), around(want, at))
}

// around is the part of a text that is near a place.
func around(s string, at int) string { return s[max(0, at-20):min(len(s), at+20)] }

// A random tree with tail calls and longjmp is as the program wrote it down, node by node.
func TestGraphTree(t *testing.T) {
	for _, prog := range []string{"tree", "tree-o0", "tree-os", "tree-o3", "tree-clang"} {
		t.Run(prog, func(t *testing.T) {
			t.Parallel()
			got, file := recordSame(t, "", roomyGraph, fixture(t, prog), "3000")
			shown, inferred := shownTrees(t, file)
			for tid, tree := range writtenTrees(t, got.stdout) {
				sameTree(t, tid, shown[tid], tree)
			}
			if inferred == 0 {
				t.Error("longjmp left no call: the program does not test what it should")
			}
		})
	}
}

// What is filtered in the target is what the same filter leaves of the whole recording. That holds unless calls are
// left by longjmp and the next one that is recorded is made by others, which are not, from further down the stack: then
// nothing in the recording says that those calls are over. None of these filters meets that.
func TestGraphFilters(t *testing.T) {
	prog := fixture(t, "tree")
	got, file := recordSame(t, "", roomyGraph, prog, "1500")
	whole := writtenTrees(t, got.stdout)
	for _, flags := range []string{"-F t_d", "-N t_b", "-F t_d -N t_g", "-F t_a -D 1", "-F t_d -D 2", "-D 3", "-D 6 -N t_f"} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			filters := strings.Fields(flags)
			// The threads of both runs are known by the whole tree that the program wrote.
			want := make(map[string]string)
			trees, _ := shownTrees(t, file, filters...)
			for tid, tree := range trees {
				want[whole[tid]] = tree
			}
			got, filtered := recordSame(t, "", append(filters, roomyGraph...), prog, "1500")
			shown, _ := shownTrees(t, filtered)
			for tid, tree := range writtenTrees(t, got.stdout) {
				if want[tree] == "" {
					t.Errorf("the filter leaves nothing of thread %d", tid)
				}
				sameTree(t, tid, shown[tid], want[tree])
			}
		})
	}
}
