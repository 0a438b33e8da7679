package arm64

import "fmt"

// BranchReach is how far B and BL reach: imm26 counts instructions and is
// signed, so a branch goes from 128 MiB backwards to 128 MiB less one
// instruction forwards (Arm ARM C6.2, BL).
const BranchReach = 128 << 20

const (
	opB   uint32 = 0x14000000
	opBL  uint32 = 0x94000000
	imm26 uint32 = 1<<26 - 1
)

// ReachError says that no B or BL at PC leads to Target.
type ReachError struct {
	PC, Target uint64
}

func (e *ReachError) Error() string {
	if (e.PC|e.Target)%InsnSize != 0 {
		return fmt.Sprintf("encode branch from %#x to %#x: not aligned to %d bytes", e.PC, e.Target, InsnSize)
	}
	return fmt.Sprintf("encode branch from %#x to %#x: out of reach (%d MiB)", e.PC, e.Target, BranchReach>>20)
}

// InReach reports whether a B or BL at pc can lead to target.
func InReach(pc, target uint64) bool {
	distance := int64(target - pc)
	return (pc|target)%InsnSize == 0 && distance >= -BranchReach && distance < BranchReach
}

// EncodeB gives the instruction b target at pc, or a *[ReachError].
func EncodeB(pc, target uint64) (uint32, error) { return encode(opB, pc, target) }

// EncodeBL gives the instruction bl target at pc, or a *[ReachError].
func EncodeBL(pc, target uint64) (uint32, error) { return encode(opBL, pc, target) }

func encode(op uint32, pc, target uint64) (uint32, error) {
	if !InReach(pc, target) {
		return 0, &ReachError{PC: pc, Target: target}
	}
	return op | uint32((target-pc)/InsnSize)&imm26, nil
}
