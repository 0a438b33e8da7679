package session

import (
	"encoding/binary"
	"os"
	"slices"
	"syscall"
	"testing"

	"nopal/internal/arch/arm64"
	"nopal/internal/tracee"
)

func mapping(start, end uint64, path string) tracee.Mapping {
	return tracee.Mapping{Start: start, End: end, Perms: "rw-p", Path: path}
}

func TestFindGap(t *testing.T) {
	const page = 4096
	maps := []tracee.Mapping{
		mapping(0xaaaa00000000, 0xaaaa00100000, "/prog"),
		mapping(0xaaaa00200000, 0xaaaa00300000, "[heap]"),
		mapping(0xffff80000000, 0xffff90000000, "/lib/huge.so"),
		mapping(0xffff90001000, 0xffff90100000, "/lib/small.so"),
		mapping(0xffffff000000, 0xffffff800000, "[stack]"),
	}
	for _, tc := range []struct {
		name       string
		size       uint64
		start, end uint64
		want       uint64 // 0: none
	}{
		{"just below the object", page, 0xaaaa00000000, 0xaaaa00100000, 0xaaaa00000000 - page},
		{"rounded to pages", 100, 0xaaaa00000000, 0xaaaa00100000, 0xaaaa00000000 - page},
		{"the hole between two libraries", page, 0xffff90001000, 0xffff90100000, 0xffff90000000},
		{"too large for the hole: above, out of the way of nothing", 2 * page, 0xffff90001000, 0xffff90100000, 0xffff90100000},
		{"out of reach on both sides", page, 0xffff87000000, 0xffff88000010, 0},
	} {
		got, err := findGap(maps, tc.size, page, tc.start, tc.end, arm64.BranchReach)
		if got != tc.want || (err == nil) != (tc.want != 0) {
			t.Errorf("%s: %#x, %v; want %#x", tc.name, got, err, tc.want)
		}
		if err == nil && (!arm64.InReach(tc.start, got) || !arm64.InReach(tc.end, got+tc.size)) {
			t.Errorf("%s: %#x is not in reach of %#x-%#x", tc.name, got, tc.start, tc.end)
		}
	}
}

func TestFindGapLeavesTheHeapRoom(t *testing.T) {
	const lowest = 0x10000
	maps := []tracee.Mapping{
		mapping(lowest, 0x400000, "/prog"),
		mapping(0x400000, 0x500000, "[heap]"),
		mapping(0x7000000, 0x7001000, "/far"),
	}
	if got, err := findGap(maps, 4096, 4096, lowest, 0x400000, arm64.BranchReach); err == nil && got > 0x500000 && got < 0x7000000 {
		t.Errorf("%#x is in the way of the heap", got)
	}
}

func TestFindRoom(t *testing.T) {
	maps := []tracee.Mapping{
		mapping(0x10000, 0x20000, "a"), mapping(0x40000000, 0x40001000, "b"), mapping(0x50000000, 0x50001000, "c"),
	}
	got, err := tracee.FindRoom(maps, 1<<20)
	if err != nil || got < 0x20000 || got+1<<20 > 0x40000000 {
		t.Errorf("%#x, %v", got, err)
	}
	if got, err := tracee.FindRoom(maps, 1<<30); err == nil {
		t.Errorf("1 GiB at %#x, where there is no such gap", got)
	}
}

// ownMemory is this process's memory with data in it.
func ownMemory(t *testing.T) *tracee.Memory {
	t.Helper()
	mem, err := tracee.OpenMemory(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = mem.Close() })
	return mem
}

func TestFrameScan(t *testing.T) {
	const size = 3 << 16 // more than is read at once
	buf := alignedBytes(size)
	base := addressOf(buf)
	put := func(at uint64, v uint64) { binary.LittleEndian.PutUint64(buf[at:], v) }
	var want []sigframe
	for i, at := range []uint64{64, 1<<16 - 16, 1 << 16, 1<<16 + 48, size - 16} {
		put(at, fpsimdWord)
		put(at-pcBefore, 0x1000+uint64(i))
		put(at-spBefore, 0x2000+uint64(i))
		want = append(want, sigframe{at: base + at - pcBefore, pc: 0x1000 + uint64(i), sp: 0x2000 + uint64(i)})
	}
	put(1<<17+8, fpsimdWord) // not at a multiple of 16
	got := framesOnArm(ownMemory(t), base, base+size)
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d: %x", len(got), len(want), got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("frame %d: %x, want %x", i, got[i], want[i])
		}
	}
}

