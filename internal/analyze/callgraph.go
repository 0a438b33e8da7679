package analyze

import (
	"cmp"
	"errors"
	"io"
	"slices"

	"nopal/trace"
)

// GraphOptions shape a call graph.
type GraphOptions struct {
	Selection
	Function Matcher // nil: the whole graph
	First    int64   // time of the first event, for a Range with elapsed times

	// MinShare leaves out parts that took less than this share of the whole, from 0 to 1.
	MinShare float64
}

// CallGraph is what called what, how often and for how long, merged over all
// calls and threads.
type CallGraph struct {
	Roots      []*GraphNode // the outermost calls, or those of the function
	Backtraces []Backtrace  // of the function, those that took longest first

	Total     int64  // ns, of the roots
	Calls     uint64 // that were selected
	Found     uint64 // of them, those of the function
	Dropped   int    // backtraces that are not in the list
	TooDeep   bool   // there are levels below the last that is shown
	Inferred  uint64
	Events    uint64
	Lost      uint64
	CountOnly bool
	Profile   bool
	Truncated bool
	Recording *trace.Recording

	options GraphOptions
}

// GraphNode is a function where it is called from one place.
type GraphNode struct {
	Label    string // printable
	Name     string
	Object   string
	Calls    uint64
	Total    int64 // ns, or Unknown
	Self     int64
	Children []*GraphNode

	sum   nodeSum
	site  int32
	level int
}

// Backtrace is a way to the function that a graph is about.
type Backtrace struct {
	Calls  uint64
	Total  int64
	Frames []*GraphNode // the function first, then its caller; only names count
}

// nodeSum is what a calling context adds up to, in ticks.
type nodeSum struct {
	calls, total, self uint64
	around             bool // there are calls from here that were selected
}

// grapher collects a CallGraph.
type grapher struct {
	o        GraphOptions
	calls    *trace.Calls
	contexts contexts
	sums     []nodeSum // by calling context
	graph    *CallGraph
	names    *names
	rows     map[int32]Row // of functions
}

// NewCallGraph reads a recording. When it is damaged, the graph is of what
// precedes the damage, and comes along with the error.
func NewCallGraph(r io.Reader, o GraphOptions) (*CallGraph, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return nil, err
	}
	g := &grapher{o: o, graph: &CallGraph{options: o}, rows: map[int32]Row{}}
	// What is selected is decided by thread, time and function; levels and shares are for the result.
	within := o.Selection
	within.Depth, within.MinTime = 0, 0
	g.names = newNames(&within)
	g.calls = trace.NewCalls(rd, trace.CallsOptions{Nodes: true})
	g.graph.Recording = g.calls.Recording()
	g.contexts = contexts{sel: &within, names: g.names, calls: g.calls}
	for {
		b, err := g.calls.Next()
		if err != nil {
			g.finish()
			g.graph.Truncated = rd.Truncated()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return g.graph, err
		}
		g.graph.Lost += b.Lost
		g.graph.Events += uint64(len(b.Calls))
		if o.TID == 0 || b.Task.TID == o.TID {
			g.batch(b)
		}
	}
}

func (g *grapher) batch(b *trace.Batch) {
	rec := g.graph.Recording
	from, to := g.o.Range.Between(g.o.First)
	for i := range b.Calls {
		c := &b.Calls[i]
		if c.Node < 0 {
			// Its entry was not recorded, so its callers are not known.
			continue
		}
		if g.o.Range != (Range{}) {
			if at := rec.Nanoseconds(c.Start); at < from || at >= to {
				continue
			}
		}
		if x := g.contexts.of(c); !x.selected {
			continue
		}
		if int(c.Node) >= len(g.sums) {
			g.sums = slices.Grow(g.sums, int(c.Node)+1-len(g.sums))[:c.Node+1]
		}
		s := &g.sums[c.Node]
		s.calls++
		s.total += c.Total
		s.self += c.Self
		g.graph.Calls++
		g.graph.Inferred += uint64(c.Flags & trace.CallInferred)
	}
}

const (
	// maxLevels bounds the levels of a graph: deeper ones are not looked at by
	// anybody, and readers of JSON refuse them.
	maxLevels = 1000

	// maxBacktraces is how many ways to a function are listed.
	maxBacktraces = 100
)

