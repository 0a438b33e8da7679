package tracee

import (
	"encoding/binary"

	"nopal/internal/sys"
)

// fromKernel reports whether a signal was raised by what the thread did, and not sent:
// si_code, the third word of siginfo_t, is positive then.
func fromKernel(info *sys.SigInfo) bool {
	return int32(binary.NativeEndian.Uint32(info[8:])) > 0
}
