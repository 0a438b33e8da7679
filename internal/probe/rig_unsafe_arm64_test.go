package probe

import (
	"encoding/binary"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"nopal/internal/arch/arm64"
	"nopal/internal/entry"
	"nopal/internal/ring"
)

// rig runs probes in this process, as a thread of a target would: with a thread block, a
// table of slots, a ring, and the entry code.
type rig struct {
	t       *testing.T
	blob    entry.Blob
	code    []byte
	at      uint64 // of code
	probes  uint64 // where there is room for probes
	run     func(*rigCall)
	lands   [3]uint64 // where a probe can go on
	tls     []uint64
	control []byte
	stack   []byte
	stackAt uint64
	ring    *ring.Ring
	drainer *ring.Drainer
	words   []uint64
	lost    uint64
}

// rigCall is what the thunk takes and leaves. The order is the thunk's.
type rigCall struct {
	pc, tls   uint64
	in, after rigState
	landed    uint64
	_         [2]uint64 // Go's sp and thread pointer
}

type rigState struct {
	x    [32]uint64 // 31 is sp
	nzcv uint64
	_    uint64
	v    [32][2]uint64
}

const (
	rigTid    = 4711
	rigProbe  = 4096 // the longest probe's code
	rigTLS    = 128  // offset of the tid
	rigCallAt = 96   // and of the rigCall's address
	inAt      = 16
	stateSize = 34*8 + 512
	afterAt   = inAt + stateSize
	landedAt  = afterAt + stateSize
)

// The registers that the thunk does not set: x28 is Go's g.
func rigKeeps(r arm64.Reg) bool { return r == 28 }

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

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// thunk makes the code that sets all registers as in rigCall.in, goes to pc, and where
// the probe goes on stores them in rigCall.after and returns to Go.
func (r *rig) thunk(at uint64) []uint32 {
	const c, tls = arm64.X10, arm64.X11
	a := arm64.NewAssembler(at)
	a.StpPre(29, 30, arm64.SP, -16)
	a.Mov(c, 0)
	a.MrsTPIDR(tls)
	a.Str(8, tls, c, landedAt+16)
	a.MovSP(tls, arm64.SP)
	a.Str(8, tls, c, landedAt+8)
	a.Ldr(8, tls, c, 8)
	a.Raw(0xd51bd040 | uint32(tls)) // msr tpidr_el0
	a.Str(8, c, tls, rigCallAt)
	// What has been written is to be executed (Arm ARM B2.4.4). Cache lines have 16 bytes
	// or more.
	a.Ldr(8, 12, c, 0)
	a.MovImm(13, rigProbe/16)
	next := a.Here()
	a.Raw(0xd50b7b2c) // dc cvau, x12
	a.Raw(0xd5033b9f) // dsb ish
	a.Raw(0xd50b752c) // ic ivau, x12
	a.AddImm(12, 12, 16)
	a.AddImm(13, 13, -1)
	a.Cbnz(13, next)
	a.Raw(0xd5033b9f) // dsb ish
	a.Raw(0xd5033fdf) // isb
	a.Ldr(8, tls, c, inAt+31*8)
	a.MovSP(arm64.SP, tls)
	a.Ldr(8, tls, c, inAt+32*8)
	a.MsrNZCV(tls)
	a.AddImm(tls, c, inAt+34*8)
	for v := range uint32(16) {
		a.Raw(0xad400000 | v<<16 | (2*v+1)<<10 | uint32(tls)<<5 | 2*v) // ldp q, q, [x11, #32*v]
	}
	a.Ldr(8, 17, c, 0)
	for n := arm64.Reg(0); n <= 30; n++ {
		if n != c && n != 17 && !rigKeeps(n) {
			a.Ldr(8, n, c, inAt+int64(n)*8)
		}
	}
	a.Ldr(8, c, c, inAt+int64(c)*8)
	a.Br(17)

	back := a.Label()
	for i := range r.lands {
		r.lands[i] = a.PC()
		a.MovZ(17, uint16(i), 0)
		a.B(back)
	}
	a.Bind(back)
	a.MrsTPIDR(c)
	a.Ldr(8, c, c, rigCallAt)
	for n := arm64.Reg(0); n <= 30; n++ {
		if !rigKeeps(n) {
			a.Str(8, n, c, afterAt+int64(n)*8)
		}
	}
	a.Str(8, 17, c, landedAt)
	a.MovSP(tls, arm64.SP)
	a.Str(8, tls, c, afterAt+31*8)
	a.MrsNZCV(tls)
	a.Str(8, tls, c, afterAt+32*8)
	a.AddImm(tls, c, afterAt+34*8)
	for v := range uint32(16) {
		a.Raw(0xad000000 | v<<16 | (2*v+1)<<10 | uint32(tls)<<5 | 2*v) // stp q, q, [x11, #32*v]
	}
	a.Ldr(8, tls, c, landedAt+16)
	a.Raw(0xd51bd040 | uint32(tls))
	a.Ldr(8, tls, c, landedAt+8)
	a.MovSP(arm64.SP, tls)
	a.LdpPost(29, 30, arm64.SP, 16)
	a.Ret(30)
	code, err := a.Finish()
	if err != nil {
		r.t.Fatal(err)
	}
	return code
}

