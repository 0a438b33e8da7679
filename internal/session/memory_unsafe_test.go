package session

import "unsafe"

// alignedBytes is memory at a multiple of 16, as stacks are.
func alignedBytes(n int) []byte {
	words := make([][2]uint64, n/16)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), n)
}

func addressOf(b []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }
