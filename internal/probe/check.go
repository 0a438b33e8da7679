package probe

import (
	"errors"
	"fmt"
)

// wordsOf is how many words of payload so many bytes take.
func wordsOf(size int) int { return (size + 7) / 8 }

// check reports what cannot be made code of.
func (p *Program) check(exit bool) error {
	if p.Number >= 1<<numberBits {
		return fmt.Errorf("probe number %d: more than %d bits", p.Number, numberBits)
	}
	if p.PayloadMax < 0 || p.PayloadMax > PayloadLimit {
		return fmt.Errorf("payload of %d bytes: at most %d", p.PayloadMax, PayloadLimit)
	}
	for i, f := range p.Fields {
		if err := f.check(); err != nil {
			return fmt.Errorf("field %d: %w", i, err)
		}
	}
	if n, limit := fixed(p.Fields), p.payloadMax(); n > limit {
		return fmt.Errorf("payload of %d bytes and more: at most %d", n, limit)
	}
	switch saved := p.usesSavedX8(); {
	case saved && !exit:
		return errors.New("x8 of the entry: it is x8 there")
	case exit && p.SaveX8:
		return errors.New("x8 is to be saved: it is not known any more")
	}
	return checkCond(p.Cond)
}

// usesSavedX8 reports whether a field has to do with x8 at the entry.
func (p *Program) usesSavedX8() bool {
	for _, f := range p.Fields {
		if m := f.Mem; m != nil && (m.Addr.Base.Kind == SavedX8 || m.Len != nil && m.Len.Base.Kind == SavedX8) {
			return true
		}
		for _, part := range f.Parts {
			if part.From.Base.Kind == SavedX8 {
				return true
			}
		}
	}
	return false
}

// numberBits is the size of a probe's number in a RECORD word.
const numberBits = 18

func (f *Field) check() error {
	if m := f.Mem; m != nil {
		if f.Size != 0 || len(f.Parts) != 0 {
			return fmt.Errorf("both inline and in memory")
		}
		if m.Max < 1 || m.Max > MemMax {
			return fmt.Errorf("limit of %d bytes: not in 1..%d", m.Max, MemMax)
		}
		if err := m.Addr.check(); err != nil {
			return err
		}
		if m.Len != nil {
			return m.Len.check()
		}
		return nil
	}
	if f.Size < 1 || f.Size > PayloadLimit {
		return fmt.Errorf("size of %d bytes: not in 1..%d", f.Size, PayloadLimit)
	}
	for _, part := range f.Parts {
		if part.Size < 1 || part.Size > 8 || part.Off < 0 || part.Off+part.Size > f.Size || part.Off%8+part.Size > 8 {
			return fmt.Errorf("part of %d bytes at %d of %d: outside, or across a word", part.Size, part.Off, f.Size)
		}
		if err := part.From.check(); err != nil {
			return err
		}
	}
	return nil
}

func (e *Expr) check() error {
	b := e.Base
	switch {
	case b.Kind > SavedX8:
		return fmt.Errorf("operand of kind %d", b.Kind)
	case b.Kind <= RegVHigh && (b.N < 0 || b.N > 31):
		return fmt.Errorf("register %d", b.N)
	case b.Kind == RegX && b.N >= 9 && b.N <= 17:
		return fmt.Errorf("register x%d has no value there", b.N)
	}
	return nil
}
