package ring

import "unsafe"

// bytesOfWords makes memory that is aligned as a mapping is.
func bytesOfWords(w []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(w))), 8*len(w))
}
