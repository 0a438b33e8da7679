package inject

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"nopal/internal/image"
	"nopal/internal/probe"
	"nopal/trace"
)

// Effect is what one rule does at one function.
type Effect struct {
	Rule  *Rule
	Index int // of the rule
	cond  probe.Cond
	// returns: the function is not called; moves and zero are its result. Otherwise moves are arguments.
	returns bool
	moves   []move
	zero    uint64 // bytes to clear where x8 points
}

// moveTo is where a move puts its value.
type moveTo uint8

const (
	toX     moveTo = iota
	toV            // the low 8 bytes; the rest is cleared
	toStack        // offset from sp at the call
)

// move puts a value into a register or an argument's place on the stack.
type move struct {
	to     moveTo
	n      int
	offset int64
	size   int // of toStack: bytes
	bits   uint64
}

// Resolve says what the rule, number index, does at a function of which DWARF says sig; nil with err as the reason if that is nothing.
// It refuses what makes no sense there.
func (r *Rule) Resolve(index int, name string, sig *image.Signature, sigErr error) (*Effect, error) {
	e := &Effect{Rule: r, Index: index}
	fail := func(format string, a ...any) (*Effect, error) {
		return nil, fmt.Errorf("rule %q at %s: "+format, append([]any{r.Text, name}, a...)...)
	}
	if r.If != nil {
		if sig != nil && r.If.Missing(trace.MachineARM64, sig) != "" {
			return fail("its condition asks for %s, and the function takes (%s)", r.If.Missing(trace.MachineARM64, sig), paramNames(sig))
		}
		entry, _, err := r.If.Compile(trace.MachineARM64, sig, sigErr)
		if err != nil {
			return fail("%w", err)
		}
		e.cond = entry
	}
	for _, a := range r.Set {
		m, err := assign(a, sig, sigErr)
		if err != nil {
			return fail("%w", err)
		}
		e.moves = append(e.moves, m...)
	}
	if r.Return.Kind == None {
		return e, nil
	}
	e.returns = true
	switch {
	case sig != nil && sig.NoReturn || sig == nil && neverReturns(name):
		return fail("the function never returns, and what follows its call is not meant to run")
	case sig == nil:
		return e, r.returnUnknown(e, name, sigErr)
	}
	if err := r.returnTyped(e, sig); err != nil {
		return fail("%w", err)
	}
	return e, nil
}

// neverReturns knows the functions of C libraries that do not return, for objects without DWARF.
func neverReturns(name string) bool {
	return slices.Contains([]string{"abort", "exit", "_exit", "_Exit", "quick_exit", "longjmp", "_longjmp", "siglongjmp", "pthread_exit", "thrd_exit",
		"__stack_chk_fail", "__assert_fail", "__assert", "__fortify_fail", "__libc_fatal", "__cxa_throw", "__cxa_rethrow", "_Unwind_Resume", "_start", "__libc_start_main"}, name)
}

// returnUnknown is for a function without DWARF: a number is a number, and of what size `zero` would be is not known.
func (r *Rule) returnUnknown(e *Effect, name string, why error) error {
	switch r.Return.Kind {
	case Integer:
		e.moves = []move{{to: toX, bits: r.Return.Bits}}
	case Float:
		e.moves = []move{{to: toV, bits: math.Float64bits(r.Return.Float)}}
	case Zero:
		return fmt.Errorf("rule %q at %s: how much `return zero` is to clear is not known: %w", r.Text, name, why)
	}
	return nil
}

// returnTyped is for a function whose result is known.
func (r *Rule) returnTyped(e *Effect, sig *image.Signature) error {
	v := r.Return
	result := sig.Result
	switch {
	case result == nil && (v.Kind == Nothing || v.Kind == Zero):
		return nil
	case result == nil:
		return fmt.Errorf("the function returns nothing: write only `return`")
	case v.Kind == Nothing:
		return fmt.Errorf("the function returns %s: say what it is to return", typeName(result.Type))
	case result.Place.Unknown != "":
		return fmt.Errorf("it is not known how the function returns its %s: %s", typeName(result.Type), result.Place.Unknown)
	case result.Place.Address != nil && v.Kind != Zero:
		return fmt.Errorf("the function returns %s in memory: only `return zero` can be done", typeName(result.Type))
	case result.Place.Address != nil && result.Type.Size == 0:
		return fmt.Errorf("the size of %s is not known", typeName(result.Type))
	case result.Place.Address != nil:
		e.zero = result.Type.Size
		return nil
	}
	var err error
	e.moves, err = fill(result, v)
	return err
}

func typeName(t *image.Type) string {
	switch {
	case t == nil:
		return "something"
	case t.Name != "":
		return t.Name
	case t.Tag != "":
		return t.Tag
	case t.Kind == image.Pointer:
		return "a pointer"
	}
	return fmt.Sprintf("a %v of %d bytes", t.Kind, t.Size)
}

