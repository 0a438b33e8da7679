package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// Where functions' bodies are called (entry/graph.go), the target has a region of thunks
// and, behind it, one of frames. All thunks are the same, so a small file is mapped again
// and again.

const (
	thunksName   = "nopal-thunks"
	thunksPrefix = "/memfd:" + thunksName
	// thunksFile is its size. A process may have 65,530 mappings (vm.max_map_count), and
	// each takes a system call of the stopped target; the file is memory.
	thunksFile = 8 << 20
)

// graphRegion is what a target has of that.
type graphRegion struct {
	thunks  uint64   // address of the thunks; 0: none
	file    *os.File // in which they are, until it is known where they lead
	filters bool     // they lead to where filters decide
	refused string   // why exits are not recorded
	copies  []uint64 // of the entry code, also where no object has them
	finders []finder
	known   map[string]bool // objects whose unwinder was looked for
}

// calls reports whether bodies of functions are called.
func (t *target) callsBodies() bool {
	return t.rec.exits() && t.graph.thunks != 0 && t.graph.refused == ""
}

// refuseGraph has entries recorded only.
func (t *target) refuseGraph(why string) {
	if t.graph.refused == "" {
		t.graph.refused = why
		t.rec.warn("process %d: exits of functions are not recorded, only entries: %s", t.pid, why)
	}
}

// mapGraph maps the memory of functions whose bodies are called, before any island is
// filled. The target is stopped.
func (t *target) mapGraph(ctx context.Context) error {
	if !t.rec.exits() || t.blob.Graph.Caller == 0 || t.graph.thunks != 0 {
		return nil
	}
	if why, err := notCalled(t.pid); err != nil || why != "" {
		if why != "" {
			t.refuseGraph(why)
		}
		return err
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	const align = entry.GraphRegion
	room, err := tracee.FindRoom(maps, 2*entry.GraphRegion+align)
	if err == nil {
		err = t.mapRegions(ctx, (room+align-1)&^(align-1))
	}
	if err == nil || notThere(err) || errors.Is(err, tracee.ErrExec) {
		return err
	}
	t.refuseGraph(fmt.Sprintf("map %d MiB of address space for open calls: %v", 2*entry.GraphRegion>>20, err))
	return nil
}

func (t *target) mapRegions(ctx context.Context, thunks uint64) error {
	frames := thunks + entry.GraphRegion
	for _, at := range []uint64{thunks, frames} {
		if err := t.ring.AddIsland(at, entry.GraphRegion); err != nil {
			return err
		}
	}
	mmap := t.mmapStopped(ctx)
	const private = sys.MapPrivate | sys.MapAnonymous | sys.MapFixedNoReplace | sys.MapNoReserve
	if err := mmap(frames, entry.GraphRegion, sys.ProtRead|sys.ProtWrite, private, -1); err != nil {
		return err
	}
	// A page for each thread, not 2 MiB. Kernels without huge pages refuse it.
	_ = t.p.Madvise(ctx, frames, entry.GraphRegion, sys.AdviseNoHugePage)
	for _, w := range []struct{ at, value uint64 }{{frames + shadowMark, entry.ControlMagic}, {frames + entry.GraphRegion - frameSize, 1}} {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], w.value)
		if _, err := t.mem.WriteAt(b[:], int64(w.at)); err != nil {
			return fmt.Errorf("write frames: %w", err)
		}
	}
	file, fd, err := t.makeMemfd(ctx, thunksName)
	if err != nil {
		return err
	}
	if err := file.Truncate(thunksFile); err != nil {
		return errors.Join(fmt.Errorf("make thunks: %w", err), file.Close())
	}
	for at := thunks; at < frames; at += thunksFile {
		if err := mmap(at, thunksFile, protReadExec, sys.MapShared|sys.MapFixedNoReplace, fd); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	if err := t.p.CloseFD(ctx, fd); err != nil {
		return errors.Join(err, file.Close())
	}
	t.graph.thunks, t.graph.file = thunks, file
	return nil
}

