package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a patch that was not made by Build.
func small() *Patch {
	return &Patch{
		Name: "fix", Target: Target{Path: "/bin/x", BuildID: "abcd"},
		funcs:     []Func{{Name: "f", OldVA: 0x1000, OldSize: 64, SiteVA: 0x1000, Extra: [][2]uint64{{0x2000, 0x2010}}}},
		segments:  []segment{{ProtRead | ProtExec, 0, 64, make([]byte, 64)}, {ProtRead | ProtWrite, segmentUnit, 16, make([]byte, 8)}},
		symbols:   []funcSymbol{{"f", span{0, 32}, true, 0}, {"nopal_pre_patch", span{32, 8}, false, 0}},
		callbacks: map[string]uint64{prePatch: 32},
		targets:   []target{{Kind: inTarget, Name: "g", VA: 0x1040}},
		relocs:    []relocation{{Offset: 4, Type: uint16(elf.R_AARCH64_CALL26), Addend: -4}},
	}
}

func TestEncodeAndDecode(t *testing.T) {
	p := small()
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	p.file = data
	if diff := cmp.Diff(p, got, cmp.AllowUnexported(Patch{}, segment{}, funcSymbol{}, target{}, relocation{})); diff != "" {
		t.Errorf("patch (-encoded +decoded):\n%s", diff)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, change := range map[string]func(p *Patch){
		"no name":            func(p *Patch) { p.Name = "" },
		"name with a path":   func(p *Patch) { p.Name = "../fix" },
		"name for terminals": func(p *Patch) { p.Name = "\x1b[2J" },
		"long name":          func(p *Patch) { p.Name = strings.Repeat("x", 64) },
		"no build-id":        func(p *Patch) { p.Target.BuildID = "" },
		"no function":        func(p *Patch) { p.funcs = nil },
		"no code":            func(p *Patch) { p.symbols = p.symbols[1:] },
		"write and execute":  func(p *Patch) { p.segments[0].Prot = ProtRead | ProtWrite | ProtExec },
		"no read":            func(p *Patch) { p.segments[1].Prot = ProtWrite },
		"segments overlap":   func(p *Patch) { p.segments[1].Offset = 0 },
		"huge segment":       func(p *Patch) { p.segments[1].Size = math.MaxUint64 },
		"far segment":        func(p *Patch) { p.segments[1].Offset = 1 << 40 },
		"short segment":      func(p *Patch) { p.segments[0].Size = 8 },
		"function in data":   func(p *Patch) { p.symbols[0].Offset = segmentUnit },
		"long function":      func(p *Patch) { p.symbols[0].Size = math.MaxUint64 },
		"entry outside":      func(p *Patch) { p.symbols[0].Enter = segmentUnit },
		"two of a name":      func(p *Patch) { p.symbols[1] = p.symbols[0] },
		"callback":           func(p *Patch) { p.callbacks[prePatch] = 1 << 20 },
		"callback's name":    func(p *Patch) { p.callbacks["main"] = 0 },
		"frames":             func(p *Patch) { p.ehFrame = span{1 << 30, 8} },
		"odd function":       func(p *Patch) { p.funcs[0].OldVA++ },
		"function's end":     func(p *Patch) { p.funcs[0].OldSize = math.MaxUint64 },
		"site outside":       func(p *Patch) { p.funcs[0].SiteVA = 0x1040 },
		"tiny function":      func(p *Patch) { p.funcs[0].OldSize = 4 },
		"part":               func(p *Patch) { p.funcs[0].Extra[0] = [2]uint64{2, 1} },
		"functions overlap":  func(p *Patch) { p.funcs = append(p.funcs, p.funcs[0]) },
		"relocation's type":  func(p *Patch) { p.relocs[0].Type = 1 },
		"relocation's place": func(p *Patch) { p.relocs[0].Offset = 62 },
		"relocation in bss":  func(p *Patch) { p.relocs[0].Offset = segmentUnit + 8 },
		"relocation to":      func(p *Patch) { p.relocs[0].Target = 1 },
		"relocation via":     func(p *Patch) { p.relocs[0].Flags, p.relocs[0].Via = hasVia, segmentUnit },
		"relocation's flags": func(p *Patch) { p.relocs[0].Flags = 1 << 15 },
		"reference's kind":   func(p *Patch) { p.targets[0].Kind = 9 },
		"reference's name":   func(p *Patch) { p.targets[0] = target{Kind: byName} },
	} {
		p := small()
		change(p)
		data, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(data); err == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestDamage(t *testing.T) {
	data, err := small().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if _, err := Decode(data[:i]); err == nil {
			t.Fatalf("the first %d bytes are not refused", i)
		}
		changed := append([]byte(nil), data...)
		changed[i] ^= 1
		if _, err := Decode(changed); err == nil {
			t.Fatalf("a change at %d is not refused", i)
		}
	}
	if _, err := Decode([]byte("#!/bin/sh\necho this is no patch at all\n")); !errors.Is(err, ErrNotPatch) {
		t.Errorf("error %v, want that it is no patch", err)
	}
	path := filepath.Join(t.TempDir(), "long.npz")
	if err := os.WriteFile(path, append(data, make([]byte, 8)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "length") {
		t.Errorf("error %v, want that the length is wrong", err)
	}
}

// nowhere is a process without anything.
type nowhere struct{}

func (nowhere) Objects() []Mapped                            { return nil }
func (nowhere) Place(uint64, uint64, uint64) (uint64, error) { return 0, errors.New("no room") }
func (nowhere) Read(uint64, []byte) error                    { return errors.New("no memory") }

func FuzzDecode(f *testing.F) {
	data, err := small().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[:len(data)-4])
	f.Fuzz(func(t *testing.T, data []byte) {
		// With the right checksum, or nothing gets beyond it.
		data = binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli))
		p, err := Decode(data)
		if err != nil {
			return
		}
		if _, err := p.Link(nowhere{}); err == nil {
			t.Error("linked into nothing")
		}
		l := &loading{p: p, w: nowhere{}, base: 0x10000, target: Mapped{}, names: make(map[string]named)}
		im := &Image{}
		for _, s := range p.segments {
			im.Segments = append(im.Segments, Segment{Addr: l.base + s.Offset, Data: append([]byte(nil), s.data...)})
		}
		for _, r := range p.relocs {
			if k := p.targets[r.Target]; k.Kind == inPatch || k.Kind == ofThread && k.Thread == 0 {
				_ = l.relocate(im, r)
			}
		}
		if _, err := p.Encode(); err != nil {
			t.Error(err)
		}
	})
}
