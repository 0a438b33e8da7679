package probe

import (
	"errors"
	"fmt"
	"math"

	"nopal/internal/arch/arm64"
)

// each calls do for all comparisons of a condition.
func each(cond Cond, do func(Compare)) {
	switch x := cond.(type) {
	case And:
		each(x.A, do)
		each(x.B, do)
	case Or:
		each(x.A, do)
		each(x.B, do)
	case Not:
		each(x.X, do)
	case Compare:
		do(x)
	}
}

// condDepth and condSize bound conditions: branches in them have to reach.
const (
	condDepth = 64
	condSize  = 256
)

func checkCond(cond Cond) error {
	if cond == nil {
		return nil
	}
	if err := checkShape(cond, 0); err != nil {
		return err
	}
	var err error
	n := 0
	each(cond, func(x Compare) {
		n++
		if e := x.check(); err == nil && e != nil {
			err = fmt.Errorf("comparison %d of the condition: %w", n, e)
		}
	})
	if err == nil && n > condSize {
		err = fmt.Errorf("condition of %d comparisons: at most %d", n, condSize)
	}
	return err
}

func checkShape(cond Cond, depth int) error {
	if depth > condDepth {
		return fmt.Errorf("condition: more than %d levels", condDepth)
	}
	both := func(a, b Cond) error {
		if err := checkShape(a, depth+1); err != nil {
			return err
		}
		return checkShape(b, depth+1)
	}
	switch x := cond.(type) {
	case And:
		return both(x.A, x.B)
	case Or:
		return both(x.A, x.B)
	case Not:
		return checkShape(x.X, depth+1)
	case Compare:
		return nil
	}
	return errors.New("condition: a part is missing")
}

func (x Compare) check() error {
	v := x.X
	switch {
	case v.Width != 1 && v.Width != 2 && v.Width != 4 && v.Width != 8, v.Float && v.Width < 4:
		return fmt.Errorf("value of %d bytes", v.Width)
	case v.Float && v.Mask != 0:
		return errors.New("mask of a float")
	case v.Base.Kind == SavedX8:
		return errors.New("x8 of the entry is not looked at")
	case x.Op > GreaterEqual:
		return fmt.Errorf("comparison %d", x.Op)
	}
	return v.Expr.check()
}

// flags reports whether a comparison needs NZCV.
func (x Compare) flags() bool {
	return x.X.Float || x.Op > NotEqual && !x.signOnly()
}

// signOnly reports whether it asks for nothing but the sign.
func (x Compare) signOnly() bool {
	return x.X.Signed && x.X.Mask == 0 && x.Y.Int == 0 && (x.Op == Less || x.Op == GreaterEqual)
}

// condition goes on if the condition holds, else it leaves the probe.
func (c *compiler) condition() {
	flags, calls := false, false
	each(c.p.Cond, func(x Compare) {
		flags = flags || x.flags()
		calls = calls || x.X.loads()
	})
	if calls {
		c.frame()
	}
	if flags {
		c.MrsNZCV(arm64.X17)
	}
	yes := c.Label()
	c.branch(c.p.Cond, true, yes)
	if flags {
		c.MsrNZCV(arm64.X17)
	}
	c.goOn(c.t.Else)
	c.Bind(yes)
	if flags {
		c.MsrNZCV(arm64.X17)
	}
	c.unframe()
}

// branch goes to a label if the condition is what, else on.
func (c *compiler) branch(cond Cond, what bool, to arm64.Label) {
	switch x := cond.(type) {
	case Not:
		c.branch(x.X, !what, to)
	case And:
		c.both(x.A, x.B, what, false, to)
	case Or:
		c.both(x.A, x.B, what, true, to)
	case Compare:
		c.compare(x, what, to)
	}
}

// both does so for two conditions; decided is the value of the first with which the
// second does not count.
func (c *compiler) both(a, b Cond, what, decided bool, to arm64.Label) {
	if what == decided {
		c.branch(a, what, to)
		c.branch(b, what, to)
		return
	}
	over := c.Label()
	c.branch(a, decided, over)
	c.branch(b, what, to)
	c.Bind(over)
}

