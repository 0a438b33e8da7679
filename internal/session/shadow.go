package session

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// Where a call is and how long it takes is looked at in the target, by what keeps a
// stack of the open calls of each thread (shadow_arm64.s). The stacks are one region
// of private memory, of which a thread uses a few KiB.

// shadowState is what decides there.
type shadowState struct {
	base, depth, maxDepth int64
	threshold             uint64 // ticks
}

// shadowState is that of the options.
func (r *recorder) shadowState() shadowState {
	levels := func(n int) int64 {
		if n == 0 {
			return entry.ShadowAll
		}
		return int64(n)
	}
	s := shadowState{depth: levels(r.o.Depth), maxDepth: levels(r.o.MaxDepth)}
	if s.base = min(s.depth, s.maxDepth); r.o.Filter.Positive() {
		s.base = entry.ShadowOff
	}
	if r.o.Threshold > 0 {
		perSecond := float64(entry.CounterFrequency())
		s.threshold = max(uint64(r.o.Threshold.Seconds()*perSecond+0.5), 1)
	}
	return s
}

// wantsShadow reports whether the target has to get its stacks.
func (t *target) wantsShadow() bool { return t.shadow == 0 && t.rec.shadowed() }

// mapShadow maps the stacks of the stopped target if something is decided there. They
// are not mapped before: a program that locks its memory (mlockall) has all of them.
func (t *target) mapShadow(ctx context.Context) error {
	if !t.wantsShadow() {
		return nil
	}
	if err := t.mapStacks(ctx); err != nil {
		t.shadow = 0
		return fmt.Errorf("map memory for filters: %w (-F, -N, -D, --max-depth and -t in a graph need %d MiB of address space; without them it works)", err, entry.ShadowRegion>>20)
	}
	// Islands that were filled before lack the address.
	var address [8]byte
	binary.LittleEndian.PutUint64(address[:], t.shadow)
	for _, objects := range []map[key]*object{t.objects, t.former} {
		for _, o := range objects {
			if o.island == 0 {
				continue
			}
			if _, err := t.text().WriteAt(address[:], int64(o.island+t.blob.Literals+56)); err != nil {
				return fmt.Errorf("write trampolines at %#x: %w", o.island, err)
			}
		}
	}
	return t.filterThunks(address[:])
}

// filterThunks has calls that end by thunks end where filters decide, from now on: the
// exit that the thunks lead to begins with a jump there. The instruction that it replaces
// is as long (LEA in graph_amd64.s), so no thread stands inside of it, and one that stands
// behind it ends its call as before. Calls that are open are not known there: they seem to
// be left.
func (t *target) filterThunks(stacks []byte) error {
	b := &t.blob
	if t.graph.thunks == 0 || t.graph.filters || len(t.graph.copies) == 0 {
		return nil
	}
	const jmp, length = 0xe9, 5 // JMP rel32 (Intel SDM 2A, JMP)
	code := binary.LittleEndian.AppendUint32([]byte{jmp}, uint32(b.Shadow.Thunk-b.Graph.Exit-length))
	first := t.graph.copies[0]
	for _, w := range []struct {
		offset uint64
		bytes  []byte
	}{{b.Literals + 56, stacks}, {b.Graph.Exit, code}} {
		if _, err := t.text().WriteAt(w.bytes, int64(first+w.offset)); err != nil {
			return fmt.Errorf("write trampolines at %#x: %w", first, err)
		}
	}
	t.graph.filters = true
	return nil
}

func (t *target) mapStacks(ctx context.Context) error {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	room, err := tracee.FindRoom(maps, 2*entry.ShadowRegion)
	if err != nil {
		return err
	}
	// The code puts the number of a slot into the address.
	t.shadow = (room + entry.ShadowRegion - 1) &^ (entry.ShadowRegion - 1)
	if err := t.ring.AddIsland(t.shadow, entry.ShadowRegion); err != nil {
		return err
	}
	const flags = sys.MapPrivate | sys.MapAnonymous | sys.MapFixedNoReplace | sys.MapNoReserve
	if err := t.mmapStopped(ctx)(t.shadow, entry.ShadowRegion, sys.ProtRead|sys.ProtWrite, flags, -1); err != nil {
		return err
	}
	if err := t.p.Madvise(ctx, t.shadow, entry.ShadowRegion, sys.AdviseWipeOnFork); err != nil {
		return err
	}
	// A few KiB for each thread, not 2 MiB. Kernels without huge pages refuse it.
	_ = t.p.Madvise(ctx, t.shadow, entry.ShadowRegion, sys.AdviseNoHugePage)
	return t.markShadow()
}

