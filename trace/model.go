package trace

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
)

// maxState bounds what a Recording may hold. It is far above what real
// programs need (the functions of a browser take a tenth), and it makes a
// hostile file an error instead of exhausted memory.
const maxState = 1 << 30

// What threads and their streams are charged with, and given back at their end.
const (
	taskCost   = 256
	streamCost = 768
)

var errState = errors.New("it describes more than 1 GiB of functions, processes and threads")

// Recording is what the blocks read so far say about everything but events.
type Recording struct {
	Machine Machine
	Meta    Meta
	Clock   Clock
	End     *End // nil until read

	conv     converter
	images   map[uint32]*Object
	procs    map[uint32]*Program
	sites    []*Site // by ID
	unknown  Object  // has the sites whose code position is in no range
	unknowns []*Site
	exits    bool
	left     []uint8 // by site, see mayExit
	profiles profiles
	spent    int
}

// HasExits reports that the recording has the exits of functions as well,
// once the first of their ranges has been read.
func (rec *Recording) HasExits() bool { return rec.exits }

// Object is an executable or shared library with its functions.
type Object struct {
	Image
	Funcs []Func // ascending by address
	sites map[uint64]*Site
}

// Site is a traced place of an object. All processes share it.
type Site struct {
	ID     int // counts from 0 over all sites of the recording; below 0 if Object is not known
	Object *Object
	Func   *Func  // nil if no symbol covers it
	VA     uint64 // link-time address of the function, or of the site
}

// Name is the function's name, or "object+0x1234" where it has none.
func (s *Site) Name() string {
	if s.Func != nil {
		return s.Func.Name
	}
	return s.Object.offset(s.VA)
}

// Program is a process running one program.
type Program struct {
	Process
	rec     *Recording
	threads map[uint32]*Task
	layout  *layout
	streams map[uint32]*stream
	current map[uint32]uint32 // stream by thread id
	lost    *stream           // of LOST blocks
	marks   *stream           // of MARK blocks
	probes  probeTable
}

// Task is a thread under one name.
type Task struct {
	Program *Program
	TID     uint32
	Name    string
}

// NewRecording returns a Recording of a machine that knows nothing else yet. Events
// keeps one of its own; this one is for those who read blocks.
func NewRecording(m Machine) *Recording {
	return &Recording{
		Machine: m,
		conv:    newConverter(&Clock{Frequency: 1e9}),
		images:  map[uint32]*Object{},
		procs:   map[uint32]*Program{},
		unknown: Object{Image: Image{Path: "?"}, sites: map[uint64]*Site{}},
	}
}

// spend charges n bytes to the state.
func (rec *Recording) spend(n int) error {
	rec.spent += n
	if rec.spent > maxState {
		return errState
	}
	return nil
}

// Apply takes in a block. Events and their losses are not kept.
func (rec *Recording) Apply(b Block) error {
	switch b := b.(type) {
	case *Meta:
		rec.Meta = *b
	case *Clock:
		if b.Frequency == 0 {
			return errors.New("the clock's frequency is 0")
		}
		rec.Clock = *b
		rec.conv = newConverter(b)
	case *Process:
		rec.procs[b.Proc] = newProgram(rec, *b)
		return rec.spend(512 + stringsSize(b.Command))
	case *Thread:
		p, err := rec.Program(b.Proc)
		if err != nil {
			return err
		}
		return rec.task(p, b.TID, b.Name)
	case *Image:
		rec.images[b.ID] = &Object{Image: *b, sites: map[uint64]*Site{}}
		return rec.spend(256 + len(b.Path) + len(b.BuildID))
	case *Funcs:
		return rec.addFuncs(b)
	case *Range:
		return rec.addRange(b)
	case *Lost:
		_, err := rec.Program(b.Proc)
		return err
	case *Profile:
		return rec.addProfile(b)
	case *Probe:
		return rec.addProbe(b)
	case *End:
		rec.End = b
	}
	return nil
}

func stringsSize(list []string) int {
	n := 0
	for _, s := range list {
		n += 16 + len(s)
	}
	return n
}