// finish makes the tree of the sums.
func (g *grapher) finish() {
	cg := g.graph
	cg.CountOnly = !cg.Recording.HasExits()
	cg.Profile = cg.Events == 0 && len(cg.Recording.Profiles()) > 0
	g.adopt()
	at := make([]*GraphNode, len(g.sums)) // where a context's calls are shown
	type place struct {
		parent *GraphNode
		site   int32
	}
	places := map[place]*GraphNode{}
	var found []int32
	for id := range g.sums {
		s := &g.sums[id]
		if *s == (nodeSum{}) {
			continue
		}
		n := g.calls.Node(int32(id))
		var parent *GraphNode
		if n.Parent >= 0 {
			parent = at[n.Parent]
		}
		if g.o.Function != nil && g.matches(n.Site) {
			cg.Found += s.calls
			if parent == nil {
				found = append(found, int32(id))
			}
		} else if g.o.Function != nil && parent == nil {
			continue
		}
		key := place{parent, n.Site}
		node := places[key]
		if node == nil {
			node = g.node(n.Site)
			if parent == nil {
				cg.Roots = append(cg.Roots, node)
			} else {
				node.level = parent.level + 1
				if node.level >= maxLevels {
					cg.TooDeep = true
					at[id] = parent
					continue
				}
				parent.Children = append(parent.Children, node)
			}
			places[key] = node
		}
		node.sum.add(s)
		at[id] = node
	}
	for _, r := range cg.Roots {
		g.measure(r)
		cg.Total += max(r.Total, 0)
	}
	g.backtraces(found)
	cg.Roots = g.prune(cg.Roots)
}

func (s *nodeSum) add(o *nodeSum) {
	s.calls += o.calls
	s.total += o.total
	s.self += o.self
}

// adopt gives contexts that were not selected themselves, but others below
// them, what those took. Contexts around the ones of -F stay out.
func (g *grapher) adopt() {
	for id := len(g.sums) - 1; id >= 0; id-- {
		parent := g.calls.Node(int32(id)).Parent
		if parent < 0 || g.sums[id] == (nodeSum{}) || !g.contexts.list[parent].selected {
			continue
		}
		p := &g.sums[parent]
		p.around = true
		if p.calls == 0 {
			p.total += g.sums[id].total
		}
	}
}

func (g *grapher) matches(site int32) bool {
	s := g.graph.Recording.SiteByID(site)
	return g.o.Function.Match(s.Name(), g.names.demangled(s.Name()), s.Object.Path)
}

func (g *grapher) node(site int32) *GraphNode {
	row, ok := g.rows[site]
	if !ok {
		row = functionRow(g.names, g.graph.Recording.SiteByID(site))
		g.rows[site] = row
	}
	return &GraphNode{Label: row.Label, Name: row.Name, Object: row.Object, site: site}
}

// measure converts the sums of a tree to nanoseconds.
func (g *grapher) measure(n *GraphNode) {
	n.Calls, n.Total, n.Self = n.sum.calls, Unknown, Unknown
	if !g.graph.CountOnly {
		n.Total, n.Self = g.graph.Recording.NanosecondsOf(n.sum.total), g.graph.Recording.NanosecondsOf(n.sum.self)
	}
	for _, c := range n.Children {
		g.measure(c)
	}
}

// prune leaves out what is too small or too deep, and sorts the rest.
func (g *grapher) prune(list []*GraphNode) []*GraphNode {
	list = slices.DeleteFunc(list, func(n *GraphNode) bool {
		if g.o.Depth > 0 && n.level >= g.o.Depth {
			return true
		}
		return !g.graph.CountOnly && (n.Total < g.o.MinTime || float64(n.Total) < g.o.MinShare*float64(g.graph.Total))
	})
	slices.SortFunc(list, func(a, b *GraphNode) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Label, b.Label), cmp.Compare(a.site, b.site))
	})
	for _, n := range list {
		n.Children = g.prune(n.Children)
	}
	return list
}

// backtraces lists the ways to the function.
func (g *grapher) backtraces(found []int32) {
	slices.SortStableFunc(found, func(a, b int32) int {
		x, y := &g.sums[a], &g.sums[b]
		return cmp.Or(cmp.Compare(y.total, x.total), cmp.Compare(y.calls, x.calls))
	})
	if len(found) > maxBacktraces {
		g.graph.Dropped = len(found) - maxBacktraces
		found = found[:maxBacktraces]
	}
	for _, id := range found {
		s := &g.sums[id]
		b := Backtrace{Calls: s.calls, Total: Unknown}
		if !g.graph.CountOnly {
			b.Total = g.graph.Recording.NanosecondsOf(s.total)
		}
		for ; id >= 0 && len(b.Frames) < maxLevels; id = g.calls.Node(id).Parent {
			b.Frames = append(b.Frames, g.node(g.calls.Node(id).Site))
		}
		g.graph.Backtraces = append(g.graph.Backtraces, b)
	}
}
