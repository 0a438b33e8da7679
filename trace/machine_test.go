package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
)

// entryIndex is the code position of the entry of a function of x86-64 whose body
// begins at va, in a range from index 64 and address start on.
func entryIndex(start, body uint64) uint32 { return uint32(64 + (body-start)/positionSize) }

// TestNamesX86 has functions that are as close together as they can be, at all
// alignments: five bytes of NOPs and one more, or none if control falls through,
// endbr64 before, and two bytes with the area before the entry.
func TestNamesX86(t *testing.T) {
	const start = 0x1000
	type function struct {
		entry, body, size uint64
	}
	kinds := []struct{ before, entry, size uint64 }{
		{0, 5, 6},   // NOPs, ret
		{0, 5, 5},   // NOPs alone
		{0, 9, 10},  // endbr64
		{14, 2, 3},  // =16,14
		{14, 6, 7},  // =16,14 with endbr64
		{13, 2, 2},  // =15,13 and nothing else
		{0, 8, 40},  // a NOP of eight bytes
		{0, 15, 16}, // and one of fifteen
	}
	for _, first := range kinds {
		for _, second := range kinds {
			for shift := range uint64(8) {
				var list []function
				at := start + 16 + shift
				for _, k := range []struct{ before, entry, size uint64 }{first, second, first, second} {
					at += k.before
					list = append(list, function{at, at + k.entry, k.size})
					at += k.size
				}
				var file bytes.Buffer
				w, err := NewWriter(&file, MachineAMD64)
				check(t, err)
				funcs := []Func{{VA: start - 64, Name: "of no known size"}}
				for i, f := range list {
					funcs = append(funcs, Func{VA: f.entry, Size: f.size, Name: fmt.Sprint("f", i)})
				}
				var words []uint64
				for i, f := range list {
					words = append(words,
						EventWord(entryIndex(start, f.body), 0x8000, uint64(100+2*i)),
						EventWord(1000+entryIndex(start, f.body), 0x8000, uint64(101+2*i)))
				}
				check(t,
					w.WriteMeta(Meta{}), w.WriteClock(Clock{Source: "tsc", Frequency: 1e9}),
					w.WriteProcess(Process{Proc: 1, PID: 100}), w.WriteImage(Image{ID: 1, Path: "/bin/prog"}, funcs),
					w.WriteRange(Range{Proc: 1, Image: 1, Index: 64, Count: 1000, Addr: 0x55550000 + start, VA: start}),
					w.WriteRange(Range{Proc: 1, Image: 1, Index: 1064, Count: 1000, Addr: 0x55550000 + start, VA: start, Kind: RangeExits}),
					w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(words...)}), w.Close(0, ""))
				if _, err := Validate(bytes.NewReader(file.Bytes())); err != nil {
					t.Fatal(err)
				}
				r, err := NewReader(&file)
				check(t, err)
				e := NewEvents(r)
				for i, f := range list {
					for _, kind := range []EventKind{Entry, FuncExit} {
						ev, err := e.Next()
						check(t, err)
						if ev.Kind != kind || ev.Site.Name() != fmt.Sprint("f", i) || ev.Addr != 0x55550000+f.entry || ev.Inferred {
							t.Fatalf("%+v, %+v, shift %d: event %d of f%d is of %s at %#x, inferred %v",
								first, second, shift, kind, i, ev.Site.Name(), ev.Addr, ev.Inferred)
						}
					}
				}
			}
		}
	}
}

// TestRecordsX86 has the registers of x86-64, and a stack and arguments behind them.
func TestRecordsX86(t *testing.T) {
	names := MachineAMD64.Registers()
	if len(names) != 21 || names[0] != "r15" || names[14] != "rdi" || names[20] != "ss" {
		t.Errorf("registers %v", names)
	}
	var regs []uint64
	for i := range names {
		regs = append(regs, uint64(1000+i))
	}
	words := []uint64{ControlWord(WordRecord, RecordRegs|RecordStack|uint64(len(regs)+4)), EventWord(entryIndex(0x1000, 0x1005), 0x100, 10)}
	words = append(append(words, regs...), 1, 0x55551041)
	var file bytes.Buffer
	w, err := NewWriter(&file, MachineAMD64)
	check(t, err)
	check(t,
		w.WriteMeta(Meta{}), w.WriteClock(Clock{Source: "tsc", Frequency: 1e9}), w.WriteProcess(Process{Proc: 1, PID: 100}),
		w.WriteImage(Image{ID: 1, Path: "/bin/prog"}, []Func{{VA: 0x1000, Size: 0x20, Name: "callee"}, {VA: 0x1020, Size: 0x21, Name: "caller"}, {VA: 0x1041, Size: 9, Name: "next"}}),
		w.WriteRange(Range{Proc: 1, Image: 1, Index: 64, Count: 100, Addr: 0x55551000, VA: 0x1000}),
		w.WriteChunk(Chunk{Proc: 1, TID: 100, Words: bytesOf(words...)}), w.Close(0, ""))
	r, err := NewReader(&file)
	check(t, err)
	if r.Machine() != MachineAMD64 {
		t.Errorf("machine %v", r.Machine())
	}
	e := NewEvents(r)
	ev, err := e.Next()
	check(t, err)
	if !slices.Equal(ev.Regs, regs) || len(ev.Stack) != 1 || ev.Site.Name() != "callee" || ev.IP != 0x55551004 {
		t.Errorf("event of %s at %#x: registers %v, stack %#x", ev.Site.Name(), ev.IP, ev.Regs, ev.Stack)
	}
	// The call was the last instruction of its function.
	if s := ev.Program.Symbol(ev.Stack[0]); s.Func == nil || s.Func.Name != "caller" || s.Offset != 0x21 {
		t.Errorf("return address in %+v", s)
	}
	if e.Recording().Machine != MachineAMD64 || e.Recording().Machine.String() != "x86-64" {
		t.Errorf("recording of %v", e.Recording().Machine)
	}
}

func TestOtherMachine(t *testing.T) {
	var file bytes.Buffer
	_, err := NewWriter(&file, MachineARM64)
	check(t, err)
	h := file.Bytes()
	h[10] = 243 // RISC-V
	binary.LittleEndian.PutUint32(h[HeaderSize-4:], crc32.Checksum(h[:HeaderSize-4], castagnoli))
	if _, err := NewReader(bytes.NewReader(h)); err == nil || !strings.Contains(err.Error(), "ELF machine 243") {
		t.Errorf("error %v", err)
	}
}

// TestSiteVA: profiles name functions as events do.
func TestSiteVA(t *testing.T) {
	if got := MachineARM64.SiteVA(0x1048); got != 0x1040 {
		t.Errorf("site %#x on arm64", got)
	}
	for entry := uint64(0x1000); entry < 0x1008; entry++ {
		rec := NewRecording(MachineAMD64)
		o := &Object{Funcs: []Func{{VA: entry - 6, Size: 6, Name: "before"}, {VA: entry, Size: 6, Name: "f"}, {VA: entry + 6, Size: 6, Name: "behind"}}, sites: map[uint64]*Site{}}
		s, err := rec.site(o, MachineAMD64.SiteVA(entry+5))
		if err != nil || s.Name() != "f" {
			t.Errorf("entry %#x: site %+v, %v", entry, s, err)
		}
	}
}
