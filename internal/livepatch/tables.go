package livepatch

import (
	"fmt"
	"math/bits"

	"nopal/internal/entry"
)

// way is the way that a thread takes.
type way uint64

const (
	oldFunctions way = entry.PatchOld
	newFunctions way = entry.PatchNew
)

func (w way) other() way { return oldFunctions + newFunctions - w }

func (w way) String() string {
	if w == oldFunctions {
		return "old"
	}
	return "new"
}

// tables is nopal's side of the two tables of internal/entry/patch_arm64.s.
type tables struct {
	s       *state
	base    way // what threads come from
	joined  bool
	bits    int
	threads []uint64 // the keys of the first table, as nopal has entered them
	used    int
}

// hashFactor is 2^64 divided by the golden ratio: near keys get places far apart
// (Knuth, The Art of Computer Programming, 6.4).
const hashFactor = 0x9e3779b97f4a7c15

// threadSize is the size of an entry of the first table: which way the thread takes, and
// where it goes over by itself.
const threadSize = 16

const (
	minTableBits = 10
	maxTableBits = 16
)

func keyOf(tp uint64) uint64 { return tp & entry.PatchKeyBits }

func (t *tables) mode() uint64 {
	m := uint64(0)
	if t.joined {
		m |= entry.PatchConverging
	}
	if t.base == newFunctions {
		m |= entry.PatchBaseNew
	}
	return m
}

// setMode makes the stubs gather threads that come from a way, or, with all of them
// gathered, let the others go the other one.
func (t *tables) setMode(base way, gathered bool) error {
	t.base, t.joined = base, gathered
	return t.s.put(controlOff, t.mode())
}

// reset empties the tables, makes them large enough for a number of threads, and
// begins to gather. No stub may be asking.
func (t *tables) reset(threads int, base way) error {
	t.bits = min(max(bits.Len(uint(8*threads)), minTableBits), maxTableBits)
	t.used = 0
	t.threads = make([]uint64, 1<<t.bits)
	if t.tooMany(threads) {
		return fmt.Errorf("%d threads are more than the %d that a patch can move", threads, 1<<t.bits/2)
	}
	if _, err := t.s.mem.WriteAt(make([]byte, threadSize<<t.bits), int64(t.s.addr+threadsOff)); err != nil {
		return fmt.Errorf("write tables of threads: %w", err)
	}
	if err := t.emptyBase(); err != nil {
		return err
	}
	for i, w := range []uint64{0, 0, hashFactor, uint64(64 - t.bits), 1<<t.bits - 1, t.s.addr + threadsOff, t.s.addr + baseOff} {
		if err := t.s.put(controlOff+8*uint64(i), w); err != nil {
			return err
		}
	}
	return t.setMode(base, false)
}

// read takes over the tables that another nopal has left.
func (t *tables) read() error {
	var control [entry.SizeofPatchControl / 8]uint64
	for i := range control {
		w, err := t.s.get(controlOff + 8*uint64(i))
		if err != nil {
			return err
		}
		control[i] = w
	}
	mode, mask := control[0], control[4]
	t.bits = bits.Len64(mask)
	if t.bits < minTableBits || t.bits > maxTableBits {
		return fmt.Errorf("state of patches at %#x is damaged: mask %#x", t.s.addr, mask)
	}
	t.base, t.joined = oldFunctions, mode&entry.PatchConverging != 0
	if mode&entry.PatchBaseNew != 0 {
		t.base = newFunctions
	}
	var err error
	t.threads, err = t.words(threadsOff, threadSize)
	t.used = 0
	for _, w := range t.threads {
		if w != 0 {
			t.used++
		}
	}
	return err
}

// words reads the first word of each entry of a table.
func (t *tables) words(off uint64, size int) ([]uint64, error) {
	b := make([]byte, size<<t.bits)
	if _, err := t.s.mem.ReadAt(b, int64(t.s.addr+off)); err != nil {
		return nil, fmt.Errorf("read tables of threads: %w", err)
	}
	list := make([]uint64, 1<<t.bits)
	for i := range list {
		list[i] = le.Uint64(b[size*i:])
	}
	return list, nil
}

// search gives the place of a key in a table, or the first free one of its chain.
func (t *tables) search(table []uint64, k uint64) (i int, found bool) {
	mask := uint64(1)<<t.bits - 1
	for at := k * hashFactor >> (64 - t.bits); ; at++ {
		w := table[at&mask]
		if w == 0 {
			return int(at & mask), false
		}
		if keyOf(w) == k {
			return int(at & mask), true
		}
	}
}

func (t *tables) tooMany(used int) bool { return used > 1<<t.bits/2 }

// wayOf tells which way a thread takes by its key, as its next call in the target
// will find it.
func (t *tables) wayOf(k uint64) (w way, listed bool, err error) {
	if i, ok := t.search(t.threads, k); ok {
		w, err := t.s.get(threadsOff + threadSize*uint64(i)) // it may have gone over by itself
		return way(w &^ entry.PatchKeyBits), true, err
	}
	if !t.joined {
		return t.base, false, nil
	}
	base, err := t.words(baseOff, 8)
	if err != nil {
		return 0, false, err
	}
	if in(base, k, t.bits) {
		return t.base, false, nil
	}
	return t.base.other(), false, nil
}

// in reports whether the stubs find a key in the second table.
func in(base []uint64, k uint64, tableBits int) bool {
	mask := uint64(1)<<tableBits - 1
	for n, at := 0, k*hashFactor>>(64-tableBits); n < entry.PatchProbes; n, at = n+1, at+1 {
		switch w := base[at&mask]; {
		case w == 0:
			return false
		case keyOf(w) == k:
			return true
		}
	}
	return false
}

// set enters which way a thread takes. It is stopped, outside of the stubs' code unless
// the way is the one that it takes already.
func (t *tables) set(k uint64, w way) error {
	i, found := t.search(t.threads, k)
	if !found {
		if t.tooMany(t.used + 1) {
			return fmt.Errorf("more than %d threads have come by", t.used)
		}
		t.used++
	}
	t.threads[i] = k | uint64(w)
	return t.s.put(threadsOff+threadSize*uint64(i), t.threads[i])
}

// setLeave notes with which sp a thread calls next when it has left all functions that are
// being replaced, 0 if that is not known. It is stopped, outside of the stubs' code.
func (t *tables) setLeave(k, sp uint64) error {
	i, found := t.search(t.threads, k)
	if !found {
		return nil
	}
	return t.s.put(threadsOff+threadSize*uint64(i)+8, sp)
}

// emptyBase forgets who came by while threads were gathered: all are in the first
// table now.
func (t *tables) emptyBase() error {
	if _, err := t.s.mem.WriteAt(make([]byte, 8<<t.bits), int64(t.s.addr+baseOff)); err != nil {
		return fmt.Errorf("write tables of threads: %w", err)
	}
	return nil
}

// overflowed reports whether a thread found no room in the second table.
func (t *tables) overflowed() (bool, error) {
	w, err := t.s.get(controlOff + 8)
	return w != 0, err
}
