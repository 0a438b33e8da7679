package session

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync/atomic"
	"syscall"
	"time"

	"nopal/internal/entry"
	"nopal/internal/sys"
	"nopal/internal/tracee"
	"nopal/trace"
)

// When profiles are read. They are written less and less often, so that a recording of
// days stays small and one that is cut off lacks little of what it had.
const (
	profileLook   = time.Second
	profileSpread = 16 // written after a further 1/16 of the time
	profileMost   = 5 * time.Minute
)

// maxProfileThreads is how many thread ids are told apart. What later ones do counts
// as thread 0's: a program may start threads for ever.
const maxProfileThreads = 4096

// profileReading is what nopal remembers of the profile that it reads.
type profileReading struct {
	begun     time.Time
	pause     time.Duration // between looks, when there are many threads
	looked    time.Time
	writeAt   time.Time
	until     uint64                    // when exits were disarmed; 0: they are not
	owners    map[uint64]uint32         // thread ids by area
	threads   map[uint32]bool           // told apart
	ended     map[uint32]threadCounts   // what threads that have ended have counted
	changed   map[uint32]bool           // of these, since it was written
	written   map[uint32]map[int]uint64 // calls
	missing   map[uint64]uint32         // areas whose thread was not there at the last look
	frames    []byte                    // buffers
	functions []byte
	zeros     []byte
}

// threadCounts are the counts of a thread by function number.
type threadCounts map[int]*entry.ProfileFunc

func newProfileReading() profileReading {
	now := time.Now()
	return profileReading{
		begun: now, looked: now, writeAt: now.Add(profileLook), owners: map[uint64]uint32{}, threads: map[uint32]bool{},
		ended: map[uint32]threadCounts{}, changed: map[uint32]bool{}, written: map[uint32]map[int]uint64{}, missing: map[uint64]uint32{},
		frames: make([]byte, entry.ProfileFrameBytes), functions: make([]byte, 256*entry.ProfileFuncSize), zeros: make([]byte, wipeAtOnce),
	}
}

// lookProfile sees that there is room and, with flush, reads the target's profile if it
// is time to.
func (t *target) lookProfile(flush bool) error {
	p := t.profile
	if p == nil || p.head == nil {
		return nil
	}
	if err := p.grow(); err != nil || !flush {
		return err
	}
	now := time.Now()
	every := t.rec.o.ProfileEvery / 2 // what is shown then is at most as old
	pause := cmp.Or(every, profileLook)
	if atomic.LoadUint64(&p.head.Given) > p.layout.areas/8 && uint32(atomic.LoadUint64(&p.head.FreeHead)) == 0 {
		pause = min(pause, p.read.pause) // threads may be coming and going
	}
	if now.Sub(p.read.looked) < pause {
		return nil
	}
	p.read.looked = now
	if err := t.buryProfiles(); err != nil {
		return err
	}
	if every == 0 {
		if now.Before(p.read.writeAt) {
			return nil
		}
		p.read.writeAt = now.Add(min(max(profileLook, now.Sub(p.read.begun)/profileSpread), profileMost))
	}
	return t.writeProfile()
}

// closeProfile reads and writes it for the last time. Calls that are open count until
// now, or until they could be seen to end.
func (t *target) closeProfile() error {
	p := t.profile
	if p == nil || p.head == nil {
		return nil
	}
	until := p.read.until
	if until == 0 {
		until = entry.Counter()
	}
	var errs []error
	for area := range p.areas() {
		tid, err := p.fold(area, until)
		if err != nil {
			errs = append(errs, fmt.Errorf("read profile of thread %d: %w", tid, err))
		}
	}
	errs = append(errs, t.writeProfile())
	t.rec.countProfile(p)
	if n := atomic.LoadUint64(&p.head.Uncounted); n > 0 {
		errs = append(errs, t.sink().Lost(0, 0, n))
	}
	errs = append(errs, p.close())
	return errors.Join(errs...)
}

// profileEnds says that from now on exits are not seen any more.
func (t *target) profileEnds() {
	if t.profile != nil && t.profile.read.until == 0 {
		t.profile.read.until = entry.Counter()
	}
}

// profileArms says that functions are armed that were not: they may have been left
// unseen.
func (t *target) profileArms() {
	if t.profile != nil && t.profile.head != nil {
		atomic.StoreUint64(&t.profile.head.Since, entry.Counter())
	}
}

