package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"nopal/internal/entry"
)

// memoryField runs a program with one memory field, whose address is x0 and whose length,
// if any, x1.
func (w *world) memoryField(m Mem, x0, x1 uint64) (addr, header uint64, data []byte) {
	w.t.Helper()
	m.Addr = Expr{Base: Operand{Kind: RegX}}
	p := &Program{Fields: []Field{{Mem: &m}}, Number: 5}
	code, err := p.Entry(Target{At: w.at0(), Shared: w.shared()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(w.probes, code)
	w.in.x[0], w.in.x[1], w.in.x[9], w.in.x[30] = x0, x1, 0x1000, w.lands[0]
	w.in.x[31] = w.stackAt + 1<<19 + 48
	w.call(w.probes, w.in)
	words := w.drained()
	for len(words) > 0 && words[0]>>entry.WordIndexShift != entry.WordRecord {
		words = words[1:]
	}
	if len(words) < 4 {
		w.t.Fatalf("recorded %#x", words)
	}
	for _, v := range words[4:] {
		data = binary.LittleEndian.AppendUint64(data, v)
	}
	n := words[3] & 0xffff
	if uint64(len(data)) != (n+7)&^7 {
		w.t.Fatalf("%d bytes in %d", n, len(data))
	}
	return words[2], words[3], data[:n]
}

// The ends of memory, and of strings.
func TestMemory(t *testing.T) {
	w := newWorld(t, 3)
	end := w.arenaAt + uint64(len(w.arena))
	for i := range w.arena {
		w.arena[i] = 'x'
	}
	w.arena[len(w.arena)-1] = 0
	w.arena[100] = 0
	w.arena[4096+3] = 0
	length := &Expr{Base: Operand{Kind: RegX, N: 1}}
	xs := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name   string
		mem    Mem
		x0, x1 uint64
		header uint64
		data   string
	}{
		{"string", Mem{CString: true, Max: 64}, w.arenaAt + 90, 0, 0, xs(10)},
		{"string that is cut off", Mem{CString: true, Max: 9}, w.arenaAt + 90, 0, entry.MemTruncated, xs(9)},
		{"empty string", Mem{CString: true, Max: 64}, w.arenaAt + 100, 0, 0, ""},
		{"string up to the last byte", Mem{CString: true, Max: 64}, end - 8, 0, 0, xs(7)},
		{"empty string in the last byte", Mem{CString: true, Max: 64}, end - 1, 0, 0, ""},
		{"string across pages", Mem{CString: true, Max: 64}, w.arenaAt + 4090, 0, 0, xs(9)},
		{"string behind the end", Mem{CString: true, Max: 64}, end, 0, entry.MemFault, ""},
		{"string at 0", Mem{CString: true, Max: 64}, 0, 0, entry.MemFault, ""},
		{"string nowhere", Mem{CString: true, Max: 64}, 0xdeadbeefdeadbeef, 0, entry.MemFault, ""},
		{"kernel's memory", Mem{Max: 64}, 0xffff000012345678, 0, entry.MemFault, ""},
		{"bytes", Mem{Max: 64, Len: length}, w.arenaAt + 1, 5, 0, xs(5)},
		{"many bytes", Mem{Max: 1000, Len: length}, w.arenaAt + 4092, 1000, 0, xs(7) + "\x00" + xs(992)},
		{"more than the limit", Mem{Max: 64, Len: length}, w.arenaAt + 1, 65, entry.MemTruncated, xs(64)},
		{"far more", Mem{Max: 64, Len: length}, w.arenaAt + 1, 1<<63 - 1, entry.MemTruncated, xs(64)},
		{"negative length", Mem{Max: 64, Len: length}, w.arenaAt + 1, 1 << 63, 0, ""},
		{"no bytes of nowhere", Mem{Max: 64, Len: length}, 1, 0, 0, ""},
		{"bytes across the end", Mem{Max: 64, Len: length}, end - 4, 5, entry.MemFault, ""},
		{"bytes up to the end", Mem{Max: 64, Len: length}, end - 4, 4, 0, "xxx\x00"},
		{"string of known length", Mem{Max: 64, Len: length, CString: true}, w.arenaAt + 90, 4, 0, xs(4)},
		{"string that ends before", Mem{Max: 64, Len: length, CString: true}, w.arenaAt + 90, 40, 0, xs(10)},
		{"object", Mem{Max: 24}, w.arenaAt + 7, 0, 0, xs(24)},
	} {
		addr, header, data := w.memoryField(c.mem, c.x0, c.x1)
		if want := c.header | uint64(len(c.data)); addr != c.x0 || header != want || string(data) != c.data {
			t.Errorf("%s: %#x, header %#x, %q; want %#x, %#x, %q", c.name, addr, header, data, c.x0, want, c.data)
		}
	}
	w.head().NoSyscalls = 1
	if _, header, _ := w.memoryField(Mem{Max: 8}, w.arenaAt, 0); header != entry.MemUnseen {
		t.Errorf("with a filter of system calls: header %#x", header)
	}
	on := w.stackAt + 1<<19 + 100
	copy(w.stack[1<<19+100:], "on the stack\x00")
	for _, header := range []uint64{entry.MemUnseen, 12} {
		if _, got, _ := w.memoryField(Mem{CString: true, Max: 1 << 9}, on, 0); got != 12 {
			t.Errorf("in the page of sp: header %#x", got)
		}
		copy(w.stack[1<<19+8192:], "on the stack\x00")
		if _, got, _ := w.memoryField(Mem{CString: true, Max: 64}, w.stackAt+1<<19+8192, 0); got != header {
			t.Errorf("on the stack: header %#x, want %#x", got, header)
		}
		w.head().StackLow, w.head().StackHigh = w.stackAt, w.stackAt+1<<20
	}
}

// Without a ring, as in a forked child, nothing is recorded and no system call made; and
// where the thread id is not known all goes on the slow way.
func TestNotRecorded(t *testing.T) {
	w := newWorld(t, 4)
	head := w.head()
	ring := head.Ring
	for _, p := range []*Program{arguments(2), {Fields: []Field{{Mem: &Mem{Addr: Expr{Base: Operand{Kind: RegX}}, Max: 8}}}}} {
		for _, exit := range []bool{false, true} {
			w.exit = exit
			w.place()
			head.TidOffset = entry.TidOffsetNone
			w.check(p, false, false)
			head.TidOffset = rigTLS

			for i := range w.control[entry.ControlSize:] {
				w.control[entry.ControlSize+i] = 0
			}
			head.Ring, head.TidOffset, head.Owner = 0, 0, 0
			code, err := p.Entry(Target{At: w.at0(), Shared: w.shared()})
			if err != nil {
				t.Fatal(err)
			}
			w.write(w.probes, code)
			w.in.x[30] = w.lands[0]
			w.call(w.probes, w.in)
			if words := w.drained(); len(words) != 0 {
				t.Errorf("recorded %#x without a ring", words)
			}
			head.Ring, head.TidOffset, head.Owner = ring, rigTLS, uint64(syscall.Getpid())
		}
	}
}

// Memory that comes and goes while it is read is there or not, and nothing else.
func TestRace(t *testing.T) {
	w := newWorld(t, 5)
	page := syscall.Getpagesize()
	mem, at := rigMap(t, uint64(page), uint64(page), syscall.PROT_READ|syscall.PROT_WRITE)
	want := bytes.Repeat([]byte("abcdefgh"), 32)
	var stop atomic.Bool
	done := make(chan error)
	go func() {
		var err error
		for !stop.Load() && err == nil {
			err = remap(at, page, want)
		}
		done <- err
	}()
	seen := map[string]int{}
	for range 300 {
		_, header, data := w.memoryField(Mem{Max: len(want)}, at, 0)
		switch {
		case header == entry.MemFault:
			seen["fault"]++
		case header != uint64(len(want)):
			t.Errorf("header %#x", header)
		case bytes.Equal(data, want):
			seen["all"]++
		default:
			// Mapped, and being written, in whatever order.
			for i, c := range data {
				if c != 0 && c != want[i] {
					t.Errorf("data %q", data)
					break
				}
			}
			seen["fresh"]++
		}
	}
	stop.Store(true)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	_ = mem
	t.Log(fmt.Sprint(seen))
	if seen["fault"] == 0 || seen["fault"] == 300 {
		t.Errorf("no race: %v", seen)
	}
}
