package probe

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"nopal/internal/entry"
)

// world is what a probe finds: registers, and memory of which some is not there.
type world struct {
	*rig
	rng     *rand.Rand
	arena   []byte // readable, and behind it nothing
	arenaAt uint64
	in      rigState
	exit    bool
	unseen  bool // no system calls
	ownTop  uint64
	saved   uint64 // x8 at the entry
}

const arenaSize = 3 * 4096

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{rig: newRig(t), rng: rand.New(rand.NewPCG(seed, 1))}
	page := uint64(syscall.Getpagesize())
	size := (arenaSize + page - 1) &^ (page - 1)
	all, at := rigMap(t, size+2*page, page, syscall.PROT_READ|syscall.PROT_WRITE)
	w.arena, w.arenaAt = all[page:page+size], at+page
	for _, hole := range [][]byte{all[:page], all[page+size:][:page]} {
		if err := syscall.Mprotect(hole, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	w.fill(w.arena)
	w.fill(w.stack)
	return w
}

// fill makes memory of bytes, a good many of them 0, and of pointers.
func (w *world) fill(mem []byte) {
	for i := range mem {
		mem[i] = byte(w.rng.IntN(256))
		if w.rng.IntN(40) == 0 {
			mem[i] = 0
		}
	}
	for i := 0; i+8 <= len(mem); i += 8 {
		if w.rng.IntN(3) == 0 {
			binary.LittleEndian.PutUint64(mem[i:], w.pointer())
		}
	}
}

func (w *world) sp() uint64 { return w.in.x[31] }

// pointer gives an address: good ones, ones near an end, on the stack, and bad ones.
func (w *world) pointer() uint64 {
	end := w.arenaAt + uint64(len(w.arena))
	switch w.rng.IntN(12) {
	case 0:
		return uint64(w.rng.IntN(5000))
	case 1:
		return w.rng.Uint64()
	case 2:
		return end - uint64(w.rng.IntN(40))
	case 3:
		return w.arenaAt - uint64(w.rng.IntN(20))
	case 4:
		return 1<<63 + w.sp() - uint64(w.rng.IntN(2000))
	case 5, 6:
		return w.sp() + uint64(w.rng.IntN(1<<13))
	case 7:
		return w.stackAt + uint64(len(w.stack)) - uint64(w.rng.IntN(64))
	case 8:
		return w.arenaAt + 4096 - uint64(w.rng.IntN(32))
	}
	return w.arenaAt + uint64(w.rng.IntN(len(w.arena)))
}

// place begins a call: registers, the stack pointer, where the stack is known to end.
func (w *world) place() {
	w.in = rigState{}
	for i := range w.in.x[:31] {
		switch w.rng.IntN(4) {
		case 0:
			w.in.x[i] = uint64(w.rng.IntN(64)) - 16
		case 1:
			w.in.x[i] = w.rng.Uint64()
		default:
			w.in.x[i] = w.pointer()
		}
	}
	for i := range w.in.v {
		w.in.v[i] = [2]uint64{w.rng.Uint64(), w.rng.Uint64()}
	}
	w.in.nzcv = uint64(w.rng.IntN(16)) << 28
	// Sometimes near the end of the stack, which is not the end of a page of its own.
	room := uint64(len(w.stack))
	w.in.x[31] = w.stackAt + room - 16*uint64(1+w.rng.IntN(int(room/64)))
	if w.rng.IntN(3) == 0 {
		w.in.x[31] = w.stackAt + room - 16*uint64(1+w.rng.IntN(300))
	}
	head := w.head()
	head.StackLow, head.StackHigh, head.NoSyscalls = 0, 0, 0
	w.saved = 0
	if w.exit && w.rng.IntN(3) == 0 {
		w.saved = w.pointer() | 1
		head.Results[resultOf(w.sp())] = entry.Result{SP: w.sp(), X8: w.saved}
	}
	record := w.sp() - 32
	if w.exit {
		record = w.sp() - 16
	}
	w.ownTop = record>>12<<12 + 4096
	if w.rng.IntN(2) == 0 {
		head.StackLow, head.StackHigh = w.stackAt, w.stackAt+room
		w.ownTop = head.StackHigh
	}
	if w.unseen = w.rng.IntN(4) == 0; w.unseen {
		head.NoSyscalls = 1
	}
}

// own reports whether memory is such that it can be read directly. It is from our sp on,
// which is below that of the call.
func (w *world) own(addr, n uint64) bool {
	return addr < 1<<52 && addr >= w.sp()-1500 && addr+n <= w.ownTop
}

// at gives memory, or a header that says why not.
func (w *world) at(addr, n uint64) ([]byte, uint64) {
	if w.unseen && !w.own(addr, n) {
		return nil, entry.MemUnseen
	}
	for _, m := range []struct {
		at  uint64
		mem []byte
	}{{w.arenaAt, w.arena}, {w.stackAt, w.stack}} {
		if off := addr - m.at; addr >= m.at && off <= uint64(len(m.mem)) && n <= uint64(len(m.mem))-off {
			return m.mem[off : off+n], 0
		}
	}
	// Somewhere else in this process, by chance.
	return readSelf(addr, n)
}

// eval is what the code has to compute; bad is the header of a fault, at addr.
func (w *world) eval(e Expr) (v, bad uint64) {
	load := func(addr uint64) {
		mem, header := w.at(addr, 8)
		if header != 0 {
			v, bad = addr, header
			return
		}
		v = binary.LittleEndian.Uint64(mem)
	}
	b := e.Base
	switch b.Kind {
	case RegX:
		v = w.in.x[b.N]
		if !w.exit && b.N == 30 {
			v = w.in.x[9]
		}
	case RegV:
		v = w.in.v[b.N][0]
	case RegVHigh:
		v = w.in.v[b.N][1]
	case Const:
		v = uint64(b.Off)
	case Stack:
		load(w.sp() + uint64(b.Off))
	case SavedX8:
		if v = w.saved; v == 0 {
			v, bad = ^uint64(0), entry.MemUnseen
		}
	}
	for _, off := range e.Deref {
		if bad == 0 {
			load(v + uint64(off))
		}
	}
	if bad == 0 {
		v += uint64(e.Add)
	}
	return v, bad
}

// payload is what p has to record.
func (w *world) payload(p *Program) []byte {
	var b []byte
	for i, f := range p.Fields {
		if f.Mem == nil {
			field := make([]byte, 8*wordsOf(f.Size))
			for _, part := range f.Parts {
				if v, bad := w.eval(part.From); bad == 0 {
					var raw [8]byte
					binary.LittleEndian.PutUint64(raw[:], v)
					copy(field[part.Off:part.Off+part.Size], raw[:])
				}
			}
			b = append(b, field...)
			continue
		}
		room := p.payloadMax() - fixed(p.Fields[i+1:]) - len(b) - memHead
		addr, header, data := w.memory(f.Mem, room)
		b = binary.LittleEndian.AppendUint64(b, addr)
		b = binary.LittleEndian.AppendUint64(b, header)
		b = append(b, data...)
		b = append(b, make([]byte, -len(b)&7)...)
	}
	return b
}

func (w *world) memory(m *Mem, room int) (addr, header uint64, data []byte) {
	addr, bad := w.eval(m.Addr)
	if bad != 0 {
		return addr, bad, nil
	}
	n := uint64(m.Max)
	if m.Len != nil {
		v, bad := w.eval(*m.Len)
		if bad != 0 {
			return v, bad, nil
		}
		n = v
	} else if m.CString {
		n++
	}
	if int64(n) < 0 {
		n = 0
	}
	if limit := uint64(min(m.Max, room)); n > limit {
		n, header = limit, entry.MemTruncated
	}
	if n == 0 {
		return addr, header, nil
	}
	data, bad = w.at(addr, n)
	if m.CString && (bad == entry.MemFault || w.unseen && w.own(addr, 1)) {
		// As far as the end of the page.
		if first := min(n, 4096-addr&4095); first < n && bad == entry.MemFault {
			if part, b := w.at(addr, first); b == 0 && bytes.IndexByte(part, 0) >= 0 {
				data, bad = part, 0
			}
		}
	}
	if bad != 0 {
		return addr, bad, nil
	}
	if m.CString {
		if end := bytes.IndexByte(data, 0); end >= 0 {
			data, header = data[:end], 0
		}
	}
	return addr, header | uint64(len(data)), data
}

func (w *world) operand() Operand {
	if w.exit && w.saved != 0 && w.rng.IntN(4) == 0 {
		return Operand{Kind: SavedX8}
	}
	switch w.rng.IntN(8) {
	case 0:
		return Operand{Kind: RegV, N: w.rng.IntN(32)}
	case 1:
		return Operand{Kind: RegVHigh, N: w.rng.IntN(32)}
	case 2:
		off := int64(w.rng.IntN(12)) * 8
		if w.rng.IntN(4) == 0 {
			off = int64(w.rng.IntN(6000)) - 100
		}
		if off < 0 && off > -2048 {
			off = 0 // where the probe itself is at work
		}
		return Operand{Kind: Stack, Off: off}
	case 3:
		return Operand{Kind: Const, Off: int64(w.rng.Uint64()) >> w.rng.IntN(64)}
	case 4:
		return Operand{Kind: RegX, N: []int{18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31}[w.rng.IntN(13)]}
	}
	return Operand{Kind: RegX, N: w.rng.IntN(9)}
}

func (w *world) expr(derefs bool) Expr {
	e := Expr{Base: w.operand()}
	for derefs && w.rng.IntN(3) == 0 {
		e.Deref = append(e.Deref, int64(w.rng.IntN(64))-8)
	}
	switch w.rng.IntN(6) {
	case 0:
		e.Add = int64(w.rng.IntN(1000)) - 500
	case 1:
		e.Add = int64(w.rng.Uint64()) >> w.rng.IntN(64)
	}
	return e
}

func (w *world) field(memory bool) Field {
	if memory && w.rng.IntN(2) == 0 {
		m := &Mem{Addr: w.expr(true), CString: w.rng.IntN(2) == 0, Max: 1 + w.rng.IntN(300)}
		if w.rng.IntN(8) == 0 {
			m.Max = MemMax
		}
		if w.rng.IntN(2) == 0 {
			l := w.expr(true)
			m.Len = &l
		}
		return Field{Mem: m}
	}
	f := Field{Size: 1 + w.rng.IntN(24)}
	for off := 0; off < f.Size; {
		if w.rng.IntN(6) == 0 {
			off++
			continue
		}
		size := min([]int{8, 8, 8, 4, 4, 2, 1, 3}[w.rng.IntN(8)], 8-off%8, f.Size-off)
		f.Parts = append(f.Parts, Part{From: w.expr(memory), Off: off, Size: size})
		off += size
	}
	return f
}

// check runs a program and compares what it does with what it should do.
func (w *world) check(p *Program, attached, elsewhere bool) {
	t := Target{At: w.at0(), Shared: w.shared()}
	if attached {
		t.Next = w.lands[1]
	}
	if elsewhere {
		t.Else = w.lands[2]
	}
	generate := p.Entry
	if w.exit {
		generate = p.Exit
	}
	code, err := generate(t)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	if len(code)*4 > p.Size() {
		w.t.Fatalf("code of %d bytes, Size says %d", len(code)*4, p.Size())
	}
	w.write(w.probes, code)
	where := w.lands[0]
	function := w.at0() + 0x1000
	if w.exit {
		w.in.x[30] = where
		w.in.x[16] = (entry.FirstIndex + 77) << entry.WordIndexShift
	} else {
		w.in.x[9], w.in.x[30] = w.in.x[30], where
		function = where
	}
	want, holds := w.payload(p), w.holds(p.Cond)
	above := w.stack[w.sp()-w.stackAt:]
	above = above[:min(len(above), 8192)]
	before := slices.Clone(above)
	c := w.call(w.probes, w.in)
	words := w.drained()
	name := fmt.Sprintf("program %s, exit %v, attached %v, else %v, unseen %v", describe(p), w.exit, attached, elsewhere, w.unseen)

	landing := uint64(0)
	switch {
	case !holds && elsewhere:
		landing = 2
	case holds && attached:
		landing = 1
	}
	if c.landed != landing {
		w.t.Fatalf("%s: went on at %d, want %d", name, c.landed, landing)
	}
	after := w.in
	if !w.exit && landing == 0 {
		after.x[30] = w.in.x[9]
	}
	for i := range after.x {
		scratch := i >= 9 && i <= 17 || i == 28
		if landing != 0 && (!w.exit && i == 9 || w.exit && i == 16) {
			scratch = false
		}
		if !scratch && c.after.x[i] != after.x[i] {
			w.t.Fatalf("%s: x%d is %#x, want %#x", name, i, c.after.x[i], after.x[i])
		}
	}
	if c.after.v != after.v || c.after.nzcv != after.nzcv {
		w.t.Fatalf("%s: vector registers or NZCV (%#x, want %#x) changed", name, c.after.nzcv, after.nzcv)
	}
	if !bytes.Equal(before, above) {
		w.t.Fatalf("%s: stack above sp changed", name)
	}
	if !holds || attached && len(p.Fields) == 0 {
		if len(words) != 0 {
			w.t.Fatalf("%s: recorded %#x", name, words)
		}
		return
	}
	w.record(name, words, p, function, want)
}

func (w *world) at0() uint64 { return w.rig.at + w.probes }

// record checks the words of a record.
func (w *world) record(name string, words []uint64, p *Program, function uint64, want []byte) {
	for len(words) > 0 && words[0]>>entry.WordIndexShift == entry.WordTime {
		words = words[1:]
	}
	for len(words) > 0 && words[0]>>entry.WordIndexShift == entry.WordPad {
		words = words[min(uint64(len(words)), words[0]&0xffff):]
		for len(words) > 0 && words[0]>>entry.WordIndexShift == entry.WordTime {
			words = words[1:]
		}
	}
	n := 2 + len(want)/8
	head := uint64(entry.WordRecord)<<entry.WordIndexShift | uint64(p.Number)<<entry.RecordNumberShift | entry.RecordArgs | uint64(n)
	if len(words) != n || words[0] != head {
		w.t.Fatalf("%s: recorded %#x, want %d words, %#x", name, words, n, head)
	}
	index := uint64(entry.FirstIndex) + (function-w.rig.at)/4
	if w.exit {
		index = entry.FirstIndex + 77
	}
	if got := words[1] >> entry.WordIndexShift; got != index {
		w.t.Fatalf("%s: position %d, want %d", name, got, index)
	}
	if got, sp := words[1]>>entry.WordSPShift&0xfff, (w.sp()-32)>>4&0xfff; got != sp {
		w.t.Fatalf("%s: sp %#x, want %#x", name, got, sp)
	}
	var got []byte
	for _, v := range words[2:] {
		got = binary.LittleEndian.AppendUint64(got, v)
	}
	if !bytes.Equal(got, want) {
		w.t.Fatalf("%s:\npayload %x\nwant    %x", name, got, want)
	}
}

func describe(p *Program) string {
	s := fmt.Sprintf("%d bytes:", p.payloadMax())
	for _, f := range p.Fields {
		if f.Mem != nil {
			s += fmt.Sprintf(" mem{%+v len %+v string %v max %d}", f.Mem.Addr, f.Mem.Len, f.Mem.CString, f.Mem.Max)
		} else {
			s += fmt.Sprintf(" %d%+v", f.Size, f.Parts)
		}
	}
	return s + fmt.Sprintf(" if %+v", p.Cond)
}

// Random programs record what an interpreter says they should, and keep what they have to.
func TestPrograms(t *testing.T) {
	for _, memory := range []bool{false, true} {
		t.Run(fmt.Sprintf("memory %v", memory), func(t *testing.T) {
			w := newWorld(t, 42)
			for i := range 400 {
				w.exit = i%2 == 1
				w.place()
				p := &Program{Number: uint32(w.rng.IntN(1 << 18))}
				for range w.rng.IntN(5) {
					p.Fields = append(p.Fields, w.field(memory))
				}
				if w.rng.IntN(4) == 0 {
					p.PayloadMax = max(fixed(p.Fields), 200)
				}
				if w.rng.IntN(3) == 0 {
					p.Cond = w.cond(0, memory)
				}
				w.check(p, w.rng.IntN(2) == 0, w.rng.IntN(2) == 0)
			}
			if w.lost != 0 {
				t.Errorf("%d events lost", w.lost)
			}
		})
	}
}
