package session

import "unsafe"

// bytesOf is the memory of words. The recording is little-endian, as the target is.
func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}
