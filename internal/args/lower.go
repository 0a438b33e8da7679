package args

import (
	"fmt"
	"strings"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// operand is where the machine's ABI, or the user, says that the value is.
func (s *spec) operand(m trace.Machine) (probe.Operand, error) {
	abi := conventions[m]
	if s.place != "" {
		kind, n, ok := abi.placeOf(s.place)
		if !ok {
			return probe.Operand{}, fmt.Errorf("%s: %%%s is not a place of %v", s.name, s.place, m)
		}
		switch kind {
		case placeX:
			if why := abi.unfit(n); why != "" {
				return probe.Operand{}, fmt.Errorf("%s: %s", s.name, why)
			}
			return probe.Operand{Kind: probe.RegX, N: n}, nil
		case placeV:
			return probe.Operand{Kind: probe.RegV, N: n}, nil
		}
		return probe.Operand{Kind: probe.Stack, Off: int64(n-1) * 8}, nil
	}
	switch s.from {
	case fromRet:
		return probe.Operand{Kind: probe.RegX, N: abi.result}, nil
	case fromFPRet:
		return probe.Operand{Kind: probe.RegV}, nil
	case fromArg:
		if registers := len(abi.integer); s.number > registers {
			return probe.Operand{Kind: probe.Stack, Off: int64(s.number-registers-1) * 8}, nil
		}
		return probe.Operand{Kind: probe.RegX, N: abi.integer[s.number-1]}, nil
	}
	if s.number > abi.floats {
		return probe.Operand{}, fmt.Errorf("%s is on the stack, where depends on the other arguments: say where, as %s%%stack+1", s.name, s.name)
	}
	return probe.Operand{Kind: probe.RegV, N: s.number - 1}, nil
}

// param finds the parameter, or the result, that a spec means. nil: DWARF has none there.
func (s *spec) param(m trace.Machine, sig *image.Signature) *image.Param {
	if sig == nil || s.place != "" {
		return nil
	}
	switch s.from {
	case fromRet, fromFPRet:
		if p := sig.Result; p != nil && len(p.Place.Pieces) > 0 && (p.Place.Pieces[0].Kind == image.InX) == (s.from == fromRet) {
			return p
		} else if p != nil && p.Place.Address != nil && s.from == fromRet {
			return p // in memory
		}
		return nil
	case fromName:
		for i := range sig.Params {
			if sig.Params[i].Name == s.name {
				return &sig.Params[i]
			}
		}
		return nil
	}
	want, err := s.operand(m)
	if err != nil {
		return nil
	}
	for i := range sig.Params {
		p := &sig.Params[i]
		first := p.Place.Address
		if len(p.Place.Pieces) > 0 {
			first = &p.Place.Pieces[0]
		}
		if first != nil && operandOf(*first) == want {
			return p
		}
	}
	return nil
}

func operandOf(p image.Piece) probe.Operand {
	switch p.Kind {
	case image.InX:
		return probe.Operand{Kind: probe.RegX, N: p.N}
	case image.InV:
		return probe.Operand{Kind: probe.RegV, N: p.N}
	case image.InVHigh:
		return probe.Operand{Kind: probe.RegVHigh, N: p.N}
	}
	return probe.Operand{Kind: probe.Stack, Off: p.Offset}
}

// noParam is the error for a parameter that is not there.
func noParam(name string, sig *image.Signature, err error) error {
	if sig == nil {
		if err == nil {
			err = image.ErrNoDWARF
		}
		return fmt.Errorf("%s: %w: call it by its number, as arg1", name, err)
	}
	var names []string
	for _, p := range sig.Params {
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("no parameter %s: the function has none", name)
	}
	return fmt.Errorf("no parameter %s: there are %s", name, strings.Join(names, ", "))
}

// field is what records a value by hand.
func (s *spec) field(m trace.Machine) (field, error) {
	op, err := s.operand(m)
	if err != nil {
		return field{}, err
	}
	return s.fieldAt(op), nil
}

// fieldAt is what records a value that is in op.
func (s *spec) fieldAt(op probe.Operand) field {
	f := field{name: s.name}
	from := probe.Expr{Base: op}
	inline := func(size int, types ...trace.ValueType) {
		f.run = probe.Field{Size: size, Parts: []probe.Part{{From: from, Size: size}}}
		types[0].Size = uint32(size)
		f.types = types
	}
	form := s.format
	if form.kind == 0 {
		form = format{kind: 'x', bits: 64}
		if op.Kind == probe.RegV {
			form.kind = 'f'
		}
	}
	switch form.kind {
	case 'i':
		inline(form.bits/8, trace.ValueType{Kind: trace.KindInt})
	case 'u':
		inline(form.bits/8, trace.ValueType{Kind: trace.KindUint})
	case 'x':
		inline(form.bits/8, trace.ValueType{Kind: trace.KindHex})
	case 'f':
		inline(form.bits/8, trace.ValueType{Kind: trace.KindFloat})
	case 'c':
		inline(1, trace.ValueType{Kind: trace.KindChar})
	case 'p':
		inline(8, trace.ValueType{Kind: trace.KindPointer, Elem: 1}, trace.ValueType{Kind: trace.KindVoid})
	case 's':
		f.run.Mem = &probe.Mem{Addr: from, CString: true, Max: form.size}
		f.types = []trace.ValueType{{Kind: trace.KindCString}}
	case 'S':
		// std::string of libstdc++ and std::string_view turned round are told apart by DWARF only; this is the first:
		// pointer, length.
		length := probe.Expr{Base: op, Deref: []int64{8}}
		from.Deref = []int64{0}
		f.run.Mem = &probe.Mem{Addr: from, Len: &length, Max: form.size}
		f.types = []trace.ValueType{{Kind: trace.KindString}}
	}
	return f
}
