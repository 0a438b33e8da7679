package livepatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
	"nopal/internal/image"
	"nopal/internal/sys"
	"nopal/internal/tracee"
	"nopal/internal/unwind"
)

var le = binary.LittleEndian

// process is a process whose functions are replaced.
type process struct {
	pid     int
	tracer  *tracee.Tracer
	p       *tracee.Process
	mem     *tracee.Memory // of the program that it runs now, whatever it executes
	state   *state
	objects []loadedObject
	unwind  *unwind.Unwinder
	stands  bool
	code    *liveText
	tracers []Range          // code of a recording
	keep    *tracee.Thread   // the thread that loads the object of a patch: stands until that is in
	maps    []tracee.Mapping // as they were at some time
}

// loadedObject is an object that the process has mapped.
type loadedObject struct {
	Mapped
	start, end uint64 // of its text
}

// openProcess takes control of a process, which runs on.
func openProcess(pid int) (*process, error) {
	if _, err := entry.LoadPatch(); err != nil {
		return nil, fmt.Errorf("patch functions: %w", err)
	}
	hurry()
	p := &process{pid: pid, tracer: tracee.NewTracer()}
	var err error
	if p.p, err = p.tracer.Seize(pid); err != nil {
		p.tracer.Close()
		return nil, err
	}
	if err := p.look(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// look finds what is in the process.
func (p *process) look() (err error) {
	if p.mem, err = tracee.OpenMemory(p.pid); err != nil {
		return err
	}
	if p.p.Execs() != 0 {
		return tracee.ErrExec
	}
	if p.state, err = findState(p.pid, p.mem); err != nil {
		return err
	}
	p.objects, err = objectsOf(p.pid)
	return err
}

// close lets the process go.
func (p *process) close() {
	p.tracer.Close()
	if p.mem != nil {
		p.mem.Close()
	}
	p.closeObjects()
}

func (p *process) closeObjects() {
	for _, o := range p.objects {
		o.Image.Close()
	}
}

// objectsOf lists the objects that a process has mapped.
func objectsOf(pid int) ([]loadedObject, error) {
	maps, err := tracee.Maps(pid)
	if err != nil {
		return nil, err
	}
	var list []loadedObject
	for _, m := range maps {
		if o, ok := openMapping(pid, m); ok {
			list = append(list, o)
		}
	}
	return list, nil
}

// openMapping opens the file of a mapping if it is an object's text.
func openMapping(pid int, m tracee.Mapping) (o loadedObject, ok bool) {
	if !m.Executable() || m.Inode == 0 || !strings.HasPrefix(m.Path, "/") || strings.HasPrefix(m.Path, "/memfd:nopal") {
		return o, false
	}
	im, err := image.OpenMapped(pid, m.Path, m.Start, m.End)
	if err != nil {
		return o, false
	}
	bias, ok := im.Bias(m.Start, m.End, m.Offset)
	if !ok {
		im.Close()
		return o, false
	}
	return loadedObject{Mapped{im, bias}, m.Start, m.End}, true
}

// Objects implements [World].
func (p *process) Objects() []Mapped {
	var list []Mapped
	for _, o := range p.objects {
		list = append(list, o.Mapped)
	}
	return list
}

// Read implements [World].
func (p *process) Read(addr uint64, b []byte) error {
	_, err := p.mem.ReadAt(b, int64(addr))
	return err
}

// placeAlign is a multiple of every kernel's page size.
const placeAlign = 64 << 10

// Place implements [World].
func (p *process) Place(size, lo, hi uint64) (uint64, error) {
	maps, err := tracee.Maps(p.pid)
	if err != nil {
		return 0, err
	}
	return findPlace(maps, size, lo, hi)
}

func findPlace(maps []tracee.Mapping, size, lo, hi uint64) (uint64, error) {
	const reach = arm64.BranchReach - 1<<16
	if at, ok := tracee.FindGap(maps, size, placeAlign, lo, hi, reach); ok {
		return at, nil
	}
	return 0, fmt.Errorf("no free memory within %d MiB of the text at %#x-%#x", arm64.BranchReach>>20, lo, hi)
}

// unwinder makes the unwinder ready for a thread that has just been stopped: what is on
// its stack has been mapped before, and stays.
func (p *process) unwinder() {
	if p.unwind == nil {
		p.unwind = unwind.New(p.pid, p.mem, unwind.Options{Sysroot: fmt.Sprintf("/proc/%d/root", p.pid), Own: p.own})
		if maps, err := tracee.Maps(p.pid); err == nil {
			p.findTracer(maps)
		}
		if p.state != nil {
			for _, q := range p.state.doc.Patches {
				p.addFrames(q)
			}
		}
	}
	_ = p.unwind.Refresh() // what it does not know it will say
}

// addFrames tells the unwinder of the code of a patch.
func (p *process) addFrames(q *patchState) {
	if q.Frames.Size == 0 {
		return
	}
	for _, r := range q.Memory {
		p.unwind.AddTable(q.Name, r.Addr, r.Addr+r.Size, q.Frames.Addr, q.Frames.Size)
	}
}

// remotely stops the thread that makes system calls in the process's name: the first one,
// whose stack holds what brings a thread back when nopal is killed meanwhile, so
// nobody else may use that. Where it does not stop all threads do.
func (p *process) remotely(ctx context.Context, f func() error) error {
	const patience = 2 * time.Second
	for _, th := range p.p.Threads() {
		if th.Tid() != p.pid {
			continue
		}
		if err := th.Hold(ctx, patience); err == nil {
			defer p.release(th)
			return f()
		}
	}
	if err := p.stand(ctx); err != nil {
		return err
	}
	return errors.Join(f(), p.goOn())
}

// release lets a thread go that was stopped to be looked at.
func (p *process) release(th *tracee.Thread) {
	if th != p.keep {
		th.Release()
	}
}

// mapAt maps anonymous memory, or that of a file, at an address that is free.
func (p *process) mapAt(ctx context.Context, addr, size uint64, prot, fd int) error {
	flags := sys.MapPrivate | sys.MapFixedNoReplace | sys.MapNoReserve
	if fd < 0 {
		flags |= sys.MapAnonymous
	}
	return p.p.MmapAt(ctx, addr, size, prot, flags, fd)
}

// makeState maps the state, unless the process has one.
func (p *process) makeState(ctx context.Context) error {
	if p.state != nil {
		return nil
	}
	return p.remotely(ctx, func() error {
		maps, err := tracee.Maps(p.pid)
		if err != nil {
			return err
		}
		addr, err := tracee.FindRoom(maps, stateSize)
		if err != nil {
			return err
		}
		fd, err := p.memfd(ctx)
		if err != nil {
			return err
		}
		err = p.mapAt(ctx, addr, stateSize, sys.ProtRead|sys.ProtWrite, fd)
		if err = errors.Join(err, p.p.CloseFD(ctx, fd)); err != nil {
			return err
		}
		s := &state{mem: p.mem, addr: addr}
		if err := s.create(); err != nil {
			return err
		}
		p.state = s
		return nil
	})
}

// memfd makes the file that the state is mapped from. A thread is held.
func (p *process) memfd(ctx context.Context) (int, error) {
	fd, err := p.p.Memfd(ctx, memfdName)
	if err != nil {
		return 0, fmt.Errorf("make memory for the state of patches: %w", err)
	}
	if _, err := p.p.Syscall(ctx, sys.NrFtruncate, uint64(fd), stateSize); err != nil {
		return 0, errors.Join(fmt.Errorf("make memory for the state of patches: %w", err), p.p.CloseFD(ctx, fd))
	}
	return fd, nil
}
