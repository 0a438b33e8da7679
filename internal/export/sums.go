package export

import (
	"cmp"
	"io"
	"math"
	"slices"

	"nopal/internal/analyze"
	"nopal/trace"
)

// maxStack is the number of calls in a stack that is written. Of deeper ones
// the middle is left out: a recursion of a million calls would otherwise be a
// million stacks of that size.
const maxStack = 512

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
}

// sums adds up calls by context. A call whose function is not selected counts
// as if it had not been traced: its time is that of its caller.
type sums struct {
	rec      *trace.Recording
	calls    *trace.Calls
	sites    sites
	graph    bool
	threads  map[threadKey]*caller
	contexts map[contextKey]*context
	shown    []int32  // by node: itself, or the nearest selected around it; -1: none
	batch    []amount // by node: what has not been added yet
	touched  []int32  // the nodes in batch
	sum      Summary
}

type contextKey struct {
	thread *caller
	node   int32
}

type amount struct {
	calls, self uint64
	touched     bool
}

func newSums(rd *trace.Reader, filter analyze.Matcher) *sums {
	s := &sums{
		calls:    trace.NewCalls(rd, trace.CallsOptions{Nodes: true}),
		sites:    sites{filter: filter},
		threads:  map[threadKey]*caller{},
		contexts: map[contextKey]*context{},
	}
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
	s := newSums(rd, o.Filter)
	rerr := s.read(o.TID)
	s.sum.Truncated = rd.Truncated()
	if err := write(output{w}, s, o); err != nil {
		return s.sum, err
	}
	return s.sum, rerr
}

// read adds up a recording.
func (s *sums) read(tid uint32) error {
	for {
		b, err := s.calls.Next()
		if err != nil {
			s.profiles(tid)
			s.sum.Graph = s.graph
			return ended(err)
		}
		s.sum.Lost += b.Lost
		s.sum.Events += uint64(len(b.Calls))
		if tid == 0 || b.Task.TID == tid {
			s.add(b)
		}
	}
}

// add adds a batch. Its calls are of one thread and of few contexts, so they
// are added up by node first.
func (s *sums) add(b *trace.Batch) {
	t := s.caller(b.Task)
	for i := range b.Calls {
		c := &b.Calls[i]
		node := c.Node
		if node < 0 {
			continue // only its exit was recorded
		}
		if int(node) >= len(s.shown) {
			s.grow(node)
		}
		to := s.shown[node]
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
		if c.Flags&trace.CallCountOnly == 0 {
			s.graph = true
			a.self += c.Self
		}
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

// grow finds out which nodes up to this one are selected.
func (s *sums) grow(node int32) {
	for n := int32(len(s.shown)); n <= node; n++ {
		of := s.calls.Node(n)
		switch {
		case s.sites.of(s.rec.SiteByID(of.Site)).shown:
			s.shown = append(s.shown, n)
		case of.Parent >= 0:
			s.shown = append(s.shown, s.shown[of.Parent])
		default:
			s.shown = append(s.shown, -1)
		}
	}
}

// profiles adds what the target itself has summed up, where it did.
func (s *sums) profiles(tid uint32) {
	for _, p := range s.rec.Profiles() {
		site := s.sites.of(p.Site)
		s.sum.Events += p.Calls
		if !site.shown || tid != 0 && p.Task.TID != tid {
			continue
		}
		s.graph = true
		s.sum.Shown += p.Calls
		t := s.caller(p.Task)
		// Nodes count from 0; what has none has its site's number below.
		key := contextKey{t, math.MinInt32 + int32(p.Site.ID)}
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
	key := contextKey{t, node}
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
	start := len(dst)
	for n := c.node; n >= 0; {
		dst = append(dst, s.site(n))
		if n = s.calls.Node(n).Parent; n >= 0 {
			n = s.shown[n]
		}
	}
	if cut := len(dst) - start - maxStack; cut > 0 {
		half := start + maxStack/2
		dst[half] = elided
		dst = slices.Delete(dst, half+1, half+1+cut)
	}
	return dst
}
