package session

import (
	"encoding/binary"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"nopal/internal/entry"
	"nopal/internal/ring"
	"nopal/trace"
)

// shadowRig runs the code for entries and exits in this process, as a thread of a
// target would: with a thread block, a table of slots and a ring.
type shadowRig struct {
	t       *testing.T
	blob    entry.Blob
	labels  entry.Shadow
	code    []byte
	run     func(*rigCall)
	pads    uint64 // where entries go on; the address of one tells the function
	back    uint64
	tls     []uint64
	control []byte
	stacks  []byte // the shadow stacks
	slot    uint64
	ring    *ring.Ring
	drainer *ring.Drainer
	seen    []rigEvent
	lost    uint64
	sp      uint64 // top of the stack that is run on
}

type rigEvent struct {
	fn    int
	exit  bool
	sp    uint32
	ticks uint64
}

// rigCall is what rigThunk takes and leaves.
type rigCall struct {
	pc, sp, x9, lr, x16, x17, tls, _ uint64
	regs                             [20]uint64 // x0-x8, x19-x27, x29, x30
	spAfter, nzcv                    uint64
}

// rigThunk sets TPIDR_EL0 and the registers of rigCall and jumps to its pc; at rigBack
// it stores what it finds and returns to Go. The registers that must be kept have
// their numbers plus 100 as values, and NZCV is 1010.
var rigThunk = []uint32{
	0xa9be7bfd, 0xd53bd041, 0xf9000be1, 0xf9401802, 0xd51bd042, 0x910003e3, 0xf9002043, 0xf9002440,
	0xa9402c0a, 0xa9417809, 0xa9424410, 0x9100017f, 0xd2b4000c, 0xd51b420c, 0xd2800c80, 0xd2800ca1,
	0xd2800cc2, 0xd2800ce3, 0xd2800d04, 0xd2800d25, 0xd2800d46, 0xd2800d67, 0xd2800d88, 0xd2800ef3,
	0xd2800f14, 0xd2800f35, 0xd2800f56, 0xd2800f77, 0xd2800f98, 0xd2800fb9, 0xd2800fda, 0xd2800ffb,
	0xd280001d, 0xd61f0140, 0xd53bd04a, 0xf940254b, 0xa9040560, 0xa9050d62, 0xa9061564, 0xa9071d66,
	0xa9084d68, 0xa9095574, 0xa90a5d76, 0xa90b6578, 0xa90c6d7a, 0xa90d797d, 0x910003ec, 0xd53b420d,
	0xa90e356c, 0xf940214c, 0x9100019f, 0xf9400be1, 0xd51bd041, 0xa8c27bfd, 0xd65f03c0,
}

const (
	rigBack = 0x88
	rigPads = 256
	rigTid  = 4711
)

func rigMap(t *testing.T, size, align uint64, prot int) ([]byte, uint64) {
	t.Helper()
	mem, err := syscall.Mmap(-1, 0, int(size+align), prot, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Munmap(mem) })
	addr := addressOf(mem)
	off := -addr & (align - 1)
	return mem[off : off+size], addr + off
}

func newShadowRig(t *testing.T) *shadowRig {
	blob, err := entry.Load()
	if err != nil {
		t.Skip(err)
	}
	r := &shadowRig{t: t, blob: blob, labels: blob.Shadow}
	const table = entry.SlotCount << entry.SlotShift
	var addr uint64
	all, at := rigMap(t, 2*table, table, syscall.PROT_READ|syscall.PROT_WRITE)
	r.control = all[table-entry.ControlSize : 2*table]
	var shadow uint64
	r.stacks, shadow = rigMap(t, entry.ShadowRegion, entry.ShadowRegion, syscall.PROT_READ|syscall.PROT_WRITE)
	_, r.sp = rigMap(t, 4<<20, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE)
	r.sp += 2 << 20

	const buffer = 64 * entry.PageSize
	size, err := ring.Size(buffer)
	if err != nil {
		t.Fatal(err)
	}
	mem, ringAt := rigMap(t, size, 0x10000, syscall.PROT_READ|syscall.PROT_WRITE)
	if r.ring, err = ring.Format(mem, buffer, at, 1); err != nil {
		t.Fatal(err)
	}
	r.drainer = ring.NewDrainer(r.ring, r, false)

	r.code, addr = rigMap(t, 0x10000, 0x10000, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC)
	copy(r.code, blob.Code)
	lit := r.code[blob.Literals:]
	thunk := uint64(len(blob.Code)+63) &^ 63
	r.back = addr + thunk + rigBack
	r.pads = addr + thunk + 4*uint64(len(rigThunk))
	for i, w := range append(rigThunk[:len(rigThunk):len(rigThunk)], make([]uint32, rigPads)...) {
		if w == 0 {
			w = 0x14000000 | uint32(rigBack/4-i)&0x3ffffff
		}
		binary.LittleEndian.PutUint32(r.code[thunk+4*uint64(i):], w)
	}
	put := binary.LittleEndian.PutUint64
	put(lit[0:], at+table)
	put(lit[8:], entry.FirstIndex<<entry.WordIndexShift-r.pads<<(entry.WordIndexShift-2))
	put(lit[48:], addr+blob.Reserve)
	put(lit[56:], shadow)
	start := addr + thunk
	entryPoint := &start
	r.run = *(*func(*rigCall))(unsafe.Pointer(&entryPoint))

	r.tls = make([]uint64, 32)
	r.slot = rigTid & (entry.SlotCount - 1)
	*(*uint32)(unsafe.Pointer(&r.tls[16])) = rigTid
	put(r.control[entry.ControlSize-16:], 128)
	put(r.control[entry.ControlSize-8:], ringAt)
	put(r.control[8:], rigTid)
	r.set(0, entry.ShadowAll, entry.ShadowAll, entry.ShadowAll)
	return r
}

