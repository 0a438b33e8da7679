package image

import (
	"fmt"
	"math/bits"
	"sort"

	"nopal/internal/arch/arm64"
)

// Exit is an instruction by which a function is left, with link-time addresses.
type Exit = arm64.Exit

// Exits is how a function is left.
type Exits struct {
	// List is all its exits, by address; empty for a function that never returns.
	List []Exit
	// Called says that the body of the function may be called, on x86-64, so its
	// exits are where it returns to, whatever it is left by. List is empty.
	Called bool
	// Reason is why they are not known, in which case List is empty: only entries
	// can be traced.
	Reason string
}

// exitIndex is what is needed to find exits. It is made when they are first asked
// for, and holds the object's code from then on.
type exitIndex struct {
	im     *Image
	err    error
	code   *code
	marks  mappings
	frames *frames
	cold   []coldPart  // by address
	owned  []ownedPart // by site
	finder arm64.ExitFinder
	taken  []uint64 // addresses in the code that data holds; sorted
	looked bool     // at the data
	found  []Exits
	done   []bool
	parts  []arm64.Part
	pads   []uint64
	lines  []branch // the direct branches of the object, by target
	drawn  bool     // lines were looked for
}

// Exits gives the exits of the function of a site, by its index in Sites. The
// first call reads the file, so it must not come after Close. Unlike the other
// methods it is not for several goroutines at once.
func (im *Image) Exits(site int) Exits {
	return im.isa().exits(im, site)
}

func (a64) exits(im *Image, site int) Exits {
	if im.exits == nil {
		im.exits = newExitIndex(im)
	}
	x := im.exits
	if x.err != nil {
		return Exits{Reason: fmt.Sprintf("cannot read its code: %v", x.err)}
	}
	if !x.done[site] {
		x.found[site] = x.find(site)
		x.done[site] = true
	}
	return x.found[site]
}

func newExitIndex(im *Image) *exitIndex {
	x := &exitIndex{im: im}
	f, err := newELF(im.file)
	if err != nil {
		x.err = err
		return x
	}
	if x.code, x.err = readCode(f); x.err != nil {
		return x
	}
	x.marks = im.mappings(x.code)
	x.frames = readFrames(f)
	x.findParts()
	x.found = make([]Exits, len(im.sites))
	x.done = make([]bool, len(im.sites))
	return x
}

func (x *exitIndex) find(site int) Exits {
	s := x.im.sites[site]
	if s.Reason != "" {
		return Exits{Reason: "it cannot be traced: " + s.Reason}
	}
	end, sure, reason := x.end(s)
	if reason == "" && !sure && x.enteredBetween(s, end) {
		reason = "where it ends is not known, and other code leads to places behind its entry"
	}
	if reason != "" {
		return Exits{Reason: reason}
	}
	x.parts = x.parts[:0]
	if !x.addPart(s.Entry, end) {
		return Exits{Reason: "its symbol reaches beyond the code"}
	}
	if reason := x.addCold(site); reason != "" {
		return Exits{Reason: reason}
	}
	body := arm64.Body{
		Parts:  x.parts,
		Entry:  s.Entry,
		Start:  s.Body,
		Mapped: true,
		Data:   x.marks.data,
		Taken:  x.isTaken,
		Read:   x.read,
		Word:   x.code.insn,
	}
	for _, p := range x.parts {
		body.Mapped = body.Mapped && x.marks.cover(x.code, p.VA)
	}
	if !body.Mapped {
		x.pads = x.pads[:0]
		for _, p := range x.parts {
			x.addPads(p)
		}
		body.Pads = x.pads
	}
	var e Exits
	if e.List, e.Reason = x.finder.Find(&body); e.Reason == "" {
		e.Reason = x.goesOn(e.List)
	}
	if e.Reason != "" {
		e.List = nil
	}
	return e
}

// goesOn says which tail call is none: where it leads, registers are read that the caller
// of a function leaves nothing in, and that the code at exits changes. Compilers move
// the common ends of functions to a place of their own (LLVM's machine outliner).
func (x *exitIndex) goesOn(list []Exit) (reason string) {
	var insns [liveWindow]uint32
	for _, e := range list {
		if e.Kind != arm64.ExitTailB {
			continue
		}
		code := x.code.read(insns[:], e.Target, e.Target+liveWindow*arm64.InsnSize)
		if live := arm64.LiveIn(code, temporaries); live != 0 {
			return fmt.Sprintf("a branch (at %#x) leads to what goes on with its x%d", e.Addr, bits.TrailingZeros32(live))
		}
	}
	return ""
}

// read reads the object's memory.
func (x *exitIndex) read(p []byte, va uint64) bool {
	n, err := x.im.ReadVA(p, va)
	return n == len(p) && err == nil
}

// addPart adds the code from start to end.
func (x *exitIndex) addPart(start, end uint64) bool {
	p, off := x.code.at(start)
	if p == nil || end <= start || end-start > uint64(len(p.data))-off {
		return false
	}
	x.parts = append(x.parts, arm64.Part{VA: start, Code: p.data[off : off+end-start]})
	return true
}

// addPads adds the landing pads of a part's call frame information.
func (x *exitIndex) addPads(p arm64.Part) {
	end := p.VA + uint64(len(p.Code))
	i := sort.Search(len(x.frames.ranges), func(i int) bool { return x.frames.ranges[i].end > p.VA })
	for ; i < len(x.frames.ranges) && x.frames.ranges[i].start < end; i++ {
		if r := x.frames.ranges[i]; r.lsda != 0 {
			x.pads = x.frames.pads(r, x.pads)
		}
	}
}

// end gives where the function of a site ends: where its symbol or its call frame
// information says, or else, not surely, at the next thing that is known to begin.
func (x *exitIndex) end(s Site) (end uint64, sure bool, reason string) {
	next := x.next(s)
	if s.Func >= 0 {
		if f := x.im.funcs[s.Func]; f.Size != 0 && f.Addr == s.Entry {
			end = f.Addr + f.Size
			if end > next && end > f.Addr {
				return 0, false, fmt.Sprintf("another function begins within it (at %#x)", next)
			}
			return end, true, ""
		}
	}
	if i, ok := x.frames.at(s.Body); ok && x.frames.ranges[i].end <= next {
		return x.frames.ranges[i].end, true, ""
	}
	i := sort.Search(len(x.im.funcs), func(i int) bool { return x.im.funcs[i].Addr > s.Entry })
	if i < len(x.im.funcs) {
		next = min(next, x.im.funcs[i].Addr)
	}
	return next, false, ""
}

// next gives where the next patch area begins, or the end of the section.
func (x *exitIndex) next(s Site) uint64 {
	p, _ := x.code.at(s.Entry)
	if p == nil {
		return 0
	}
	end := p.va + uint64(len(p.data))
	if i, ok := x.im.siteAfter(s.Addr); ok {
		after := x.im.sites[i]
		end = min(end, after.Entry-uint64(after.Before)*arm64.InsnSize)
	}
	return end
}