// TestStackFramesInOneMapping has two stacks in one mapping, the one that is running
// above the one that its signal has interrupted.
func TestStackFramesInOneMapping(t *testing.T) {
	buf := alignedBytes(1 << 16)
	base := addressOf(buf)
	put := func(at uint64, v uint64) { binary.LittleEndian.PutUint64(buf[at:], v) }
	const upper, lower = 0x8000, 0x1000
	put(upper+64, fpsimdWord)
	put(upper+64-pcBefore, 1)
	put(upper+64-spBefore, base+lower)
	put(lower+64, fpsimdWord)
	put(lower+64-pcBefore, 2)
	put(lower+64-spBefore, 0)
	maps := []tracee.Mapping{mapping(base, base+uint64(len(buf)), "")}
	arm := machineOf("arm64")
	got := arm.stackFrames(ownMemory(t), maps, base+upper)
	if len(got) != 2 || got[0].pc != 1 || got[1].pc != 2 {
		t.Errorf("frames %x, want pc 1 and 2", got)
	}
}

func TestFindTidOffset(t *testing.T) {
	const tid, at = 4711, 0x800
	buf := alignedBytes(0x4000)
	base := addressOf(buf)
	pointer := base + 0x2000
	tidAt := uint64(0x2000 - at)
	binary.LittleEndian.PutUint32(buf[tidAt:], tid)
	mem := ownMemory(t)
	ids := []threadID{{pointer, tid}}
	arm := machineOf("arm64")
	if off, ok := arm.findTidOffset(mem, ids); !ok || off != -at {
		t.Errorf("one place: %d, %v; want %d", off, ok, -at)
	}
	// The same number elsewhere: glibc's list head behind the right one decides.
	binary.LittleEndian.PutUint32(buf[tidAt+0x100:], tid)
	if off, ok := arm.findTidOffset(mem, ids); ok {
		t.Errorf("two places, nothing to tell them apart: %d", off)
	}
	binary.LittleEndian.PutUint64(buf[tidAt+16:], base+tidAt+16)
	if off, ok := arm.findTidOffset(mem, ids); !ok || off != -at {
		t.Errorf("two places, one like glibc's: %d, %v; want %d", off, ok, -at)
	}
	// A thread without a block, and one whose id is not there.
	if _, ok := arm.findTidOffset(mem, []threadID{{0, tid}}); ok {
		t.Error("found for a thread without a thread pointer")
	}
	if _, ok := arm.findTidOffset(mem, append(ids, threadID{pointer, tid + 1})); ok {
		t.Error("found although one thread has its id elsewhere")
	}
}

// On x86-64 the block lies above the thread pointer, and may end with its mapping.
func TestFindTidOffsetX86(t *testing.T) {
	const tid, at, page = 4711, 0x2d0, 4096
	area, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Munmap(area) }()
	if err := syscall.Mprotect(area[2*page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	base := addressOf(area)
	x86 := machineOf("amd64")
	for _, pointer := range []uint64{base, base + 0x740, base + 2*page - 0x300} {
		clear(area[:2*page])
		binary.LittleEndian.PutUint32(area[pointer-base+at:], tid)
		if off, ok := x86.findTidOffset(ownMemory(t), []threadID{{pointer, tid}}); !ok || off != at {
			t.Errorf("block at +%#x: %#x, %v; want %#x", pointer-base, off, ok, at)
		}
		// musl: behind a pointer to itself. The number stands elsewhere, too.
		const musl = 0x30
		binary.LittleEndian.PutUint64(area[pointer-base:], pointer)
		binary.LittleEndian.PutUint32(area[pointer-base+musl:], tid)
		if off, ok := x86.findTidOffset(ownMemory(t), []threadID{{pointer, tid}}); !ok || off != musl {
			t.Errorf("musl's block at +%#x: %#x, %v; want %#x", pointer-base, off, ok, musl)
		}
	}
}

// TestFramesOnX86 finds what the kernel puts on a stack, also across what is read at once, and
// leaves alone what only looks like it.
func TestFramesOnX86(t *testing.T) {
	const size = 3 << 16
	buf := alignedBytes(size + 64)
	buf = buf[-addressOf(buf)&63:][:size]
	base := addressOf(buf)
	put := func(at uint64, v uint64) { binary.LittleEndian.PutUint64(buf[at:], v) }
	frame := func(at, pc, sp uint64) {
		state := (at + x86Size + 63) &^ 63
		put(at+x86Flags, 7)
		put(at+x86PC, pc)
		put(at+x86SP, sp)
		put(at+x86Segments, x86CS|x86SS<<48)
		put(at+x86FPState, base+state)
		put(state+x86FPMagicAt, x86FPMagic)
	}
	var want []sigframe
	for i, at := range []uint64{0x1008, 1<<16 - 24, 1<<16 + 0x2008, size - 0x1008} {
		frame(at, 0x1000+uint64(i), 0x2000+uint64(i))
		want = append(want, sigframe{at: base + at + x86PC, pc: 0x1000 + uint64(i), sp: 0x2000 + uint64(i)})
	}
	frame(0x4008, 1, 2)
	put(0x4008+x86Link, 3) // a context that links to another is none of a signal
	frame(0x5008, 1, 2)
	put(0x5008+x86Segments, 0x23) // 32 bits
	frame(0x6000, 1, 2)           // not where the kernel aligns it
	got := framesOnX86(ownMemory(t), base, base+size)
	if !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
