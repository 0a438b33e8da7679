package export

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"

	"nopal/internal/analyze"
	"nopal/trace"
)

const (
	// maxStack is the number of calls in a stack that is written. Of deeper ones
	// the middle is left out: a recursion of a million calls would otherwise be a
	// million stacks of that size.
	maxStack = 512

	// outerStack is the part of them that is outside of what is left out.
	outerStack = maxStack / 2

	// maxContexts bounds the memory to about 1 GiB. There are programs with so
	// many contexts, and files that were made to have them, but no tool to show them.
	maxContexts = 4 << 20
)

var errContexts = errors.New("it has more than 4 million calling contexts: -F, -N, -D or --tid make them fewer")

// context is what the calls of one function in one calling context and one
// thread sum up to.
type context struct {
	thread *caller
	node   int32 // -1: none, the function alone is known
	site   *site
	calls  uint64
	self   uint64 // ticks
}

// caller is a thread, under all of its names.
type caller struct {
	order   int
	pid     uint32
	tid     uint32
	name    string // the last
	program string
	short   []uint64 // by depth: ticks of the calls that are left out as too short, below the open one
}

// sums adds up calls by context. A call that is not selected counts as if it
// had not been traced: its time is that of its caller.
type sums struct {
	o        *Options
	rec      *trace.Recording
	calls    *trace.Calls
	sites    sites
	graph    bool
	from, to int64
	threads  map[threadKey]*caller
	contexts map[contextKey]*context
	nodes    []selected
	batch    []amount // by node: what has not been added yet
	touched  []int32  // the nodes in batch
	sum      Summary
}

// contextKey is a thread and a node in one number.
type contextKey uint64

func (t *caller) key(node int32) contextKey {
	return contextKey(t.order)<<32 | contextKey(uint32(node))
}

type amount struct {
	calls, self uint64
	touched     bool
}

// selected is what is known of a node.
type selected struct {
	shown int32 // itself, or the nearest selected one around it; -1: none
	only  bool  // within a function that is asked for
	not   bool  // within one that is left out
	depth int32 // from the first function that is asked for
	level int32 // selected nodes from the outermost to here
	outer int32 // of them, the one at level outerStack
}

var outside = selected{shown: -1, depth: -1, outer: -1}

func newSums(rd *trace.Reader, o *Options) *sums {
	s := &sums{
		o:        o,
		calls:    trace.NewCalls(rd, trace.CallsOptions{Nodes: true}),
		sites:    sites{selection: &o.Selection},
		threads:  map[threadKey]*caller{},
		contexts: map[contextKey]*context{},
	}
	s.from, s.to = o.Range.Between(o.First)
	s.rec = s.calls.Recording()
	s.sum.Recording = s.rec
	return s
}

// writeSums reads all and hands it to write.
func writeSums(r io.Reader, w io.Writer, o Options, write func(io.Writer, *sums, Options) error) (Summary, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	s := newSums(rd, &o)
	rerr := s.read()
	if errors.Is(rerr, errContexts) {
		return s.sum, rerr
	}
	s.sum.Truncated = rd.Truncated()
	if err := write(output{w}, s, o); err != nil {
		return s.sum, err
	}
	return s.sum, rerr
}

// read adds up a recording.
func (s *sums) read() error {
	for {
		b, err := s.calls.Next()
		if err != nil {
			s.profiles()
			s.sum.Graph = s.graph || s.rec.HasExits()
			return ended(err)
		}
		s.sum.Lost += b.Lost
		s.sum.Events += uint64(len(b.Calls))
		if s.o.TID == 0 || b.Task.TID == s.o.TID {
			s.add(b)
		}
		if len(s.contexts) > maxContexts || len(s.nodes) > 4*maxContexts {
			return errContexts
		}
	}
}

// add adds a batch. Its calls are of one thread and of few contexts, so they
// are added up by node first.
func (s *sums) add(b *trace.Batch) {
	s.graph = s.rec.HasExits()
	t := s.caller(b.Task)
	every := s.o.MinTime == 0 && s.o.Range == (analyze.Range{})
	for i := range b.Calls {
		c := &b.Calls[i]
		node := c.Node
		if node < 0 {
			continue // only its exit was recorded
		}
		if int(node) >= len(s.nodes) {
			s.grow(node)
		}
		self := c.Self
		if !every {
			var ok bool
			if self, ok = s.timed(t, c); !ok {
				continue
			}
		}
		to := s.nodes[node].shown
		if to < 0 {
			continue
		}
		if int(to) >= len(s.batch) {
			s.batch = append(s.batch, make([]amount, int(to)+1-len(s.batch))...)
		}
		a := &s.batch[to]
		if !a.touched {
			a.touched = true
			s.touched = append(s.touched, to)
		}
		if to == node {
			a.calls++
		}
		a.self += self
	}
	for _, node := range s.touched {
		a := &s.batch[node]
		c := s.context(t, node)
		c.calls += a.calls
		c.self += a.self
		s.sum.Shown += a.calls
		*a = amount{}
	}
	s.touched = s.touched[:0]
}

