//go:build amd64

package entry

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// entryBlock and those like it give an address before a block of code. It is taken in
// assembly: a Go reference to an assembly function is its ABIInternal wrapper, a jump.
func entryBlock() unsafe.Pointer

func graphBlock() unsafe.Pointer

func triggerBlock() unsafe.Pointer

func profileBlock() unsafe.Pointer

func shadowBlock() unsafe.Pointer

// Bounds of a block's length, and of how far before it the address is.
const (
	blockAlign  = 64
	blockBefore = 256
	blockMax    = 1 << 16
)

// parts says where the parts are in a Blob's code.
type parts [partCount]uint64

// Load returns a copy of the entry code of this architecture.
func Load() (Blob, error) {
	b := Blob{Code: make([]byte, blockAlign)} // offset 0 is none
	var p parts
	for _, base := range blocks() {
		if err := b.add(base, &p); err != nil {
			return Blob{}, err
		}
	}
	b.Core = p[partCaller]
	b.Caller, b.CallerUnknown, b.Reserve, b.DLHook, b.Literals = p[partCaller], p[partCallerUnknown], p[partReserve], p[partDLHook], p[partLiterals]
	b.RegsCaller, b.StackCaller = p[partRegsCaller], p[partStackCaller]
	b.Profile = Profile{Caller: p[partProfileCaller], Count: p[partProfileCount], Thunk: p[partProfileExit]}
	b.ProfileUnknown = Profile{Caller: p[partProfileCount], Count: p[partProfileCount], Thunk: p[partProfileExit]}
	b.Shadow = Shadow{Caller: p[partShadowCaller], Root: p[partShadowRoot], Not: p[partShadowNot], Count: p[partShadowCount], Thunk: p[partShadowExit]}
	b.ShadowUnknown = b.Shadow
	b.Trigger, b.Nothing = p[partTrigger], p[partNothing]
	b.Graph = Graph{p[partGraphCaller], p[partGraphUnknown], p[partGraphExit], p[partGraphExitEnd], p[partGraphThunks], p[partFindFDE], p[partFindFDEGone], p[partFindFDETable]}
	return b, b.link(&p)
}

// blocks are the blocks of the code. The one with the literals is the last.
func blocks() []unsafe.Pointer {
	return []unsafe.Pointer{graphBlock(), profileBlock(), shadowBlock(), triggerBlock(), entryBlock()}
}

// add appends a block and notes its parts.
func (b *Blob) add(base unsafe.Pointer, p *parts) error {
	mark := func(at int) uint64 { return *(*uint64)(unsafe.Add(base, at)) - partMark }
	start := 0
	for ; mark(start) != partBegin; start++ {
		if start == blockBefore {
			return fmt.Errorf("load entry code: no block begins behind %#x", uintptr(base))
		}
	}
	start += 8
	for len(b.Code)%blockAlign != 0 {
		b.Code = append(b.Code, 0)
	}
	at := uint64(len(b.Code))
	for i := 0; i < blockMax; i++ {
		part := mark(start + i)
		switch {
		case part == partEnd:
			b.Code = append(b.Code, unsafe.Slice((*byte)(unsafe.Add(base, start)), i)...)
			return nil
		case part < partCount:
			p[part] = at + uint64(i) + 8
		}
	}
	return fmt.Errorf("load entry code: the block behind %#x has no end", uintptr(base))
}

// link fills in the displacements to parts and literals. A displacement is relative to
// the end of its instruction, which it ends.
func (b *Blob) link(p *parts) error {
	for off := uint64(0); off+4 <= uint64(len(b.Code)); off++ {
		value := binary.LittleEndian.Uint32(b.Code[off:])
		var to uint64
		switch {
		case value >= partRel && value < partRel+partCount:
			to = p[value-partRel]
		case value >= literalRel && value < literalRel+SizeofLiterals:
			to = p[partLiterals] + uint64(value-literalRel)
		default:
			continue
		}
		if to == 0 {
			return fmt.Errorf("load entry code: no part %d for the reference at %#x", value-partRel, off)
		}
		binary.LittleEndian.PutUint32(b.Code[off:], uint32(to-off-4))
		off += 3
	}
	return nil
}

// LoadPatch returns ErrNotSupported.
func LoadPatch() (PatchBlob, error) { return PatchBlob{}, ErrNotSupported }