// fill puts a value into all the pieces that a parameter or result consists of.
func fill(p *image.Param, v Value) ([]move, error) {
	pieces := p.Place.Pieces
	var bits uint64
	switch {
	case len(pieces) == 0:
		return nil, fmt.Errorf("where %s is is not known", typeName(p.Type))
	case v.Kind == Zero:
	case len(pieces) > 1 || pieces[0].At != 0:
		return nil, fmt.Errorf("%s is not a single number: only zero fits", typeName(p.Type))
	default:
		var err error
		if bits, err = convert(v, p.Type); err != nil {
			return nil, err
		}
	}
	var list []move
	for _, piece := range pieces {
		m := move{n: piece.N, offset: piece.Offset, size: piece.Size, bits: bits}
		switch piece.Kind {
		case image.InX:
			m.to = toX
		case image.InV:
			m.to = toV
		case image.InVHigh:
			continue // cleared with the low half
		case image.InStack:
			m.to = toStack
		}
		list = append(list, m)
	}
	return list, nil
}

// convert gives a value as the bits of a type, extended to a register as the type is.
func convert(v Value, t *image.Type) (uint64, error) {
	if t == nil {
		return 0, fmt.Errorf("the type is not known")
	}
	if t.Kind == image.Float {
		switch t.Size {
		case 4:
			return uint64(math.Float32bits(float32(v.Float))), nil
		case 8:
			return math.Float64bits(v.Float), nil
		}
		return 0, fmt.Errorf("%s has %d bytes: only zero fits", typeName(t), t.Size)
	}
	signed := false
	switch t.Kind {
	case image.Int:
		signed = true
	case image.Enum:
		signed = t.Signed
	case image.Uint, image.Bool, image.Char, image.Pointer:
	default:
		return 0, fmt.Errorf("%s is not a single number: only zero fits", typeName(t))
	}
	if v.Kind == Float {
		return 0, fmt.Errorf("%s is no floating-point number", typeName(t))
	}
	if t.Size == 0 || t.Size > 8 {
		return 0, fmt.Errorf("%s has %d bytes: only zero fits", typeName(t), t.Size)
	}
	shift := 64 - 8*uint(t.Size)
	low, high := int64(math.MinInt64)>>shift, uint64(math.MaxUint64)>>shift
	if v.Below && int64(v.Bits) < low || !v.Below && v.Bits > high || t.Kind == image.Bool && v.Bits > 1 {
		return 0, fmt.Errorf("%s does not fit %s", v.Text, typeName(t))
	}
	if signed {
		return uint64(int64(v.Bits) << shift >> shift), nil
	}
	return v.Bits << shift >> shift, nil
}

// argument reads arg3 and fparg1.
func argument(name string) (fp bool, n int, ok bool) {
	digits, fp := strings.CutPrefix(name, "fparg")
	if !fp {
		if digits, ok = strings.CutPrefix(name, "arg"); !ok {
			return false, 0, false
		}
	}
	n, err := strconv.Atoi(digits)
	return fp, n, err == nil && n >= 1 && digits[0] != '+'
}

// regArgs is how many arguments of each kind AAPCS64 6.8.2 passes in registers.
const regArgs = 8

// assign is what `set name=value` does.
func assign(a Assignment, sig *image.Signature, sigErr error) ([]move, error) {
	fp, n, numbered := argument(a.Name)
	if !numbered && sig == nil {
		return nil, fmt.Errorf("set %s: %w: call it arg1", a.Name, sigErr)
	}
	m := move{to: toX, n: n - 1, size: 8, bits: a.Value.Bits}
	switch {
	case fp && n > regArgs:
		return nil, fmt.Errorf("set %s: it is on the stack, where depends on the other arguments", a.Name)
	case fp:
		m.to = toV
	case n > regArgs:
		m.to, m.offset = toStack, int64(n-regArgs-1)*8
	}
	if sig != nil {
		for i := range sig.Params {
			p := &sig.Params[i]
			if !numbered && p.Name != a.Name || numbered && !holds(p, m) {
				continue
			}
			if p.Place.Unknown != "" {
				return nil, fmt.Errorf("set %s: %s", a.Name, p.Place.Unknown)
			}
			moves, err := fill(p, a.Value)
			if err != nil {
				err = fmt.Errorf("set %s: %w", a.Name, err)
			}
			return moves, err
		}
		if !numbered || !sig.Variadic {
			return nil, fmt.Errorf("set %s: no such argument, the function takes (%s)", a.Name, paramNames(sig))
		}
	}
	switch {
	case a.Value.Kind == Float && !fp:
		return nil, fmt.Errorf("set %s: it is no floating-point argument: those are fparg1 to fparg8", a.Name)
	case fp:
		m.bits = math.Float64bits(a.Value.Float)
	}
	return []move{m}, nil
}

func paramNames(sig *image.Signature) string {
	var names []string
	for _, p := range sig.Params {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

// holds reports whether a parameter begins where m goes to.
func holds(p *image.Param, m move) bool {
	if len(p.Place.Pieces) == 0 {
		return false
	}
	first := p.Place.Pieces[0]
	switch first.Kind {
	case image.InX:
		return m.to == toX && first.N == m.n
	case image.InV:
		return m.to == toV && first.N == m.n
	case image.InStack:
		return m.to == toStack && first.Offset == m.offset
	}
	return false
}
