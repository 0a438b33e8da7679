package inject

import (
	"math/bits"
	"time"

	"nopal/internal/arch/arm64"
)

// fmovDX is FMOV Dd, Xn (Arm ARM C7.2, FMOV (general)): it clears the rest of the register.
const fmovDX = 0x9e670000

// nrNanosleep is arm64's number of the system call (include/uapi/asm-generic/unistd.h).
const nrNanosleep = 101

// act does what the rule says, and goes on at skip if the function is to be called.
func (e *Effect) act(env *Env, at, skip uint64) ([]uint32, error) {
	r := e.Rule
	a := arm64.NewAssembler(at)
	if r.Delay > 0 {
		wait(a, env, r.Delay)
	}
	if e.zero > 0 {
		clearMemory(a, e.zero)
	}
	for _, m := range e.moves {
		m.emit(a)
	}
	if !e.returns {
		a.BTo(skip)
		return a.Finish()
	}
	if r.Errno != 0 {
		a.MrsTPIDR(arm64.X11)
		a.MovImm(arm64.X10, uint64(r.Errno))
		a.MovImm(arm64.X12, uint64(env.Errno))
		done := a.Label()
		a.Cbz(arm64.X11, done) // before the C library has set itself up there is no errno
		a.Add(arm64.X11, arm64.X11, arm64.X12, 0)
		a.Str(4, arm64.X10, arm64.X11, 0)
		a.Bind(done)
	}
	// pt_regs.pc = lr, as override_function_with_return of the kernel.
	a.Mov(lr, caller)
	a.Ret(lr)
	return a.Finish()
}

func (m *move) emit(a *arm64.Assembler) {
	switch m.to {
	case toX:
		a.MovImm(arm64.Reg(m.n), m.bits)
	case toV:
		a.MovImm(arm64.X10, m.bits)
		a.Raw(fmovDX | uint32(arm64.X10)<<5 | uint32(m.n))
	case toStack:
		a.MovImm(arm64.X10, m.bits)
		offset, size := m.offset, m.size
		for size > 0 {
			n := 1 << (bits.Len(uint(min(size, 8))) - 1)
			a.Str(n, arm64.X10, arm64.SP, offset)
			if offset, size = offset+int64(n), size-n; size > 0 {
				a.LsrImm(arm64.X10, arm64.X10, 8*n)
			}
		}
	}
}

// clearMemory clears n bytes where x8 points: the result's place (AAPCS64 6.9).
func clearMemory(a *arm64.Assembler, n uint64) {
	a.Mov(arm64.X10, arm64.X8)
	if n >= 8 {
		a.MovImm(arm64.X11, n/8)
		again := a.Here()
		a.Str(8, arm64.XZR, arm64.X10, 0)
		a.AddImm(arm64.X10, arm64.X10, 8)
		a.AddImm(arm64.X11, arm64.X11, -1)
		a.Cbnz(arm64.X11, again)
	}
	at := int64(0)
	for rest := n % 8; rest > 0; {
		size := uint64(1) << (bits.Len64(rest) - 1)
		a.Str(int(size), arm64.XZR, arm64.X10, at)
		at, rest = at+int64(size), rest-size
	}
}

// wait lets the time pass. Signal handlers run meanwhile: the system call ends for them and is made again for the rest. Where the
// program may be killed for a system call the thread looks at the clock instead.
func wait(a *arm64.Assembler, env *Env, d time.Duration) {
	const saved, timespec = 96, 80
	pushFrames(a)
	a.StpPre(arm64.X0, arm64.X1, arm64.SP, -saved)
	a.Stp(arm64.X2, arm64.X3, arm64.SP, 16)
	a.Stp(arm64.X4, arm64.X5, arm64.SP, 32)
	a.Stp(arm64.X6, arm64.X7, arm64.SP, 48)
	a.Str(8, arm64.X8, arm64.SP, 64)
	look, done := a.Label(), a.Label()
	a.LdrLiteral(arm64.X10, env.NoSystem)
	a.Ldr(8, arm64.X10, arm64.X10, 0)
	a.Cbnz(arm64.X10, look)

	a.MovImm(arm64.X10, uint64(d/time.Second))
	a.MovImm(arm64.X11, uint64(d%time.Second))
	a.Stp(arm64.X10, arm64.X11, arm64.SP, timespec)
	again := a.Here()
	a.AddImm(arm64.X0, arm64.SP, timespec)
	a.AddImm(arm64.X1, arm64.SP, timespec) // what remains
	a.MovImm(arm64.X8, nrNanosleep)
	a.Svc()
	const eintr = 4
	a.AddImm(arm64.X0, arm64.X0, eintr)
	a.Cbz(arm64.X0, again)
	a.B(done)

	a.Bind(look)
	high, low := bits.Mul64(uint64(d), env.Frequency)
	ticks, _ := bits.Div64(high, low, uint64(time.Second))
	a.LdrLiteral(arm64.X11, ticks)
	a.MrsCounter(arm64.X10)
	spin := a.Here()
	a.Yield()
	a.MrsCounter(arm64.X12)
	a.Sub(arm64.X12, arm64.X12, arm64.X10, 0)
	a.Sub(arm64.X12, arm64.X12, arm64.X11, 0)
	a.Tbnz(arm64.X12, 63, spin)

	a.Bind(done)
	a.Ldp(arm64.X2, arm64.X3, arm64.SP, 16)
	a.Ldp(arm64.X4, arm64.X5, arm64.SP, 32)
	a.Ldp(arm64.X6, arm64.X7, arm64.SP, 48)
	a.Ldr(8, arm64.X8, arm64.SP, 64)
	a.LdpPost(arm64.X0, arm64.X1, arm64.SP, saved)
	popFrames(a)
}