// profileResumes ends the calls that were open when it was said that exits are not seen
// any more, before they are again: an exit would take such a frame for its own.
func (t *target) profileResumes() error {
	p := t.profile
	if p == nil || p.head == nil || p.read.until == 0 {
		return nil
	}
	for area, tid := range p.areas() {
		mem, err := sys.MapSharedFile(int(p.file.Fd()), int64(p.areaOff(area)), entry.ProfileFrameBytes)
		if err != nil {
			return fmt.Errorf("map profile of thread %d: %w", tid, err)
		}
		frames := profileFrames(mem)
		open := p.read.frames
		clear(open)
		for i := 1; i < len(frames); i++ {
			f := &frames[i]
			old := *f
			if sp := atomic.LoadUint64(&f.SP); sp > entry.ProfileDead && atomic.CompareAndSwapUint64(&f.SP, sp, entry.ProfileDead) {
				for j, word := range []uint64{old.Child, sp, old.Ticks, old.Site} {
					binary.LittleEndian.PutUint64(open[i*entry.ProfileFrameSize+8*j:], word)
				}
			}
		}
		label := p.label(tid)
		p.openCalls(open, p.read.until, p.endedOf(label))
		p.read.changed[label] = true
		if err := sys.Unmap(mem); err != nil {
			return fmt.Errorf("unmap profile of thread %d: %w", tid, err)
		}
	}
	p.read.until = 0
	return nil
}

// endedOf is the sum of what a thread has counted in areas that are given back.
func (p *profile) endedOf(label uint32) threadCounts {
	sum := p.read.ended[label]
	if sum == nil {
		sum = threadCounts{}
		p.read.ended[label] = sum
	}
	return sum
}

// areas yields the areas that threads have, with the ids of these.
func (p *profile) areas() func(func(uint64, uint32) bool) {
	return func(yield func(uint64, uint32) bool) {
		n := min(atomic.LoadUint64(&p.head.Given), p.head.Areas)
		var frame [entry.ProfileFrameSize]byte
		for area := uint64(1); area <= n; area++ {
			tid := p.read.owners[area]
			if tid == 0 {
				if _, err := p.file.ReadAt(frame[:], int64(p.areaOff(area))); err != nil {
					continue
				}
				if tid = uint32(binary.LittleEndian.Uint64(frame[16:])); tid == 0 {
					continue // being given out, or given back
				}
				p.read.owners[area] = tid
			}
			if !yield(area, tid) {
				return
			}
		}
	}
}

func (p *profile) areaOff(area uint64) uint64 { return p.head.AreasOff + (area-1)*p.head.AreaSize }

// label is the thread that counts of tid are given to.
func (p *profile) label(tid uint32) uint32 {
	if !p.read.threads[tid] {
		if len(p.read.threads) >= maxProfileThreads {
			return 0
		}
		p.read.threads[tid] = true
	}
	return tid
}

// buryProfiles takes the areas of threads that have ended back.
func (t *target) buryProfiles() error {
	p := t.profile
	tids, err := tracee.Tasks(t.pid)
	if err != nil {
		return nil // it has ended: its event comes
	}
	alive := map[uint32]bool{}
	for _, tid := range tids {
		alive[t.inside(tid)] = true
	}
	// A thread is taken for gone when two looks have missed it: its id must not be
	// another's that has just begun.
	missing := map[uint64]uint32{}
	var dead []uint64
	for area, tid := range p.areas() {
		switch {
		case alive[tid]:
		case p.read.missing[area] == tid:
			dead = append(dead, area)
		default:
			missing[area] = tid
		}
	}
	p.read.missing = missing
	if p.read.pause = 2*p.read.pause + roundTime; len(missing)+len(dead) > 0 {
		p.read.pause = 0
	}
	if len(dead) == 0 {
		return nil
	}
	table, err := t.slots()
	if err != nil {
		return nil
	}
	slots := map[uint64]int{}
	for i := 0; i < entry.SlotCount; i++ {
		s := table[i<<entry.SlotShift:]
		if owner := binary.LittleEndian.Uint64(s[slotOwner:]); owner != 0 && owner != entry.ProfileTombstone {
			slots[binary.LittleEndian.Uint64(s[slotOwner+16:])] = i
		}
	}
	now := entry.Counter()
	for _, area := range dead {
		if i, ok := slots[p.addr+p.areaOff(area)]; ok && t.freeSlot(i) != nil {
			return nil
		}
		if _, err := p.fold(area, now); err != nil {
			return fmt.Errorf("read profile: %w", err)
		}
		if err := p.wipe(area); err != nil {
			return fmt.Errorf("free profile of a thread: %w", err)
		}
		p.free(area)
	}
	return nil
}

