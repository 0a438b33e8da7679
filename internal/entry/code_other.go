//go:build !arm64 && !amd64

package entry

// RegsWords is pt_regs in words: there is none.
const RegsWords = 0

// ProfileSlot is a slot of a thread that is profiled: there is none.
type ProfileSlot struct{ Owner uint64 }

// Load returns ErrNotSupported.
func Load() (Blob, error) { return Blob{}, ErrNotSupported }

// LoadPatch returns ErrNotSupported.
func LoadPatch() (PatchBlob, error) { return PatchBlob{}, ErrNotSupported }

// CheckProcessor returns ErrNotSupported.
func CheckProcessor() error { return ErrNotSupported }

// CounterSource returns "".
func CounterSource() string { return "" }

// Counter returns 0.
func Counter() uint64 { return 0 }

// CounterFrequency returns 0.
func CounterFrequency() uint64 { return 0 }