// shadowMark is where entry.ControlMagic stands in the region, by which a removal
// knows it for ours: in what is unused of the first header.
const shadowMark = 56

func (t *target) markShadow() error {
	if t.shadow == 0 {
		return nil
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], entry.ControlMagic)
	if _, err := t.mem.WriteAt(b[:], int64(t.shadow+shadowMark)); err != nil {
		return fmt.Errorf("write shadow stacks: %w", err)
	}
	return nil
}

// isShadow recognises the region: by its mark or, in a forked child, where it was
// wiped, by zero.
func (r *remover) isShadow(m tracee.Mapping, i entry.IslandEntry) bool {
	if i.Size != entry.ShadowRegion || m.Perms != "rw-p" {
		return false
	}
	var b [8]byte
	if _, err := r.mem.ReadAt(b[:], int64(i.Addr+shadowMark)); err != nil {
		return false
	}
	mark := binary.LittleEndian.Uint64(b[:])
	return mark == entry.ControlMagic || mark == 0
}

// put enters the state into the tail of a control block.
func (s shadowState) put(tail []byte) {
	w := func(fromEnd int, value uint64) {
		binary.LittleEndian.PutUint64(tail[len(tail)-fromEnd:], value)
	}
	w(56, uint64(s.maxDepth))
	w(48, uint64(s.depth))
	w(32, uint64(s.base))
	w(24, s.threshold)
}

// updateShadow makes the target decide by the options as they are now. Where calls
// are recorded from has changed, the stacks begin anew: what is open then is told to
// have ended by what comes after it.
func (t *target) updateShadow() error {
	s := t.rec.shadowState()
	if t.shadow == 0 || t.shadowState == s {
		return nil
	}
	anew := s
	anew.threshold = t.shadowState.threshold
	for _, w := range []struct{ fromEnd, value uint64 }{
		{56, uint64(s.maxDepth)}, {48, uint64(s.depth)}, {32, uint64(s.base)}, {24, s.threshold},
	} {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], w.value)
		if _, err := t.mem.WriteAt(b[:], int64(t.control+entry.ControlSize-w.fromEnd)); err != nil {
			return fmt.Errorf("write control block: %w", err)
		}
	}
	if anew != t.shadowState {
		if err := t.disownShadows(); err != nil {
			return err
		}
	}
	t.shadowState = s
	return nil
}

// disownShadows makes every thread begin its stack anew.
func (t *target) disownShadows() error {
	table, err := t.slots()
	if err != nil {
		return err
	}
	for i := range entry.SlotCount {
		if binary.LittleEndian.Uint64(table[i<<entry.SlotShift+16:]) <= entry.KeyTombstone {
			continue
		}
		if err := t.disownShadow(i); err != nil {
			return err
		}
	}
	return nil
}

// disownShadow makes the stack of a slot nobody's.
func (t *target) disownShadow(slot int) error {
	if t.shadow == 0 {
		return nil
	}
	if _, err := t.mem.WriteAt(make([]byte, 8), int64(t.shadow+uint64(slot)<<entry.ShadowShift)); err != nil {
		return fmt.Errorf("free shadow stack: %w", err)
	}
	return nil
}

// setThreshold makes d the least that a recorded call takes, and setDepth n the levels
// of calls that are recorded; 0: all. A plain graph becomes one that looks, for which
// its process stands still once, or the other way round.
func (s *session) setThreshold(ctx context.Context, d time.Duration) error {
	return s.reshadow(ctx, func(o *Options) { o.Threshold = d })
}

func (s *session) setDepth(ctx context.Context, n int) error {
	return s.reshadow(ctx, func(o *Options) { o.Depth = n })
}

func (s *session) reshadow(ctx context.Context, change func(*Options)) error {
	before := s.rec.o
	change(&s.rec.o)
	if _, err := s.rec.code(); err != nil {
		s.rec.o = before
		return err
	}
	return s.rearmAll(ctx, true)
}
