//go:build !arm64

package entry

// Load returns ErrNotSupported.
func Load() (Blob, error) { return Blob{}, ErrNotSupported }

// LoadPatch returns ErrNotSupported.
func LoadPatch() (PatchBlob, error) { return PatchBlob{}, ErrNotSupported }

// Counter returns 0.
func Counter() uint64 { return 0 }

// CounterFrequency returns 0.
func CounterFrequency() uint64 { return 0 }
