package probe

// Cond is a condition on the values at a function's entry or exit: [And], [Or], [Not]
// or [Compare].
type Cond interface{ cond() }

// And holds if both do. B is not looked at if A does not hold.
type And struct{ A, B Cond }

// Or holds if one does.
type Or struct{ A, B Cond }

// Not holds if X does not.
type Not struct{ X Cond }

// Compare compares a value with a constant.
type Compare struct {
	X  Value
	Op Op
	Y  Constant
}

func (And) cond()     {}
func (Or) cond()      {}
func (Not) cond()     {}
func (Compare) cond() {}

// Value is what is compared.
type Value struct {
	Expr
	Width  int    // 1, 2, 4 or 8: that many low bytes count
	Signed bool   // they are a signed integer
	Float  bool   // they are a float (Width 4 or 8)
	Mask   uint64 // if not 0, only these bits of an integer count; it is compared unsigned then
}

// Constant is Int, or Float where the value is one (rounded to its width).
type Constant struct {
	Int   int64 // the bits of an unsigned constant
	Float float64
}

// Op is a comparison.
type Op uint8

// The comparisons.
const (
	Equal Op = iota
	NotEqual
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Loads reports whether a condition reads memory that the code has to be careful with.
func Loads(c Cond) bool {
	found := false
	each(c, func(x Compare) { found = found || x.X.loads() })
	return found
}

// loads reports whether something has to be called to get a value.
func (e *Expr) loads() bool { return e.Base.Kind == Stack || len(e.Deref) > 0 }