func newRig(t *testing.T) *rig {
	blob, err := entry.Load()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, blob: blob}
	const table = entry.SlotCount << entry.SlotShift
	all, tableAt := rigMap(t, 2*table, table, syscall.PROT_READ|syscall.PROT_WRITE)
	tableAt += table
	r.control = all[table-entry.ControlSize : 2*table]
	r.stack, r.stackAt = rigMap(t, 1<<20, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE)

	const buffer = 64 * entry.PageSize
	size, err := ring.Size(buffer)
	if err != nil {
		t.Fatal(err)
	}
	mem, ringAt := rigMap(t, size, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE)
	if r.ring, err = ring.Format(mem, buffer, tableAt-entry.ControlSize, 1); err != nil {
		t.Fatal(err)
	}
	r.drainer = ring.NewDrainer(r.ring, r, false)

	r.code, r.at = rigMap(t, 1<<20, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC)
	copy(r.code, blob.Code)
	thunk := uint64(len(blob.Code)+63) &^ 63
	words := r.thunk(r.at + thunk)
	r.write(thunk, words)
	r.probes = (thunk + 4*uint64(len(words)) + 63) &^ 63
	literals := (*entry.Literals)(unsafe.Pointer(&r.code[blob.Literals]))
	literals.Table = tableAt
	literals.Index = entry.FirstIndex<<entry.WordIndexShift - r.at<<(entry.WordIndexShift-2)
	literals.Reserve = r.at + blob.Reserve
	start := r.at + thunk
	entryPoint := &start
	r.run = *(*func(*rigCall))(unsafe.Pointer(&entryPoint))

	r.tls = make([]uint64, 32)
	*(*uint32)(unsafe.Pointer(&r.tls[rigTLS/8])) = rigTid
	head := (*entry.Control)(unsafe.Pointer(&r.control[0]))
	head.TidOffset, head.Ring, head.Owner = rigTLS, ringAt, uint64(syscall.Getpid())
	return r
}

func (r *rig) head() *entry.Control { return (*entry.Control)(unsafe.Pointer(&r.control[0])) }

// readSelf asks the kernel for memory of this process.
func readSelf(addr, n uint64) ([]byte, uint64) {
	if n == 0 {
		return nil, 0
	}
	buf := make([]byte, n)
	local := [2]uint64{addressOf(buf), n}
	remote := [2]uint64{addr, n}
	const processVMReadv = 270
	got, _, errno := syscall.Syscall6(processVMReadv, uintptr(syscall.Getpid()), uintptr(unsafe.Pointer(&local)), 1,
		uintptr(unsafe.Pointer(&remote)), 1, 0)
	runtime.KeepAlive(buf)
	if errno != 0 || uint64(got) != n {
		return nil, entry.MemFault
	}
	return buf, 0
}

// write puts code at an offset. The thunk makes it what the processor runs.
func (r *rig) write(off uint64, code []uint32) {
	if off == r.probes && len(code)*arm64.InsnSize > rigProbe {
		r.t.Fatalf("code of %d instructions", len(code))
	}
	for i, insn := range code {
		binary.LittleEndian.PutUint32(r.code[off+4*uint64(i):], insn)
	}
}

func (r *rig) shared() Shared {
	b := r.blob.Probe
	return Shared{r.at + b.Place, r.at + b.Record, r.at + b.Load, r.at + b.Read, r.at + r.blob.Literals}
}

// call runs code at an offset.
func (r *rig) call(off uint64, in rigState) *rigCall {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &rigCall{pc: r.at + off, tls: uint64(uintptr(unsafe.Pointer(&r.tls[0]))), in: in}
	r.run(c)
	return c
}

// drained returns the words that have been recorded since the last time.
func (r *rig) drained() []uint64 {
	r.words = nil
	if _, err := r.drainer.Look(true); err != nil {
		r.t.Fatal(err)
	}
	return r.words
}

func (r *rig) Chunk(_, _ uint32, _, lost uint64, words []uint64) error {
	r.words = append(r.words, words...)
	r.lost += lost
	return nil
}

func (r *rig) Lost(_, _ uint32, count uint64) error {
	r.lost += count
	return nil
}

// remap unmaps a page, and maps it again with some bytes in it.
func remap(at uint64, size int, content []byte) error {
	if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, uintptr(at), uintptr(size), 0); errno != 0 {
		return errno
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_MMAP, uintptr(at), uintptr(size), syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_FIXED, ^uintptr(0), 0)
	if errno != 0 {
		return errno
	}
	copy(unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&at))), len(content)), content)
	return nil
}
