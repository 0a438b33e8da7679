//go:build arm64

package entry

import (
	"encoding/binary"
	"unsafe"
)

// labels and those like it give where a block begins and the addresses of its
// parts. They are taken in assembly: a Go reference to an assembly function is its
// ABIInternal wrapper, a jump.
func labels() (base unsafe.Pointer, caller, callerUnknown, regsCaller, stackCaller, reserve, dlHook, literals, end uint64)

func exitLabels() (base unsafe.Pointer, ret, retUnknown, gen, genUnknown, pushed, pushedUnknown, end uint64)

func profileLabels() (base unsafe.Pointer, caller, callerUnknown, count, ret, retUnknown, gen, genUnknown, pushed, pushedUnknown, end uint64)

func shadowLabels() (base unsafe.Pointer, known, unknown [10]uint64, end uint64)

func triggerLabels() (base unsafe.Pointer, trigger, nothing, end uint64)

func patchLabels() (base unsafe.Pointer, decide, end uint64)

// LoadPatch returns a copy of the code that stubs of patched functions share.
func LoadPatch() (PatchBlob, error) {
	base, decide, end := patchLabels()
	start := uint64(uintptr(base))
	return PatchBlob{Code: append([]byte(nil), unsafe.Slice((*byte)(base), end-start)...), Decide: decide - start}, nil
}

func probeLabels() (base unsafe.Pointer, place, record, load, read, end uint64)

// blockAlign is the alignment of blocks: a cache line.
const blockAlign = 64

// add appends a block and turns the addresses of its labels into offsets in the
// whole.
func (b *Blob) add(base unsafe.Pointer, end uint64, addresses ...*uint64) {
	for len(b.Code)%blockAlign != 0 {
		b.Code = append(b.Code, 0)
	}
	at := uint64(len(b.Code))
	start := uint64(uintptr(base))
	b.Code = append(b.Code, unsafe.Slice((*byte)(base), end-start)...)
	for _, a := range addresses {
		*a += at - start
	}
}

// Load returns a copy of the entry code of this architecture.
func Load() (Blob, error) {
	b := Blob{Code: make([]byte, blockAlign)} // offset 0 is none
	base, ret, retUnknown, gen, genUnknown, pushed, pushedUnknown, end := exitLabels()
	b.ExitEnd = end
	b.add(base, end, &ret, &retUnknown, &gen, &genUnknown, &pushed, &pushedUnknown, &b.ExitEnd)
	b.Exit, b.ExitUnknown = Exits{ret, gen, pushed}, Exits{retUnknown, genUnknown, pushedUnknown}

	p, u := &b.Profile, &b.ProfileUnknown
	base, p.Caller, u.Caller, p.Count, p.Exit.Ret, u.Exit.Ret, p.Exit.Gen, u.Exit.Gen, p.Exit.Pushed, u.Exit.Pushed, end = profileLabels()
	b.add(base, end, &p.Caller, &u.Caller, &p.Count, &p.Exit.Ret, &u.Exit.Ret, &p.Exit.Gen, &u.Exit.Gen, &p.Exit.Pushed, &u.Exit.Pushed)
	u.Count = p.Count

	base, known, unknown, end := shadowLabels()
	var parts []*uint64
	for i := range known {
		parts = append(parts, &known[i], &unknown[i])
	}
	b.add(base, end, parts...)
	b.Shadow, b.ShadowUnknown = shadowOf(known), shadowOf(unknown)

	base, b.Trigger, b.Nothing, end = triggerLabels()
	b.add(base, end, &b.Trigger, &b.Nothing)

	q := &b.Probe
	base, q.Place, q.Record, q.Load, q.Read, end = probeLabels()
	b.add(base, end, &q.Place, &q.Record, &q.Load, &q.Read)

	// The literals are at the end of the last block.
	base, b.Caller, b.CallerUnknown, b.RegsCaller, b.StackCaller, b.Reserve, b.DLHook, b.Literals, end = labels()
	b.Core = uint64(uintptr(base))
	b.add(base, end, &b.Caller, &b.CallerUnknown, &b.RegsCaller, &b.StackCaller, &b.Reserve, &b.DLHook, &b.Literals, &b.Core)
	b.linkLiterals()
	return b, nil
}

func shadowOf(l [10]uint64) Shadow {
	return Shadow{Caller: l[0], Root: l[1], Not: l[2], Pend: l[3], Exit: Exits{l[4], l[5], l[6]}, Drop: Exits{l[7], l[8], l[9]}}
}

// LDR Xt, literal: the opcode and its field imm19 (Arm ARM C6.2, LDR (literal)).
const (
	ldrLiteral     = 0x58000000
	ldrLiteralMask = 0xff000000
	imm19Shift     = 5
	imm19Mask      = 1<<19 - 1
)

// linkLiterals makes each LOAD_LITERAL load its word.
func (b *Blob) linkLiterals() {
	for off := uint64(0); off < b.Literals; off += 4 {
		insn := binary.LittleEndian.Uint32(b.Code[off:])
		if insn&ldrLiteralMask != ldrLiteral {
			continue
		}
		word := b.Literals + 8*uint64(insn>>imm19Shift&imm19Mask)
		insn &^= imm19Mask << imm19Shift
		insn |= uint32((word-off)/4) & imm19Mask << imm19Shift
		binary.LittleEndian.PutUint32(b.Code[off:], insn)
	}
}

// CounterSource is what a recording's CLOCK calls the counter.
func CounterSource() string { return "cntvct" }

// Counter reads the counter that events are stamped with.
func Counter() uint64

// CounterFrequency is its frequency in Hz as the firmware states it.
func CounterFrequency() uint64

// CheckProcessor says what recording needs and this processor does not have: nothing.
func CheckProcessor() error { return nil }
