//go:build !arm64

package entry

// Load returns ErrNotSupported.
func Load() (Blob, error) { return Blob{}, ErrNotSupported }

// Counter returns 0.
func Counter() uint64 { return 0 }

// CounterFrequency returns 0.
func CounterFrequency() uint64 { return 0 }
