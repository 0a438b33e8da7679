package analyze

import (
	"cmp"
	"errors"
	"io"
	"math"
	"slices"
	"sort"

	"nopal/trace"
)

// Info is what a recording says about itself, with what was counted in it.
type Info struct {
	Meta  trace.Meta
	Clock trace.Clock
	End   *trace.End // nil if the recording has none

	Events uint64 // entries and exits
	Exits  uint64
	Lost   uint64
	Probes ProbeInfo

	Injections uint64 // calls to which something was done

	First int64 // CLOCK_MONOTONIC of the first event, ns
	Last  int64

	Objects   []*ObjectInfo
	Processes []*ProcessInfo
	Functions []FunctionInfo // those that were called, the most called first
	Blocks    []BlockInfo

	Size      int64 // of the file, as far as it is sound
	Truncated bool
	Damage    error // why reading stopped early, or nil
}

// ProbeInfo counts the probes, by what their records are for.
type ProbeInfo struct {
	Entries    int // arguments
	Exits      int // results
	Injections int // rules
}

// ObjectInfo is an executable or library.
type ObjectInfo struct {
	trace.Image
	Functions int // that the recording knows
	Called    int
	Events    uint64
}

// ProcessInfo is a process running one program.
type ProcessInfo struct {
	trace.Process
	Ended   bool
	Status  uint32 // wait status
	Events  uint64
	Lost    uint64
	Threads []*ThreadInfo
}

// ThreadInfo is a thread, under its last name.
type ThreadInfo struct {
	TID    uint32
	Name   string
	Events uint64
	Lost   uint64
}

// FunctionInfo is a called function. Aliases and processes are counted together.
type FunctionInfo struct {
	Name   string // demangled
	Object string // path
	Calls  uint64
}

// BlockInfo sums up the blocks of one type.
type BlockInfo struct {
	Type  trace.Type
	Count uint64
	Bytes int64
}

// maxThreads bounds the threads that are told apart; a file can have as many
// as it has chunks. Events of further ones are counted in their process.
const maxThreads = 1 << 20

type threadKey struct{ proc, tid uint32 }

// inspector collects an Info.
type inspector struct {
	info    Info
	rec     *trace.Recording
	procs   map[uint32]*ProcessInfo
	threads map[threadKey]*ThreadInfo
	exits   map[uint32][]trace.Range // by process: where exits have their code positions
	sites   []*trace.Site            // by Site.ID
	counts  []uint64
	unknown uint64
	blocks  map[trace.Type]*BlockInfo
	first   uint64
	last    uint64
}

// Inspect reads a whole recording. A damaged one is described as far as it can
// be read; the error is for what is not a recording at all.
func Inspect(r io.Reader) (*Info, error) {
	rd, err := trace.NewReader(r)
	if err != nil {
		return nil, err
	}
	in := &inspector{
		rec:     trace.NewRecording(rd.Machine()),
		procs:   map[uint32]*ProcessInfo{},
		threads: map[threadKey]*ThreadInfo{},
		exits:   map[uint32][]trace.Range{},
		blocks:  map[trace.Type]*BlockInfo{},
		first:   math.MaxUint64,
	}
	for {
		at := rd.Offset()
		b, err := rd.Next()
		if err == nil {
			err = in.block(b, rd.Offset()-at)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				in.info.Damage = err
			}
			break
		}
	}
	in.info.Size, in.info.Truncated = rd.Offset(), rd.Truncated()
	in.finish()
	return &in.info, nil
}

func (in *inspector) block(b trace.Block, size int64) error {
	t := trace.TypeOf(b)
	sum := in.blocks[t]
	if sum == nil {
		sum = &BlockInfo{Type: t}
		in.blocks[t] = sum
	}
	sum.Count++
	sum.Bytes += size
	switch b := b.(type) {
	case *trace.Chunk:
		return in.chunk(b)
	case *trace.Process:
		in.process(b.Proc).Process = *b
	case *trace.Thread:
		if t := in.thread(b.Proc, b.TID); t != nil {
			t.Name = b.Name
		}
	case *trace.Range:
		in.placed(b)
	case *trace.Lost:
		in.lost(b.Proc, b.TID, b.Count)
	case *trace.Exit:
		if p := in.procs[b.Proc]; p != nil && b.TID == 0 {
			p.Ended, p.Status = true, b.Status
		}
	case *trace.Probe:
		switch p := &in.info.Probes; {
		case b.Kind&trace.ProbeInjected != 0:
			p.Injections++
		case b.Kind&trace.ProbeExit != 0:
			p.Exits++
		default:
			p.Entries++
		}
	case *trace.End:
		in.info.End = b
	}
	return in.rec.Apply(b)
}

