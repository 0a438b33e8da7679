package trace

import (
	"encoding/binary"
	"errors"
	"reflect"
)

// appendBlock appends the payload of a block as its spec says. A Words field
// is left to the caller, which copies it without reflection.
func appendBlock(dst []byte, b Block) []byte {
	return appendFields(dst, specs[b.blockType()].Fields, reflect.ValueOf(b).Elem())
}

func appendFields(dst []byte, fields []Field, v reflect.Value) []byte {
	for i := range fields {
		dst = appendField(dst, &fields[i], v.Field(i))
	}
	return dst
}

func appendField(dst []byte, f *Field, v reflect.Value) []byte {
	switch f.Kind {
	case U32:
		n := uint32(0)
		if v.Kind() != reflect.Bool {
			n = uint32(v.Uint())
		} else if v.Bool() {
			n = 1
		}
		return binary.LittleEndian.AppendUint32(dst, n)
	case U64:
		return binary.LittleEndian.AppendUint64(dst, v.Uint())
	case I64:
		return binary.LittleEndian.AppendUint64(dst, uint64(v.Int()))
	case String:
		s := v.String()
		return append(binary.LittleEndian.AppendUint32(dst, uint32(len(s))), s...)
	case List:
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v.Len()))
		for i := range v.Len() {
			if e := v.Index(i); e.Kind() == reflect.Struct {
				dst = appendFields(dst, f.Of, e)
			} else {
				dst = appendField(dst, &f.Of[0], e)
			}
		}
	}
	return dst
}

var errShort = errors.New("payload is shorter than its fields")

// decoder reads fields from a payload. The payload is a string so that the
// strings in it are parts of it: a table of 100,000 names is one allocation.
type decoder struct {
	s string
}

// decodeBlock fills b from a payload. Bytes after the known fields are
// ignored: they are fields that a later minor revision added.
func decodeBlock(b Block, payload []byte) error {
	d := decoder{string(payload)}
	return d.fields(specs[b.blockType()].Fields, reflect.ValueOf(b).Elem())
}

func (d *decoder) fields(fields []Field, v reflect.Value) error {
	for i := range fields {
		if fields[i].Later && len(d.s) == 0 {
			return nil
		}
		if err := d.field(&fields[i], v.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) field(f *Field, v reflect.Value) error {
	switch f.Kind {
	case U32:
		n, err := d.uint32()
		if v.Kind() == reflect.Bool {
			v.SetBool(n != 0)
		} else {
			v.SetUint(uint64(n))
		}
		return err
	case U64:
		n, err := d.uint64()
		v.SetUint(n)
		return err
	case I64:
		n, err := d.uint64()
		v.SetInt(int64(n))
		return err
	case String:
		n, err := d.uint32()
		if err != nil || uint64(n) > uint64(len(d.s)) {
			return errShort
		}
		v.SetString(d.s[:n])
		d.s = d.s[n:]
	case List:
		return d.list(f, v)
	}
	return nil
}

func (d *decoder) list(f *Field, v reflect.Value) error {
	least := 0
	for i := range f.Of {
		least += f.Of[i].Kind.size()
	}
	n, err := d.uint32()
	// The count is checked against what is there before it allocates.
	if err != nil || uint64(n)*uint64(least) > uint64(len(d.s)) {
		return errShort
	}
	v.Set(reflect.MakeSlice(v.Type(), int(n), int(n)))
	for i := range int(n) {
		e := v.Index(i)
		if e.Kind() == reflect.Struct {
			err = d.fields(f.Of, e)
		} else {
			err = d.field(&f.Of[0], e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) uint32() (uint32, error) {
	if len(d.s) < 4 {
		return 0, errShort
	}
	s := d.s[:4]
	d.s = d.s[4:]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24, nil
}

func (d *decoder) uint64() (uint64, error) {
	lo, err := d.uint32()
	if err != nil {
		return 0, err
	}
	hi, err := d.uint32()
	return uint64(hi)<<32 | uint64(lo), err
}
