package image

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"

	"nopal/internal/arch/arm64"
)

// coldPart is code that the compiler moved out of a function because it is
// seldom run. It has a symbol of its own, foo.cold.
type coldPart struct {
	start, end uint64
	fn         int    // its symbol, in Funcs
	owner      uint64 // the entry of the function that it is part of; 0: none known
	shared     bool   // several functions branch to it, or it to them
}

// coldParts finds the cold parts and whose they are: a function's that branches
// into it, or that it branches back into the middle of. Where there is no such
// branch (it is entered by exceptions alone), the name decides.
func (im *Image) coldParts(c *code) []coldPart {
	traced := make(map[int]bool)
	var cold []coldPart
	for i, f := range im.funcs {
		if isCold(f.Name) && f.Size != 0 {
			cold = append(cold, coldPart{start: f.Addr, end: f.Addr + f.Size, fn: i})
		}
	}
	if len(cold) == 0 {
		return nil
	}
	for _, s := range im.sites {
		traced[s.Func] = true
	}
	cold = slices.DeleteFunc(cold, func(p coldPart) bool { return traced[p.fn] })
	for _, p := range c.parts {
		for off := 0; off+arm64.InsnSize <= len(p.data); off += arm64.InsnSize {
			insn := binary.LittleEndian.Uint32(p.data[off:])
			if insn>>26&7 != 0b101 || arm64.Classify(insn) == arm64.KindBL {
				continue
			}
			from := p.va + uint64(off)
			to, ok := arm64.BranchTarget(from, insn)
			if !ok {
				continue
			}
			if at, ok := coldAt(cold, to); ok {
				im.claim(&cold[at], from)
			}
			if at, ok := coldAt(cold, from); ok {
				if fn, ok := im.FuncAt(to); ok && im.funcs[fn].Addr != to {
					im.claim(&cold[at], to)
				}
			}
		}
	}
	im.claimByName(cold)
	return cold
}

// coldAt gives the cold part that an address lies in.
func coldAt(cold []coldPart, va uint64) (int, bool) {
	i := sort.Search(len(cold), func(i int) bool { return cold[i].end > va })
	return i, i < len(cold) && cold[i].start <= va
}

// claim gives a cold part to the function that va lies in.
func (im *Image) claim(part *coldPart, va uint64) {
	fn, ok := im.FuncAt(va)
	if !ok || isCold(im.funcs[fn].Name) {
		return
	}
	entry := im.funcs[fn].Addr
	part.shared = part.shared || part.owner != 0 && part.owner != entry
	part.owner = entry
}

func (im *Image) claimByName(cold []coldPart) {
	open := make(map[string][]int)
	for i, p := range cold {
		if p.owner == 0 {
			base, _, _ := strings.Cut(im.funcs[p.fn].Name, ".cold")
			open[base] = append(open[base], i)
		}
	}
	if len(open) == 0 {
		return
	}
	for _, f := range im.funcs {
		for _, i := range open[f.Name] {
			cold[i].shared = cold[i].owner != 0 // two functions of one name
			cold[i].owner = f.Addr
		}
	}
}

// addCold adds the cold parts of a site's function to its code.
func (x *exitIndex) addCold(s Site) (reason string) {
	for _, p := range x.cold {
		if p.owner != s.Entry {
			continue
		}
		if p.shared {
			return fmt.Sprintf("it shares %s with another function", x.im.funcs[p.fn].Name)
		}
		if !x.addPart(p.start, p.end) {
			return fmt.Sprintf("%s reaches beyond the code", x.im.funcs[p.fn].Name)
		}
	}
	return ""
}

// siteAfter gives the first site behind an address.
func (im *Image) siteAfter(va uint64) (int, bool) {
	i, found := slices.BinarySearchFunc(im.sites, va, func(s Site, va uint64) int { return cmp.Compare(s.Addr, va) })
	if found {
		i++
	}
	return i, i < len(im.sites)
}