// placed takes note of the exits' code positions. A range that takes positions
// from an older one ends all of that.
func (in *inspector) placed(r *trace.Range) {
	list := in.exits[r.Proc]
	end := uint64(r.Index) + uint64(r.Count)
	i := sort.Search(len(list), func(i int) bool { return uint64(list[i].Index)+uint64(list[i].Count) > uint64(r.Index) })
	j := i
	for j < len(list) && uint64(list[j].Index) < end {
		j++
	}
	if r.Kind == trace.RangeExits {
		in.exits[r.Proc] = slices.Replace(list, i, j, *r)
	} else {
		in.exits[r.Proc] = slices.Delete(list, i, j)
	}
}

// isExit reports that a code position is that of an exit.
func isExit(exits []trace.Range, index uint32) bool {
	low := sort.Search(len(exits), func(i int) bool { return exits[i].Index > index })
	return low > 0 && index-exits[low-1].Index < exits[low-1].Count
}

func (in *inspector) process(proc uint32) *ProcessInfo {
	p := in.procs[proc]
	if p == nil {
		p = &ProcessInfo{Process: trace.Process{Proc: proc}}
		in.procs[proc] = p
	}
	return p
}

func (in *inspector) thread(proc, tid uint32) *ThreadInfo {
	key := threadKey{proc, tid}
	t := in.threads[key]
	if t == nil && len(in.threads) < maxThreads {
		t = &ThreadInfo{TID: tid}
		in.threads[key] = t
		p := in.process(proc)
		p.Threads = append(p.Threads, t)
	}
	return t
}

func (in *inspector) lost(proc, tid uint32, n uint64) {
	in.info.Lost += n
	in.process(proc).Lost += n
	if t := in.thread(proc, tid); t != nil {
		t.Lost += n
	}
}

func (in *inspector) chunk(c *trace.Chunk) error {
	if c.Lost != 0 {
		in.lost(c.Proc, c.TID, c.Lost)
	}
	p, err := in.rec.Program(c.Proc)
	if err != nil {
		return err
	}
	cur := trace.Cursor{Machine: in.rec.Machine}
	cur.Reset(c, 0)
	n := uint64(0)
	exits := in.exits[c.Proc]
	for ; cur.Next(); n++ {
		if n == 0 {
			in.first = min(in.first, cur.Ticks)
		}
		if len(exits) > 0 && isExit(exits, cur.Index) {
			in.info.Exits++
			continue
		}
		s, err := p.Site(cur.Index)
		if err != nil {
			return err
		}
		if uint(s.ID) < uint(len(in.counts)) {
			in.counts[s.ID]++
		} else {
			in.count(s)
		}
	}
	if n > 0 {
		in.last = max(in.last, cur.Ticks)
	}
	in.info.Events += n
	in.info.Injections += cur.Injections
	in.process(c.Proc).Events += n
	if t := in.thread(c.Proc, c.TID); t != nil {
		t.Events += n
	}
	return cur.Err()
}

// count counts the first event of a site.
func (in *inspector) count(s *trace.Site) {
	if s.ID < 0 {
		in.unknown++
		return
	}
	for len(in.counts) <= s.ID {
		in.counts = append(in.counts, 0)
		in.sites = append(in.sites, nil)
	}
	in.counts[s.ID]++
	in.sites[s.ID] = s
}

func (in *inspector) finish() {
	info := &in.info
	info.Meta, info.Clock = in.rec.Meta, in.rec.Clock
	if in.first <= in.last {
		info.First, info.Last = in.rec.Nanoseconds(in.first), in.rec.Nanoseconds(in.last)
	}
	objects := map[*trace.Object]*ObjectInfo{}
	for _, o := range in.rec.Objects() {
		oi := &ObjectInfo{Image: o.Image, Functions: len(o.Funcs)}
		objects[o] = oi
		info.Objects = append(info.Objects, oi)
	}
	type function struct {
		object *trace.Object
		va     uint64
	}
	calls := map[function]int{}
	for id, n := range in.counts {
		s := in.sites[id]
		oi := objects[s.Object]
		oi.Events += n
		f := function{s.Object, s.VA}
		i, ok := calls[f]
		if !ok {
			i = len(info.Functions)
			calls[f] = i
			info.Functions = append(info.Functions, FunctionInfo{Name: Demangle(s.Name()), Object: s.Object.Path})
			oi.Called++
		}
		info.Functions[i].Calls += n
	}
	if in.unknown > 0 {
		info.Functions = append(info.Functions, FunctionInfo{Name: "unknown", Object: "?", Calls: in.unknown})
	}
	slices.SortStableFunc(info.Functions, func(a, b FunctionInfo) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range in.procs {
		slices.SortFunc(p.Threads, func(a, b *ThreadInfo) int { return cmp.Compare(a.TID, b.TID) })
		info.Processes = append(info.Processes, p)
	}
	slices.SortFunc(info.Processes, func(a, b *ProcessInfo) int { return cmp.Compare(a.Proc, b.Proc) })
	for _, b := range in.blocks {
		info.Blocks = append(info.Blocks, *b)
	}
	slices.SortFunc(info.Blocks, func(a, b BlockInfo) int { return cmp.Compare(a.Type, b.Type) })
}
