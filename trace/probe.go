package trace

import (
	"errors"
	"fmt"
)

// Probe says what the records of one probe number of a process hold: those
// that generated code at a site writes of a call's arguments or result.
type Probe struct {
	Proc   uint32
	Number uint32 // in the process, from 1; never used again
	Image  uint32
	VA     uint64 // link-time address of the site, 0 if there are several
	Kind   uint32
	Text   string // of an injection: the rule
	Fields []ProbeField
	Types  []ValueType
}

// Kinds of probes. The two flags exclude each other.
const (
	ProbeEntry = 0
	ProbeExit  = 1

	// ProbeAttached: the record belongs to an event of its own, which follows
	// in the stream, if at all.
	ProbeAttached = 1 << 1
	// ProbeInjected: the record tells what was done to a call.
	ProbeInjected = 1 << 2

	probeKinds = ProbeExit | ProbeAttached | ProbeInjected
)

// Records that are no events have numbers of their own, so that words are
// understood without the PROBE blocks.
const (
	AttachedNumber = 1 << 17          // the first of a ProbeAttached
	InjectedNumber = 1<<18 - 1<<12    // the first of a ProbeInjected
	MaxProbeNumber = 1<<probeBits - 1 // the last one
)

// ProbeField is one field of a record's payload.
type ProbeField struct {
	Name string
	Type uint32 // index in Probe.Types
	Mem  bool   // an address, a header, and what was read from there; else the value itself
}

// ValueType is the type of a value, or of a part of one. Types refer to each
// other by their indexes in Probe.Types.
type ValueType struct {
	Kind    TypeKind
	Size    uint32 // bytes
	Name    string // as in the source, if known
	Elem    uint32 // of a KindPointer and KindArray
	Count   uint32 // of a KindArray
	Members []TypeMember
	Enums   []TypeEnum
}

// TypeKind says how the bytes of a value are read.
type TypeKind uint32

// Kinds of types. Numbers are little-endian and have the size of their type.
const (
	KindVoid     TypeKind = iota // not known; an exit's is not shown
	KindInt                      // two's complement
	KindUint                     //
	KindHex                      // as KindUint, shown as 0x..
	KindBool                     //
	KindChar                     // as KindUint, shown as 'a'
	KindFloat                    // IEEE 754, of 2, 4, 8 or 16 bytes
	KindPointer                  // 0x..; as a memory field: to the Elem that was read there
	KindEnum                     // by the names in Enums; flags are shown as A|B
	KindCString                  // up to a byte of 0, or to where reading stopped
	KindString                   // bytes of known length
	KindStruct                   // Members; those of a union overlap
	KindArray                    // Count times Elem
	KindBytes                    // shown as they are
	KindExtended                 // floating point of the x87: 10 bytes, in 16
	maxKind
)

// TypeMember is a member of a KindStruct. A member without a name is shown as
// if its members were those of the struct.
type TypeMember struct {
	Name    string
	Type    uint32
	Off     uint32 // bytes
	BitOff  uint32 // of a bit field: bits from Off to its lowest bit
	BitSize uint32 // of a bit field: its bits; 0 for others
}

// TypeEnum is a value of a KindEnum.
type TypeEnum struct {
	Name  string
	Value int64
}

func (*Probe) blockType() Type { return TypeProbe }

// WriteProbe says what the records of a probe number hold. It comes before the
// first chunk with one of them. A child of fork has numbers of its own.
func (w *Writer) WriteProbe(p Probe) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("write PROBE block: %w", err)
	}
	return w.write(&p)
}

// check checks what a reader relies on.
func (p *Probe) check() error {
	if p.Kind&^probeKinds != 0 || p.Kind&ProbeAttached != 0 && p.Kind&ProbeInjected != 0 {
		return fmt.Errorf("probe %d of unknown kind %d", p.Number, p.Kind)
	}
	if want := numberKind(p.Number); p.Number == 0 || p.Number > MaxProbeNumber || p.Kind&^ProbeExit != want {
		return fmt.Errorf("a probe of kind %d has number %d", p.Kind, p.Number)
	}
	n := uint32(len(p.Types))
	bad := errors.New("a type that is not there")
	for i := range p.Fields {
		if p.Fields[i].Type >= n {
			return bad
		}
	}
	for i := range p.Types {
		t := &p.Types[i]
		if (t.Kind == KindPointer || t.Kind == KindArray) && t.Elem >= n {
			return bad
		}
		for j := range t.Members {
			if t.Members[j].Type >= n {
				return bad
			}
		}
	}
	return nil
}

// numberKind is the part of a probe's kind that its number has.
func numberKind(n uint32) uint32 {
	switch {
	case n >= InjectedNumber:
		return ProbeInjected
	case n >= AttachedNumber:
		return ProbeAttached
	}
	return 0
}