// unknown says whether the place of the thread id is not known.
func (r *shadowRig) unknown(is bool) {
	r.labels = r.blob.Shadow
	offset := uint64(128)
	r.slot = rigTid & (entry.SlotCount - 1)
	if is {
		r.labels, offset = r.blob.ShadowUnknown, entry.TidOffsetNone
		r.slot = addressOfWords(r.tls) >> 12 & (entry.SlotCount - 1)
	}
	binary.LittleEndian.PutUint64(r.control[entry.ControlSize-16:], offset)
}

// set fills in what filters and threshold come to.
func (r *shadowRig) set(threshold uint64, base, depth, maxDepth int64) {
	put := binary.LittleEndian.PutUint64
	tail := r.control[:entry.ControlSize]
	put(tail[entry.ControlSize-24:], threshold)
	put(tail[entry.ControlSize-32:], uint64(base))
	put(tail[entry.ControlSize-48:], uint64(depth))
	put(tail[entry.ControlSize-56:], uint64(maxDepth))
}

// age makes the open calls older by so many ticks, again and again on a machine that
// may have been started just now: nothing has begun before that.
func (r *shadowRig) age(ticks uint64) {
	for entry.Counter() < 4*ticks {
		time.Sleep(10 * time.Millisecond)
	}
	stack := r.stacks[r.slot<<entry.ShadowShift:]
	top := binary.LittleEndian.Uint64(stack[8:])
	for at := uint64(64); at < top; at += 32 {
		began := stack[at+8:]
		binary.LittleEndian.PutUint64(began, binary.LittleEndian.Uint64(began)-ticks)
	}
}

func (r *shadowRig) call(c *rigCall) {
	c.tls = addressOfWords(r.tls)
	sp := c.sp
	r.run(c)
	for i := range c.regs[:18] {
		want := uint64(100 + i)
		if i >= 9 {
			want += 10
		}
		if c.regs[i] != want {
			r.t.Fatalf("x%d is %d afterwards", want-100, c.regs[i])
		}
	}
	if c.regs[18] != 0 || c.spAfter != sp || c.nzcv != 0xa0000000 {
		r.t.Fatalf("x29 %#x, sp %#x instead of %#x, nzcv %#x afterwards", c.regs[18], c.spAfter, sp, c.nzcv)
	}
}

func addressOfWords(w []uint64) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(w)))) }

// enter calls function fn with sp bytes of stack in use. what is an entry label.
func (r *shadowRig) enter(what uint64, fn int, sp uint64) {
	start := r.pads - uint64(rigPads) // any address: where the function's caller goes on
	c := rigCall{pc: r.at(what), sp: r.sp - sp, x9: start, lr: r.pads + 4*uint64(fn)}
	r.call(&c)
	if c.regs[19] != start {
		r.t.Fatalf("x30 is %#x in the function, want %#x", c.regs[19], start)
	}
}

func (r *shadowRig) at(label uint64) uint64 { return addressOf(r.code) + label }

// leave is its exit: kind 0 by RET, 1 by another instruction, 2 with x30's stub having pushed.
func (r *shadowRig) leave(fn int, sp uint64, kind int) {
	e := r.labels.Exit
	c := rigCall{sp: r.sp - sp, x16: uint64(entry.FirstIndex+rigPads+fn) << entry.WordIndexShift, lr: r.back, x17: r.back + 64}
	switch kind {
	case 0:
		c.pc = r.at(e.Ret)
	case 1:
		c.pc, c.x17, c.lr = r.at(e.Gen), r.back, r.pads
	case 2:
		c.pc, c.x17, c.lr = r.at(e.Pushed), r.back, r.pads
		c.sp -= 16
	}
	lr := c.lr
	r.call(&c)
	if c.regs[19] != lr {
		r.t.Fatalf("x30 is %#x after an exit, want %#x", c.regs[19], lr)
	}
}

// events returns what has been recorded since the last time.
func (r *shadowRig) events() []rigEvent {
	r.seen = nil
	if _, err := r.drainer.Look(true); err != nil {
		r.t.Fatal(err)
	}
	return r.seen
}

func (r *shadowRig) Chunk(_, tid uint32, base, lost uint64, words []uint64) error {
	var c trace.Cursor
	c.Reset(&trace.Chunk{TID: tid, Base: base, Words: bytesOf(words)}, 0)
	r.lost += lost
	for c.Next() {
		e := rigEvent{fn: int(c.Index) - entry.FirstIndex, sp: c.SP, ticks: c.Ticks}
		if e.fn >= rigPads {
			e.fn, e.exit = e.fn-rigPads, true
		}
		r.seen = append(r.seen, e)
	}
	return c.Err()
}

func (r *shadowRig) Lost(_, _ uint32, count uint64) error {
	r.lost += count
	return nil
}
