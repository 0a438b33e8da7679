//go:build !arm64

package entry

// Load returns ErrNotSupported.
func Load() (Blob, error) { return Blob{}, ErrNotSupported }