// timed reports whether a call is selected by its times, and how much of it is
// its own: besides what it did itself, the calls in it that are too short. They
// end before it, so they wait for it.
func (s *sums) timed(t *caller, c *trace.Call) (self uint64, ok bool) {
	self = c.Self
	if s.o.MinTime > 0 && s.graph {
		for len(t.short) < int(c.Depth)+2 {
			t.short = append(t.short, 0)
		}
		self += t.short[c.Depth+1]
		t.short[c.Depth+1] = 0
		if s.rec.NanosecondsOf(c.Total) < s.o.MinTime {
			t.short[c.Depth] += self
			return 0, false
		}
	}
	at := s.rec.Nanoseconds(c.Start)
	return self, at >= s.from && at < s.to
}

// grow finds out which nodes up to this one are selected.
func (s *sums) grow(node int32) {
	for n := int32(len(s.nodes)); n <= node; n++ {
		of, parent := s.calls.Node(n), outside
		if of.Parent >= 0 {
			parent = s.nodes[of.Parent]
		}
		site := s.sites.of(s.rec.SiteByID(of.Site))
		x := selected{shown: n, only: site.only, not: site.not, depth: parent.depth}
		if s.graph {
			x.only, x.not = parent.only || x.only && !x.not, parent.not || x.not
		}
		if x.only && !x.not || !s.graph {
			x.depth++
		}
		x.level, x.outer = parent.level, parent.outer
		if !x.only || x.not || s.o.Depth > 0 && int(x.depth) >= s.o.Depth {
			x.shown = parent.shown
		} else if x.level++; x.level == outerStack {
			x.outer = n
		}
		s.nodes = append(s.nodes, x)
	}
}

// profiles adds what the target itself has summed up, where it did.
func (s *sums) profiles() {
	for _, p := range s.rec.Profiles() {
		site := s.sites.of(p.Site)
		s.sum.Events += p.Calls
		if !site.only || site.not || s.o.TID != 0 && p.Task.TID != s.o.TID {
			continue
		}
		s.graph = true
		s.sum.Shown += p.Calls
		t := s.caller(p.Task)
		// Nodes count from 0; what has none has its site's number below.
		key := t.key(math.MinInt32 + int32(p.Site.ID))
		s.contexts[key] = &context{t, -1, site, p.Calls, p.Self}
	}
}

func (s *sums) caller(task *trace.Task) *caller {
	key := threadKey{task.Program.Proc, task.TID}
	t := s.threads[key]
	if t == nil {
		t = &caller{order: len(s.threads), pid: task.Program.PID, tid: task.TID, program: programName(task.Program)}
		s.threads[key] = t
	}
	t.name = clean(task.Name)
	return t
}

func (s *sums) context(t *caller, node int32) *context {
	key := t.key(node)
	c := s.contexts[key]
	if c == nil {
		c = &context{thread: t, node: node, site: s.site(node)}
		s.contexts[key] = c
	}
	return c
}

func (s *sums) site(node int32) *site {
	return s.sites.of(s.rec.SiteByID(s.calls.Node(node).Site))
}

// list returns the contexts by thread and node.
func (s *sums) list() []*context {
	list := make([]*context, 0, len(s.contexts))
	for _, c := range s.contexts {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *context) int {
		return cmp.Or(cmp.Compare(a.thread.order, b.thread.order), cmp.Compare(a.node, b.node), cmp.Compare(a.site.name, b.site.name))
	})
	return list
}

// elided stands for the calls in the middle of a stack that are left out.
var elided = &site{name: "..."}

// appendStack appends the selected functions of a context, the innermost first.
func (s *sums) appendStack(dst []*site, c *context) []*site {
	if c.node < 0 {
		return append(dst, c.site)
	}
	level := s.nodes[c.node].level
	if level <= maxStack {
		return s.appendNodes(dst, c.node, level)
	}
	dst = append(s.appendNodes(dst, c.node, maxStack-outerStack-1), elided)
	return s.appendNodes(dst, s.nodes[c.node].outer, outerStack)
}

// appendNodes appends count selected functions from a node outwards.
func (s *sums) appendNodes(dst []*site, node, count int32) []*site {
	for n := node; count > 0; count-- {
		dst = append(dst, s.site(n))
		if n = s.calls.Node(n).Parent; n >= 0 {
			n = s.nodes[n].shown
		}
	}
	return dst
}
