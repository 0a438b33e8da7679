package main

import "encoding/binary"

// XRay's log files begin with 32 bytes; the version decides what follows.
const xrayHeader = 32

// basicEvents counts the records of a log of XRay's basic mode: 32 bytes each; a record of type 1 holds an argument of the one before.
func basicEvents(data []byte) uint64 {
	var n uint64
	for pos := xrayHeader; pos+32 <= len(data); pos += 32 {
		if binary.LittleEndian.Uint16(data[pos:]) == 0 {
			n++
		}
	}
	return n
}

// Kinds of metadata records in the log of XRay's flight data recorder that are followed by data of the program.
const (
	fdrCustomEvent = 5
	fdrTypedEvent  = 8
)

// fdrEvents counts the function records of a log of the flight data recorder, version 3 and later: records of 8 bytes with the
// lowest bit 0 are functions; those of 16 bytes with that bit set are metadata.
func fdrEvents(data []byte) uint64 {
	var n uint64
	for pos := xrayHeader; pos+8 <= len(data); {
		first := data[pos]
		if first&1 == 0 {
			n++
			pos += 8
			continue
		}
		if pos+16 > len(data) {
			break
		}
		if kind := first >> 1; kind == fdrCustomEvent || kind == fdrTypedEvent {
			pos += int(binary.LittleEndian.Uint32(data[pos+1:])) // the size of the data comes first in the record
		}
		pos += 16
	}
	return n
}
