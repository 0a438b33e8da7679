package analyze

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"nopal/trace"
)

func callGraph(t testing.TB, file []byte, o GraphOptions) *CallGraph {
	t.Helper()
	g, err := NewCallGraph(bytes.NewReader(file), o)
	check(t, err)
	return g
}

func TestCallGraph(t *testing.T) {
	for name, c := range map[string]struct {
		file []byte
		o    GraphOptions
	}{
		"all":        {graphSample(t), GraphOptions{}},
		"function":   {graphSample(t), GraphOptions{Function: only("foo::bar(int)", "lua_call")}},
		"share":      {graphSample(t), GraphOptions{MinShare: 0.01}},
		"time":       {graphSample(t), GraphOptions{Selection: Selection{MinTime: 1_999_500}}},
		"levels":     {graphSample(t), GraphOptions{Selection: Selection{Depth: 2, TID: 100}}},
		"subtree":    {graphSample(t), GraphOptions{Selection: Selection{Only: only("foo::bar")}}},
		"entries":    {sample(t), GraphOptions{}},
		"not called": {sample(t), GraphOptions{Function: only("nothing")}},
	} {
		g := callGraph(t, c.file, c.o)
		var text, js strings.Builder
		check(t, g.WriteText(&text), g.WriteJSON(&js))
		golden(t, "callgraph.txtar", name, text.String()+js.String())
		if !json.Valid([]byte(js.String())) {
			t.Errorf("%s: this is not JSON", name)
		}
	}
}

// TestCallGraphIsExact builds the graphs of random programs in another way.
func TestCallGraphIsExact(t *testing.T) {
	names := []string{"main", "foo::bar(int)", "foo::bar", "tail\x1b[31m\"q\"", "lua_call", "f<int>"}
	type sums struct {
		calls       uint64
		total, self int64
	}
	for seed := range uint64(30) {
		file, threads := simulated(t, seed, 300)
		rng := rand.New(rand.NewPCG(seed, 97))
		o, function := GraphOptions{}, -1
		if rng.IntN(2) == 0 {
			function = rng.IntN(6)
			o.Function = only(names[function])
		}
		want, ways := map[string]sums{}, map[string]sums{}
		for _, roots := range threads {
			var visit func(t *truth, path, below []string)
			visit = func(t *truth, path, below []string) {
				s := sums{1, int64(t.end-t.start) * 16, int64(t.end-t.start) * 16}
				for _, c := range t.children {
					s.self -= int64(c.end-c.start) * 16
				}
				add := func(m map[string]sums, path []string) {
					key := strings.Join(path, ";")
					old := m[key]
					m[key] = sums{old.calls + s.calls, old.total + s.total, old.self + s.self}
				}
				path = append(slices.Clone(path), names[t.f])
				if len(below) > 0 || function < 0 || t.f == function {
					if len(below) == 0 {
						add(ways, path)
					}
					below = append(slices.Clone(below), names[t.f])
					add(want, below)
				}
				for _, c := range t.children {
					visit(c, path, below)
				}
			}
			for _, r := range roots {
				visit(r, nil, nil)
			}
		}
		g := callGraph(t, file, o)
		got, total := map[string]sums{}, int64(0)
		var visit func(list []*GraphNode, path []string) int64
		visit = func(list []*GraphNode, path []string) (total int64) {
			for _, n := range list {
				path := append(slices.Clone(path), n.Name)
				got[strings.Join(path, ";")] = sums{n.Calls, n.Total, n.Self}
				if below := visit(n.Children, path); n.Self+below != n.Total {
					t.Errorf("seed %d: %s takes %d, by itself %d and below %d", seed, n.Name, n.Total, n.Self, below)
				}
				total += n.Total
			}
			return total
		}
		if total = visit(g.Roots, nil); total != g.Total {
			t.Errorf("seed %d: the roots take %d of %d", seed, total, g.Total)
		}
		if len(got) != len(want) {
			t.Errorf("seed %d: %d functions, want %d", seed, len(got), len(want))
		}
		for path, w := range want {
			if got[path] != w {
				t.Errorf("seed %d: %s is %+v, want %+v", seed, path, got[path], w)
			}
		}
		if function < 0 {
			continue
		}
		if len(g.Backtraces)+g.Dropped != len(ways) {
			t.Errorf("seed %d: %d ways, want %d", seed, len(g.Backtraces)+g.Dropped, len(ways))
		}
		for _, b := range g.Backtraces {
			var path []string
			for _, f := range slices.Backward(b.Frames) {
				path = append(path, f.Name)
			}
			if w := ways[strings.Join(path, ";")]; w.calls != b.Calls || w.total != b.Total {
				t.Errorf("seed %d: way %q is %+v, want %+v", seed, path, b, w)
			}
		}
	}
}

// TestCallGraphDeep: a recursion of any depth is shown.
func TestCallGraphDeep(t *testing.T) {
	var file bytes.Buffer
	w := beginGraph(t, &file)
	var c calls
	const depth = 20_000
	for i := range depth {
		c.enter(0, i, uint64(1000+i))
	}
	for i := range depth {
		c.leave(0, depth-1-i, uint64(1000+depth+i))
	}
	check(t, w.WriteChunk(trace.Chunk{Proc: 1, TID: 100, Base: 1000, Words: c.words}), w.Close(0, ""))
	g := callGraph(t, file.Bytes(), GraphOptions{Function: only("main")})
	var text, js strings.Builder
	check(t, g.WriteText(&text), g.WriteJSON(&js))
	if n := strings.Count(text.String(), "main\n"); n != maxLevels+1 || !g.TooDeep || g.Found != depth || !json.Valid([]byte(js.String())) {
		t.Errorf("%d lines, %+v", n, g)
	}
	for line := range strings.Lines(text.String()) {
		if len(line) > 250 {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
}

func TestCallGraphCut(t *testing.T) {
	file := graphSample(t)
	for n := range file {
		g, err := NewCallGraph(bytes.NewReader(file[:n]), GraphOptions{Function: only("foo::bar")})
		if (n < 32) != (g == nil) || n < 32 && err == nil {
			t.Fatalf("%d bytes: %+v, %v", n, g, err)
		}
	}
}
