//go:build !arm64

package entry

// LoadLoaded returns an error: there is no such code for this architecture.
func LoadLoaded() (LoadedBlob, error) { return LoadedBlob{}, ErrNotSupported }
