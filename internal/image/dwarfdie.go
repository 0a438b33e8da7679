package image

import (
	"debug/dwarf"
	"errors"
	"fmt"
)

// maxChain bounds how many entries refer to one another: a function that was
// compiled refers to the one that was inlined, that to its declaration in a class.
const maxChain = 8

// die is an entry and those that it completes, which have the attributes that
// it does not have.
type die []*dwarf.Entry

var errTooMuch = errors.New("too much of it for one function")

// entry reads one entry.
func (d *dwarfData) entry(at dwarf.Offset) (*dwarf.Entry, error) {
	if d.budget--; d.budget < 0 {
		return nil, errTooMuch
	}
	d.reader.Seek(at)
	e, err := d.reader.Next()
	if err != nil {
		return nil, err
	}
	if e == nil || e.Tag == 0 {
		return nil, fmt.Errorf("no entry at %#x", at)
	}
	return e, nil
}

// resolve reads an entry and those that it completes.
func (d *dwarfData) resolve(at dwarf.Offset) (die, error) {
	e, err := d.entry(at)
	if err != nil {
		return nil, err
	}
	return d.complete(e)
}

func (d *dwarfData) complete(e *dwarf.Entry) (die, error) {
	whole := die{e}
	for range maxChain {
		to, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
		if !ok {
			if to, ok = e.Val(dwarf.AttrSpecification).(dwarf.Offset); !ok {
				break
			}
		}
		var err error
		if e, err = d.entry(to); err != nil {
			return nil, err
		}
		whole = append(whole, e)
	}
	return whole, nil
}

// field gives an attribute of the first entry that has it.
func (x die) field(a dwarf.Attr) *dwarf.Field {
	for _, e := range x {
		if f := e.AttrField(a); f != nil {
			return f
		}
	}
	return nil
}

func (x die) val(a dwarf.Attr) any {
	if f := x.field(a); f != nil {
		return f.Val
	}
	return nil
}

func (x die) flag(a dwarf.Attr) bool {
	v, _ := x.val(a).(bool)
	return v
}

func (x die) text(a dwarf.Attr) string {
	s, _ := x.val(a).(string)
	return s
}

// number gives an attribute that is a constant.
func number(e *dwarf.Entry, a dwarf.Attr) (uint64, bool) {
	switch v := e.Val(a).(type) {
	case int64:
		return uint64(v), true
	case uint64:
		return v, true
	}
	return 0, false
}

// children gives the entries directly below one.
func (d *dwarfData) children(parent *dwarf.Entry) ([]*dwarf.Entry, error) {
	if !parent.Children {
		return nil, nil
	}
	d.reader.Seek(parent.Offset)
	if _, err := d.reader.Next(); err != nil {
		return nil, err
	}
	var list []*dwarf.Entry
	for depth := 0; ; {
		if d.budget--; d.budget < 0 {
			return nil, errTooMuch
		}
		e, err := d.reader.Next()
		switch {
		case err != nil:
			return nil, err
		case e == nil:
			return list, nil
		case e.Tag == 0:
			if depth--; depth < 0 {
				return list, nil
			}
			continue
		case depth == 0:
			list = append(list, e)
		}
		if !e.Children {
			continue
		}
		if to, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset); ok && to > e.Offset {
			d.reader.Seek(to)
			continue
		}
		depth++
	}
}

// target gives the entry that an attribute refers to, be it in a type unit.
func (d *dwarfData) target(e *dwarf.Entry, a dwarf.Attr) (to dwarf.Offset, has bool, err error) {
	f := e.AttrField(a)
	if f == nil {
		return 0, false, nil
	}
	switch v := f.Val.(type) {
	case dwarf.Offset:
		return v, true, nil
	case uint64:
		if f.Class == dwarf.ClassReferenceSig {
			if to, ok := d.typeUnits[v]; ok {
				return to, true, nil
			}
		}
	}
	return 0, true, fmt.Errorf("entry at %#x refers to another file", e.Offset)
}