func newProgram(rec *Recording, p Process) *Program {
	return &Program{Process: p, rec: rec, threads: map[uint32]*Task{}, layout: new(layout), streams: map[uint32]*stream{}, current: map[uint32]uint32{}}
}

// Nanoseconds converts ticks to CLOCK_MONOTONIC.
func (rec *Recording) Nanoseconds(ticks uint64) int64 { return rec.conv.ns(ticks) }

// NanosecondsOf converts a duration.
func (rec *Recording) NanosecondsOf(ticks uint64) int64 { return rec.conv.scale(ticks) }

// Objects returns the objects in the order of their numbers.
func (rec *Recording) Objects() []*Object {
	return slices.SortedFunc(maps.Values(rec.images), func(a, b *Object) int { return cmp.Compare(a.ID, b.ID) })
}

// Program finds a process. One that was never introduced is made up, so that
// its events are not lost with it.
func (rec *Recording) Program(proc uint32) (*Program, error) {
	if p := rec.procs[proc]; p != nil {
		return p, nil
	}
	p := newProgram(rec, Process{Proc: proc})
	rec.procs[proc] = p
	return p, rec.spend(512)
}

// Site resolves a code position of the program, as of the blocks so far.
func (p *Program) Site(index uint32) (*Site, error) {
	e := p.layout.sites.lookup(index)
	if e == nil {
		var err error
		if e, err = p.layout.find(p.rec, index); err != nil {
			return nil, fmt.Errorf("read recording: %w", err)
		}
	}
	return e.site, nil
}

func (rec *Recording) object(id uint32) (*Object, error) {
	if o := rec.images[id]; o != nil {
		return o, nil
	}
	o := &Object{Image: Image{ID: id, Path: "?"}, sites: map[uint64]*Site{}}
	rec.images[id] = o
	return o, rec.spend(256)
}

// task makes the named task the one of the thread from here on.
func (rec *Recording) task(p *Program, tid uint32, name string) error {
	// The kernel's names have 15 bytes, programs' files may have more.
	name = name[:min(len(name), 64)]
	t := p.threads[tid]
	if t != nil && t.Name == name {
		return nil
	}
	if t != nil {
		rec.spent -= taskCost
	}
	p.threads[tid] = &Task{Program: p, TID: tid, Name: name}
	return rec.spend(taskCost)
}

// taskOf finds a thread, named by its process if by nothing else.
func (rec *Recording) taskOf(p *Program, tid uint32) (*Task, error) {
	t := p.threads[tid]
	if t == nil {
		name := "<...>"
		if len(p.Command) > 0 {
			name = filepath.Base(p.Command[0])
		}
		if err := rec.task(p, tid, name); err != nil {
			return nil, err
		}
		t = p.threads[tid]
	}
	return t, nil
}

func (rec *Recording) addFuncs(b *Funcs) error {
	o, err := rec.object(b.Image)
	if err != nil {
		return err
	}
	size, last := 0, uint64(0)
	if n := len(o.Funcs); n > 0 {
		last = o.Funcs[n-1].VA
	}
	for i := range b.Funcs {
		if b.Funcs[i].VA < last {
			return errors.New("functions of an object are not in the order of their addresses")
		}
		last = b.Funcs[i].VA
		size += 32 + len(b.Funcs[i].Name)
	}
	o.Funcs = append(o.Funcs, b.Funcs...)
	return rec.spend(2 * size)
}

// maxNested is how many functions that begin within another one FuncAt looks past.
const maxNested = 8

// FuncAt finds the function that covers a link-time address.
func (o *Object) FuncAt(va uint64) *Func {
	i := sort.Search(len(o.Funcs), func(i int) bool { return o.Funcs[i].VA > va })
	for j := i - 1; j >= max(0, i-maxNested); j-- {
		f := &o.Funcs[j]
		if f.Size == 0 || va-f.VA < f.Size {
			return f
		}
	}
	return nil
}

// Base is the last part of the object's path.
func (o *Object) Base() string { return filepath.Base(o.Path) }

func (o *Object) offset(va uint64) string {
	return o.Base() + "+0x" + strconv.FormatUint(va, 16)
}