// fillGraph completes the copy of the entry code that is to stand at an address. The
// first one has the code of all exits.
func (t *target) fillGraph(code []byte, addr uint64) error {
	if t.graph.thunks == 0 {
		return nil
	}
	t.blob.Graph.Fill(code, t.graph.thunks)
	t.graph.copies = append(t.graph.copies, addr)
	if t.graph.file == nil {
		return nil
	}
	exit := t.blob.Graph.Exit
	switch {
	case t.rec.o.Profile:
		exit = t.blob.Profile.Thunk
	case t.rec.shadowed():
		exit, t.graph.filters = t.blob.Shadow.Thunk, true
	}
	_, err := t.graph.file.WriteAt(entry.Thunks(thunksFile, addr+exit), 0)
	if e := t.graph.file.Close(); err == nil {
		err = e
	}
	t.graph.file = nil
	if err != nil {
		return fmt.Errorf("write thunks: %w", err)
	}
	return nil
}

// ownMainStack is the stack that only the main thread runs on, to find frames without a
// lock; stack records know it anyway.
func (t *target) ownMainStack() (low, high uint64, ok bool) {
	if !t.callsBodies() {
		return 0, 0, false
	}
	low, high, err := t.mainStack()
	return low, high, err == nil && high != 0
}

// isGuarded reports whether what is mapped from addr on is nobody's but a stack: there is
// nothing below it, or a page that cannot be touched. Otherwise it may be several.
func isGuarded(list []tracee.Mapping, addr uint64) bool {
	for _, m := range list {
		if m.End == addr {
			return strings.HasPrefix(m.Perms, "---")
		}
	}
	return true
}

// notCalled says why bodies of functions of a process cannot be called.
func notCalled(pid int) (why string, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", fmt.Errorf("read status of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "x86_Thread_features" && strings.Contains(value, "shstk"):
			return "it has a shadow stack, which holds return addresses to what they are", nil
		case name == "VmLck" && value != "0 kB":
			return fmt.Sprintf("it locks its memory, and %d MiB more would be locked", 2*entry.GraphRegion>>20), nil
		}
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return "", fmt.Errorf("read limits of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(limits)) {
		for _, what := range []string{"Max address space", "Max data size"} {
			if rest, ok := strings.CutPrefix(line, what); ok && !strings.HasPrefix(strings.TrimSpace(rest), "unlimited") {
				return fmt.Sprintf("its memory is limited (%s), and %d MiB of address space would count", what, 2*entry.GraphRegion>>20), nil
			}
		}
	}
	return "", nil
}

func isThunks(m tracee.Mapping) bool { return strings.HasPrefix(m.Path, thunksPrefix) }

// isFrames recognises the region of frames, which children inherit, by its mark.
func (r *remover) isFrames(m tracee.Mapping, i entry.IslandEntry) bool {
	if i.Size != entry.GraphRegion || m.Perms != "rw-p" {
		return false
	}
	mark, err := r.mem.ReadUint64(i.Addr + shadowMark)
	return err == nil && mark == entry.ControlMagic
}

// frameRegions are the addresses of the regions of frames.
func (r *remover) frameRegions(maps []tracee.Mapping) []uint64 {
	var regions []uint64
	for _, i := range r.state.Islands {
		if m, ok := mappingAt(maps, i.Addr); ok && r.isFrames(m, i) {
			regions = append(regions, i.Addr)
		}
	}
	return regions
}

// inherit is what a forked child has of it: the same, at the same places.
func (g graphRegion) inherit() graphRegion {
	g.file = nil
	g.copies = slices.Clone(g.copies)
	g.finders = slices.Clone(g.finders)
	for i := range g.finders {
		g.finders[i].in = maps.Clone(g.finders[i].in)
	}
	g.known = maps.Clone(g.known)
	return g
}
