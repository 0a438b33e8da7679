package trace

// Arg is an argument of a call.
type Arg struct {
	Name  string
	Value Value
}

// Value is an argument's or a result's value. It refers to memory of the event
// that it came with.
type Value struct {
	types []ValueType
	typ   uint32
	state valueState
	mem   bool   // data is what was at addr
	addr  uint64 // of a memory field
	data  []byte
}

type valueState uint8

const (
	valueWhole     valueState = iota
	valueTruncated            // there is more than data
	valueFault                // addr could not be read
	valueUnread               // nopal may not read there
	valueDamaged              // the record ends before it
)

// Fault returns the address that could not be read, if there is one.
func (v *Value) Fault() (addr uint64, fault bool) { return v.addr, v.state == valueFault }

// Truncated reports that there was more than was recorded.
func (v *Value) Truncated() bool { return v.state == valueTruncated }