// compare does so for a comparison. What cannot be loaded compares false.
func (c *compiler) compare(x Compare, what bool, to arm64.Label) {
	fault := c.Label()
	r := c.eval(x.X.Expr, fault)
	if x.X.Float {
		c.compareFloat(x, r, what, to)
	} else {
		c.compareInt(x, r, what, to)
	}
	if what {
		c.Bind(fault)
		return
	}
	over := c.Label()
	if x.X.loads() {
		c.B(over)
	}
	c.Bind(fault)
	if x.X.loads() {
		c.B(to)
	}
	c.Bind(over)
}

// codes are the conditions of B.cond for each Op, of unsigned and of signed integers.
var codes = [2][6]arm64.CondCode{
	{arm64.EQ, arm64.NE, arm64.CC, arm64.LS, arm64.HI, arm64.CS},
	{arm64.EQ, arm64.NE, arm64.LT, arm64.LE, arm64.GT, arm64.GE},
}

func (c *compiler) compareInt(x Compare, r arm64.Reg, what bool, to arm64.Label) {
	v, y := x.X, x.Y.Int
	const d, tmp = arm64.X10, arm64.X11
	bits := 8 * v.Width
	switch {
	case v.Mask != 0:
		mask := v.Mask & (1<<(bits-1)<<1 - 1)
		if arm64.IsBitmask(mask) {
			c.AndImm(d, r, mask)
		} else {
			c.MovImm(tmp, mask)
			c.And(d, r, tmp, 0)
		}
		r = d
	case bits < 64 && v.Signed:
		c.Sbfx(d, r, 0, bits)
		r = d
	case bits < 64:
		c.Ubfx(d, r, 0, bits)
		r = d
	}
	switch {
	case x.signOnly():
		if (x.Op == Less) == what {
			c.Tbnz(r, 63, to)
		} else {
			c.Tbz(r, 63, to)
		}
	case x.Op <= NotEqual:
		switch {
		case y == 0:
		case y > -1<<12 && y < 1<<12:
			c.AddImm(tmp, r, -y)
			r = tmp
		default:
			c.MovImm(tmp, uint64(y))
			c.Eor(tmp, tmp, r, 0)
			r = tmp
		}
		if (x.Op == Equal) == what {
			c.Cbz(r, to)
		} else {
			c.Cbnz(r, to)
		}
	default:
		if y >= 0 && y < 1<<12 {
			c.CmpImm(r, y)
		} else {
			c.MovImm(tmp, uint64(y))
			c.Cmp(r, tmp)
		}
		signed := 0
		if v.Signed && v.Mask == 0 {
			signed = 1
		}
		c.bcond(codes[signed][x.Op], what, to)
	}
}

func (c *compiler) bcond(code arm64.CondCode, what bool, to arm64.Label) {
	if !what {
		code = code.Invert()
	}
	c.Bcond(code, to)
}

// order maps the bits of a float to an integer that compares as the float does: its
// magnitude, with its sign. Both zeros become 0.
func order(bits uint64, width int) int64 {
	sign := uint64(1) << (8*width - 1)
	if bits&sign != 0 {
		return -int64(bits &^ sign)
	}
	return int64(bits)
}

// floatBits gives the bits of a constant and those of infinity.
func floatBits(v float64, width int) (bits, inf uint64) {
	if width == 4 {
		return uint64(math.Float32bits(float32(v))), uint64(math.Float32bits(float32(math.Inf(1))))
	}
	return math.Float64bits(v), math.Float64bits(math.Inf(1))
}

// compareFloat compares by integers: FCMP would set bits of FPSR.
func (c *compiler) compareFloat(x Compare, r arm64.Reg, what bool, to arm64.Label) {
	const d, tmp = arm64.X11, arm64.X12
	bits, inf := floatBits(x.Y.Float, x.X.Width)
	if math.IsNaN(x.Y.Float) {
		if (x.Op == NotEqual) == what {
			c.B(to)
		}
		return
	}
	over, positive := c.Label(), c.Label()
	sign := 8*x.X.Width - 1
	c.Ubfx(d, r, 0, sign)
	c.MovImm(tmp, inf)
	c.Cmp(d, tmp)
	if (x.Op == NotEqual) == what { // as a NaN compares
		c.Bcond(arm64.HI, to)
	} else {
		c.Bcond(arm64.HI, over)
	}
	c.Tbz(r, sign, positive)
	c.Sub(d, arm64.XZR, d, 0)
	c.Bind(positive)
	c.MovImm(tmp, uint64(order(bits, x.X.Width)))
	c.Cmp(d, tmp)
	c.bcond(codes[1][x.Op], what, to)
	c.Bind(over)
}