// freeSlot makes the slot of a thread that has ended free for others.
func (t *target) freeSlot(i int) error {
	at := int64(t.control + entry.ControlSize + uint64(i)<<entry.SlotShift + slotOwner)
	if _, err := t.mem.WriteAt(make([]byte, 16), at+8); err != nil {
		return err
	}
	// From here on it may be another's.
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], entry.ProfileTombstone)
	_, err := t.mem.WriteAt(b[:], at)
	return err
}

// wipeAtOnce is how much of an area is zeroed rather than given back to the kernel: the
// next thread needs it as well.
const wipeAtOnce = 64 << 10

// wipe makes an area that was folded zero.
func (p *profile) wipe(area uint64) error {
	at, size := int64(p.areaOff(area)), int64(counterOffset(len(p.funcs)))
	if counters := size - entry.ProfileFrameBytes; counters <= wipeAtOnce {
		_, err := p.file.WriteAt(p.read.zeros[:counters], at+entry.ProfileFrameBytes)
		return err
	}
	return sys.PunchHole(int(p.file.Fd()), at, size)
}

// free gives an area to whoever needs one next.
func (p *profile) free(area uint64) {
	head := &p.head.FreeHead
	for {
		old := atomic.LoadUint64(head)
		atomic.StoreUint32(&p.links[area], uint32(old))
		if atomic.CompareAndSwapUint64(head, old, (old>>32+1)<<32|area) {
			return
		}
	}
}

// fold adds what an area has counted to what its thread has, calls that are still open
// among it, as if they ended at until.
func (p *profile) fold(area, until uint64) (tid uint32, err error) {
	frames := p.read.frames
	if _, err := p.file.ReadAt(frames, int64(p.areaOff(area))); err != nil {
		return 0, err
	}
	tid = uint32(binary.LittleEndian.Uint64(frames[16:]))
	label := p.label(tid)
	p.read.changed[label] = true
	delete(p.read.owners, area)
	sum := p.endedOf(label)
	if err := p.collect(area, sum); err != nil {
		return tid, err
	}
	used := p.openCalls(frames, until, sum)
	// What is counted is not to be counted again.
	_, err = p.file.WriteAt(p.read.zeros[:used*entry.ProfileFrameSize], int64(p.areaOff(area)))
	return tid, err
}

// openCalls adds the calls whose frames are there, and returns how many frames that is,
// the one that is no call included.
func (p *profile) openCalls(frames []byte, until uint64, sum threadCounts) int {
	word := func(f, i int) uint64 { return binary.LittleEndian.Uint64(frames[f*entry.ProfileFrameSize+8*i:]) }
	top := 0
	for f := 1; f < len(frames)/entry.ProfileFrameSize; f++ {
		if word(f, 1) > entry.ProfileDead {
			top = f
		}
	}
	inner := uint64(0)
	for f := top; f > 0; f-- {
		if word(f, 1) <= entry.ProfileDead {
			continue
		}
		n, ok := p.sites[word(f, 3)]
		if !ok {
			continue
		}
		c := sum.of(n)
		c.Inferred++
		begun := word(f, 2)
		if begun > until {
			c.Untimed++ // its exit could not be seen
			continue
		}
		d := until - begun
		c.Total += d
		c.Self += d - min(d, word(f, 0)+inner)
		inner = d
		c.Hist[bits.Len64(d)&63]++
		c.Least = max(c.Least, 1<<63-d)
		c.Most = max(c.Most, d)
	}
	return top + 1
}

func (s threadCounts) of(n int) *entry.ProfileFunc {
	c := s[n]
	if c == nil {
		c = new(entry.ProfileFunc)
		s[n] = c
	}
	return c
}

