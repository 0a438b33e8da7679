package session

import (
	"encoding/binary"

	"nopal/internal/tracee"
)

// sigframe is a saved pc in a signal frame on a stack: the thread goes on there
// when the handler returns.
type sigframe struct {
	at     uint64 // address of the saved pc
	pc, sp uint64
}

// mappingAt returns the mapping that holds addr.
func mappingAt(maps []tracee.Mapping, addr uint64) (tracee.Mapping, bool) {
	for _, m := range maps {
		if m.Start <= addr && addr < m.End {
			return m, true
		}
	}
	return tracee.Mapping{}, false
}

// stackFrames finds the signal frames above sp on the stack that holds it, and on
// the stacks that those interrupted (an alternate signal stack is left that way).
func (mc *machine) stackFrames(mem *tracee.Memory, maps []tracee.Mapping, sp uint64) []sigframe {
	var found []sigframe
	seen := map[uint64]uint64{} // by mapping, the lowest address looked at
	todo := []uint64{sp &^ 15}
	for len(todo) > 0 {
		sp := todo[0]
		todo = todo[1:]
		m, ok := mappingAt(maps, sp)
		if !ok {
			continue
		}
		// Several stacks may lie in one mapping. A stack is not larger than this, and
		// threads stand still meanwhile.
		const most = 64 << 20
		end := min(m.End, sp+most)
		if low, ok := seen[m.Start]; ok {
			if sp >= low {
				continue
			}
			end = min(end, low)
		}
		seen[m.Start] = sp
		for _, f := range mc.frames(mem, sp, end) {
			found = append(found, f)
			todo = append(todo, f.sp&^15)
		}
	}
	return found
}

// On arm64 a signal frame is found by the record that the kernel puts first behind the
// general registers, struct fpsimd_context: its magic and size
// (arch/arm64/include/uapi/asm/sigcontext.h). The saved pc stands 24 bytes before
// it: sp, pc, pstate, padding to 16 bytes, __reserved[].
const (
	fpsimdMagic = 0x46508001
	fpsimdSize  = 0x210
	fpsimdWord  = fpsimdSize<<32 | fpsimdMagic
	pcBefore    = 24
	spBefore    = 32
)

// framesOnArm finds the signal frames in [from, to).
func framesOnArm(mem *tracee.Memory, from, to uint64) []sigframe {
	return frameScan(mem, from, to, spBefore, 8, 0, func(b []byte, here uint64) (sigframe, bool) {
		if binary.LittleEndian.Uint64(b[spBefore:]) != fpsimdWord {
			return sigframe{}, false
		}
		return sigframe{
			at: here - pcBefore,
			pc: binary.LittleEndian.Uint64(b[spBefore-pcBefore:]),
			sp: binary.LittleEndian.Uint64(b),
		}, true
	})
}

// On x86-64 it is found by what the kernel saves with the registers
// (arch/x86/include/uapi/asm/sigcontext.h, asm/ucontext.h, arch/x86/kernel/signal_64.c):
// flags and segments that have few values, no link to another context, and a pointer to the
// extended state, which lies behind the frame and has a magic number of its own.
const (
	x86Align    = 16
	x86Frame    = 8 // of the return address, from a multiple of x86Align
	x86Flags    = 8 // offsets from there
	x86Link     = 16
	x86SP       = 168
	x86PC       = 176
	x86Segments = 192 // cs, gs, fs, ss
	x86FPState  = 232
	x86Size     = 440 // with siginfo

	x86FlagsMost = 7           // UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS
	x86CS        = 0x33        // __USER_CS
	x86SS        = 0x2b        // __USER_DS
	x86FPMagic   = 0x46505853  // FP_XSTATE_MAGIC1
	x86FPMagicAt = 464         // sw_reserved in struct _fpstate_64
	x86FPAlign   = 64          // of what XSAVE writes
	x86FPFar     = 4 * x86Size // how far from the frame's beginning it may be
)

// framesOnX86 finds the signal frames in [from, to).
func framesOnX86(mem *tracee.Memory, from, to uint64) []sigframe {
	le := binary.LittleEndian
	return frameScan(mem, from, to, 0, x86Size, x86Frame, func(b []byte, here uint64) (sigframe, bool) {
		state := le.Uint64(b[x86FPState:])
		switch {
		case le.Uint64(b[x86Flags:]) > x86FlagsMost, le.Uint64(b[x86Link:]) != 0,
			le.Uint16(b[x86Segments:]) != x86CS,
			state%x86FPAlign != 0, state-here < x86Size, state-here > x86FPFar:
			return sigframe{}, false
		}
		if ss := le.Uint16(b[x86Segments+6:]); ss != x86SS && ss != 0 {
			return sigframe{}, false
		}
		var magic [4]byte
		if _, err := mem.ReadAt(magic[:], int64(state+x86FPMagicAt)); err != nil || le.Uint32(magic[:]) != x86FPMagic {
			return sigframe{}, false
		}
		return sigframe{at: here + x86PC, pc: le.Uint64(b[x86PC:]), sp: le.Uint64(b[x86SP:])}, true
	})
}

// frameScan calls is for each address in [from, to) that is at after a multiple of 16, with
// what is around it in memory, from before bytes before it to behind bytes after it, and
// collects what it finds.
func frameScan(mem *tracee.Memory, from, to uint64, before, behind, at int, is func(b []byte, here uint64) (sigframe, bool)) []sigframe {
	const step, align = 1 << 16, 16
	var found []sigframe
	buf := make([]byte, step+before+behind)
	for block := from; block < to; block += step {
		// Overlapping, so that a frame across a border is seen.
		lo := max(from, block-min(block, uint64(before)))
		n, err := mem.ReadAt(buf[:min(uint64(len(buf)), to-lo)], int64(lo))
		if err != nil && n == 0 {
			return found
		}
		b := buf[:n]
		for i := int((align + uint64(at) - lo%align) % align); i+behind <= len(b); i += align {
			here := lo + uint64(i)
			if i < before || here < block || here >= block+step {
				continue
			}
			if f, ok := is(b[i-before:], here); ok {
				found = append(found, f)
			}
		}
		if uint64(n) < min(uint64(len(buf)), to-lo) {
			return found
		}
	}
	return found
}
