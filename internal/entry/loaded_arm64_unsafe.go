//go:build arm64

package entry

import "unsafe"

func loadedLabels() (base unsafe.Pointer, on, loader, end uint64)

// LoadLoaded returns a copy of the code that is called in place of the loader's hook.
func LoadLoaded() (LoadedBlob, error) {
	base, on, loader, end := loadedLabels()
	start := uint64(uintptr(base))
	return LoadedBlob{append([]byte(nil), unsafe.Slice((*byte)(base), end-start)...), on - start, loader - start}, nil
}