// collect adds the counters of an area to sum. Only what exists of the file is read.
func (p *profile) collect(area uint64, sum threadCounts) error {
	first := int64(p.areaOff(area) + entry.ProfileFrameBytes)
	end := first + int64(len(p.funcs))*entry.ProfileFuncSize
	buf := p.read.functions
	for at := first; at < end; {
		data, err := p.file.Seek(at, sys.SeekData)
		if errors.Is(err, syscall.ENXIO) || data >= end {
			return nil
		}
		if err != nil {
			return err
		}
		// Functions do not end where pages do.
		at = first + max(data-first, 0)/entry.ProfileFuncSize*entry.ProfileFuncSize
		n, err := p.file.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		number := int((at - first) / entry.ProfileFuncSize)
		for b := buf[:n]; len(b) >= entry.ProfileFuncSize; b = b[entry.ProfileFuncSize:] {
			sum.add(number, b)
			number++
		}
		at += int64(n) / entry.ProfileFuncSize * entry.ProfileFuncSize
	}
	return nil
}

// add adds the counters in b to those of function n.
func (s threadCounts) add(n int, b []byte) {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	var f entry.ProfileFunc
	calls := uint64(0)
	for i := range f.Hist {
		f.Hist[i] = word(i)
		calls += f.Hist[i]
	}
	const totals = len(f.Hist)
	f.Untimed, f.Inferred = word(totals+4), word(totals+5)
	if calls+f.Untimed == 0 || n == 0 {
		return
	}
	c := s.of(n)
	for i, h := range f.Hist {
		c.Hist[i] += h
	}
	c.Total += word(totals)
	c.Self += word(totals + 1)
	c.Least = max(c.Least, word(totals+2))
	c.Most = max(c.Most, word(totals+3))
	c.Untimed += f.Untimed
	c.Inferred += f.Inferred
}

// writeProfile writes what has changed.
func (t *target) writeProfile() error {
	p := t.profile
	live := map[uint32][]uint64{}
	for area, tid := range p.areas() {
		label := p.label(tid)
		live[label] = append(live[label], area)
	}
	for label := range p.read.changed {
		if _, ok := live[label]; !ok {
			live[label] = nil
		}
	}
	clear(p.read.changed)
	for label, areas := range live {
		sum := threadCounts{}
		for n, c := range p.read.ended[label] {
			copied := *c
			sum[n] = &copied
		}
		for _, area := range areas {
			if err := p.collect(area, sum); err != nil {
				return fmt.Errorf("read profile: %w", err)
			}
		}
		if err := t.writeCounts(label, sum); err != nil {
			return err
		}
	}
	return nil
}

// writeCounts writes the counts of a thread that are not the same as those written.
func (t *target) writeCounts(label uint32, sum threadCounts) error {
	p := t.profile
	written := p.read.written[label]
	if written == nil {
		written = map[int]uint64{}
		p.read.written[label] = written
	}
	block := trace.Profile{Proc: t.proc, TID: label, Ticks: entry.Counter()}
	for n, c := range sum {
		f := profileFunc(c)
		id := t.rec.images[p.funcs[n].im]
		if id == 0 || written[n] == f.Calls {
			continue
		}
		written[n] = f.Calls
		f.Image, f.VA = id, p.funcs[n].va
		block.Funcs = append(block.Funcs, f)
	}
	if len(block.Funcs) == 0 {
		return nil
	}
	if err := (&sink{t.rec, t}).thread(label); err != nil {
		return err
	}
	return t.rec.w.WriteProfile(block)
}

// countProfile adds what a target's profile has in the end to the recording's result.
func (r *recorder) countProfile(p *profile) {
	for _, sum := range p.read.ended {
		for n, c := range sum {
			r.calls += profileFunc(c).Calls
			r.profiled[p.funcs[n]] = true
		}
	}
}

// profileFunc is c as it is written.
func profileFunc(c *entry.ProfileFunc) trace.ProfileFunc {
	f := trace.ProfileFunc{Calls: c.Untimed, Total: c.Total, Self: c.Self, Max: c.Most}
	if c.Least != 0 {
		f.Min = 1<<63 - c.Least
	}
	for i, n := range c.Hist {
		if n != 0 {
			f.Calls += n
			f.Hist = append(f.Hist, trace.ProfileBucket{Bucket: uint32(i), Count: n})
		}
	}
	return f
}
