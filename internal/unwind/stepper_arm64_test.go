package unwind

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/arch/arm64"
	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// fixture returns the path of a compiled test program.
func fixture(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("NOPAL_FIXTURES")
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); dir == "" || err != nil {
		t.Skipf("no test program %s below $NOPAL_FIXTURES", name)
	}
	return path
}

// stepper runs a program of one thread instruction by instruction.
type stepper struct {
	t   *testing.T
	pid int
	mem *tracee.Memory
}

// startStepper starts a program and runs it up to its first breakpoint, behind which it
// stands then.
func startStepper(t *testing.T, path string, lazy bool, args ...string) *stepper {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	env := []string{}
	if !lazy {
		env = append(env, "LD_BIND_NOW=1") // symbols are looked for in thousands of steps
	}
	p, err := os.StartProcess(path, append([]string{path}, args...), &os.ProcAttr{
		Files: []*os.File{null, null, os.Stderr}, Env: env, Sys: &syscall.SysProcAttr{Ptrace: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &stepper{t: t, pid: p.Pid}
	t.Cleanup(func() {
		_ = p.Kill()
		_, _ = p.Wait()
	})
	if sig := s.wait(); sig != syscall.SIGTRAP { // execve
		t.Fatalf("program starts with %v", sig)
	}
	if s.mem, err = tracee.OpenMemory(s.pid); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.mem.Close() })
	s.cont()
	s.skip()
	return s
}

// wait returns the signal that the program stops with, 0 when it has ended.
func (s *stepper) wait() syscall.Signal {
	s.t.Helper()
	var ws syscall.WaitStatus
	for {
		_, err := syscall.Wait4(s.pid, &ws, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			if err != nil {
				s.t.Fatal(err)
			}
			break
		}
	}
	if !ws.Stopped() {
		s.t.Fatalf("program has ended: %#x", uint32(ws))
	}
	return ws.StopSignal()
}

// cont runs the program to the next breakpoint.
func (s *stepper) cont() {
	s.t.Helper()
	sig := syscall.Signal(0)
	for {
		if err := syscall.PtraceCont(s.pid, int(sig)); err != nil {
			s.t.Fatal(err)
		}
		if sig = s.wait(); sig == syscall.SIGTRAP {
			return
		}
	}
}

// skip moves the program past a breakpoint of its own.
func (s *stepper) skip() {
	s.t.Helper()
	b := s.rawRegs()
	binary.LittleEndian.PutUint64(b[32*8:], binary.LittleEndian.Uint64(b[32*8:])+insnSize)
	if err := sys.PtraceSetRegSet(s.pid, sys.RegSetGeneral, b[:]); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stepper) rawRegs() (b [34 * 8]byte) {
	s.t.Helper()
	if _, err := sys.PtraceGetRegSet(s.pid, sys.RegSetGeneral, b[:]); err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *stepper) regs() (r Regs) {
	s.t.Helper()
	b := s.rawRegs()
	for i := range r.X {
		r.X[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	r.SP, r.PC = binary.LittleEndian.Uint64(b[31*8:]), binary.LittleEndian.Uint64(b[32*8:])
	return r
}

func (s *stepper) insn(pc uint64) uint32 {
	insn, err := s.mem.ReadUint32(pc)
	if err != nil {
		s.t.Fatal(err)
	}
	return insn
}

// step executes one instruction, or all from a load-exclusive to behind its loop, which
// would never end in single steps: an exception clears the monitor.
func (s *stepper) step(pc uint64) {
	s.t.Helper()
	const (
		exclusive, exclusiveMask = 0x08400000, 0x3fc00000
		cbnz, cbnzMask           = 0x35000000, 0x7f000000
	)
	if s.insn(pc)&exclusiveMask != exclusive {
		s.resume(syscall.PtraceSingleStep)
		return
	}
	// Where all ways from here meet again: behind the last branch to before it.
	end := uint64(0)
	for at := pc + insnSize; at < pc+16*insnSize; at += insnSize {
		insn := s.insn(at)
		if to, ok := arm64.BranchTarget(at, insn); ok && to <= pc && insn&cbnzMask == cbnz {
			end = at + insnSize
		}
	}
	if end == 0 {
		s.t.Fatalf("no end of the exclusive loop at %#x", pc)
	}
	s.runTo(end)
}

func (s *stepper) resume(how func(int) error) {
	s.t.Helper()
	if err := how(s.pid); err != nil {
		s.t.Fatal(err)
	}
	for {
		sig := s.wait()
		if sig == syscall.SIGTRAP {
			return
		}
		// A step into the handler.
		if _, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_SINGLESTEP, uintptr(s.pid), 0, uintptr(sig), 0, 0); errno != 0 {
			s.t.Fatal(errno)
		}
	}
}

// runTo runs the program to one of some addresses, by breakpoints there.
func (s *stepper) runTo(addrs ...uint64) {
	s.t.Helper()
	saved := map[uint64][]byte{}
	for _, addr := range addrs {
		if saved[addr] != nil {
			continue
		}
		saved[addr] = make([]byte, insnSize)
		if _, err := s.mem.ReadAt(saved[addr], int64(addr)); err != nil {
			s.t.Fatal(err)
		}
		const brk = "\x00\x00\x20\xd4"
		if _, err := s.mem.WriteAt([]byte(brk), int64(addr)); err != nil {
			s.t.Fatal(err)
		}
	}
	s.resume(func(pid int) error { return syscall.PtraceCont(pid, 0) })
	if pc := s.regs().PC; saved[pc] == nil {
		s.t.Fatalf("ran to %#x and not to %#x", pc, addrs)
	}
	for addr, b := range saved {
		if _, err := s.mem.WriteAt(b, int64(addr)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// open is a call that is open: what the truth is made of.
type open struct {
	ret    uint64 // where it returns to
	sp     uint64 // at the call
	signal bool   // it is the handler of a signal that interrupted ret
}

// truth follows calls and returns.
type truth struct {
	s    *stepper
	open []open

	same func(a, b uint64) bool
}

const (
	ret, retMask = 0xd65f0000, 0xfefff000 // RETAA and the like, too
	brMask       = 0xfefff000
	br           = 0xd61f0000
)

// after takes note of an instruction that was executed with the registers before.
func (w *truth) after(before, now *Regs, insn uint32) {
	u := uint64(0)
	if n := len(w.open); n > 0 {
		u = w.open[n-1].ret
	}
	isCall := insn&0xfc000000 == 0x94000000 || insn&0xfefff000 == 0xd63f0000
	sigreturn := insn == svc0 && before.X[8] == 139
	switch {
	case sigreturn:
		for n := len(w.open); n > 0; n-- {
			if w.open[n-1].signal {
				w.open = w.open[:n-1]
				break
			}
		}
	case isCall && now.PC != before.PC+insnSize:
		w.open = append(w.open, open{ret: before.PC + insnSize, sp: before.SP})
	case insn&retMask == ret && now.PC == u && now.SP == w.open[len(w.open)-1].sp:
		w.open = w.open[:len(w.open)-1]
	case insn&retMask == ret, insn&brMask == br:
		// A tail call, or longjmp or an exception, which leaves the calls below it.
		for n := len(w.open); n > 0; n-- {
			o := w.open[n-1]
			if now.SP < o.sp || now.SP == o.sp && !w.same(o.ret-insnSize, now.PC) {
				break
			}
			w.open = w.open[:n-1]
		}
	}
}

// compare says where a stack differs from what is known.
func (w *truth) compare(frames []Frame) string {
	at := 1
	for i := len(w.open) - 1; i >= 0; i-- {
		o := w.open[i]
		if at >= len(frames) {
			return fmt.Sprintf("frame %d is missing, which returns to %#x", at, o.ret)
		}
		f := frames[at]
		if f.PC != o.ret || o.signal != (f.Kind == Signal) || f.Exact != o.signal {
			return fmt.Sprintf("frame %d is %+v, and should return to %#x", at, f, o.ret)
		}
		at++
	}
	return ""
}

// everyStep unwinds a program at each instruction between its two breakpoints.
// It returns how many there were, and how often the stack was not known, by reason.
func everyStep(t *testing.T, path string, o Options, lazy bool, args ...string) (steps int, unknown map[string]int) {
	t.Helper()
	s := startStepper(t, path, lazy, args...)
	u := New(s.pid, s.mem, o)
	w := &truth{s: s}
	w.same = func(a, b uint64) bool {
		i, ok := u.codeAt(a)
		if !ok || u.object(i) == nil {
			return false
		}
		f, _ := u.object(i).frameAt(a)
		return f != nil && f.start <= b && b < f.end
	}
	regs := s.regs()
	base, err := u.Stack(regs)
	if err != nil {
		t.Fatalf("at the start: %v (%+v)", err, base)
	}
	for i := len(base) - 1; i > 0; i-- {
		w.open = append(w.open, open{ret: base[i].PC, sp: base[i-1].CFA})
	}
	unknown = map[string]int{}
	wrong, inVDSO, stacks, deepest := 0, 0, 0, 0
	var took, warm time.Duration
	visits := map[uint64]int{}
	defer func() {
		t.Logf("%d stacks, %v for each; again: %v for %d frames", stacks, took/time.Duration(stacks+1), warm, deepest+1)
	}()
	const enough = 100
	const most = 100000
	for ; steps < most; steps++ {
		insn := s.insn(regs.PC)
		const last = 0xd4200220 // brk #17
		if insn == last {
			return steps, unknown
		}
		i, _ := u.codeAt(regs.PC)
		if o := u.maps[i]; o.Path != path && strings.Contains(path, "throw") {
			// Another object's code: to where it returns, or throws.
			back := []uint64{w.open[len(w.open)-1].ret}
			for _, o := range w.open {
				back = append(back, u.padsOf(o.ret-insnSize)...)
			}
			s.runTo(back...)
			now := s.regs()
			for n := len(w.open); n > 0; n-- {
				if o := w.open[n-1]; now.PC != o.ret && (now.SP < o.sp || now.SP == o.sp && !w.same(o.ret-insnSize, now.PC)) {
					break
				}
				w.open = w.open[:n-1]
				if now.PC == back[0] {
					break
				}
			}
			regs = now
			continue
		}
		if u.maps[i].Path == "[vdso]" {
			// It tries again as long as single steps take longer than the time stands.
			if inVDSO++; inVDSO%enough == 0 {
				s.runTo(w.open[len(w.open)-1].ret)
				w.open = w.open[:len(w.open)-1]
				regs = s.regs()
				continue
			}
		} else {
			inVDSO = 0
		}
		s.step(regs.PC)
		now := s.regs()
		if now == regs {
			continue // stopped before it
		}
		if handler := now.X[30]; now.PC != regs.PC+insnSize && now.X[29] != regs.X[29] && w.entersHandler(u, &now, handler) {
			clear(u.pages)
			at := now.SP + sigSP + 8
			pc, err := s.mem.ReadUint64(at)
			if err != nil {
				t.Fatal(err)
			}
			// The instruction before it was executed, or not.
			if pc != regs.PC {
				w.after(&regs, &Regs{X: regs.X, SP: regs.SP, PC: pc}, insn)
			}
			w.open = append(w.open, open{ret: pc, sp: regs.SP, signal: true})
		} else {
			w.after(&regs, &now, insn)
		}
		regs = now
		if visits[regs.PC]++; visits[regs.PC] > 2 {
			continue
		}
		if len(w.open) > deepest {
			// How long a stack takes when all of it is known.
			deepest = len(w.open)
			const often = 20
			_, _ = u.Stack(regs)
			began := time.Now()
			for range often {
				_, _ = u.Stack(regs)
			}
			warm = time.Since(began) / often
		}
		began := time.Now()
		stacks++
		frames, err := u.Stack(regs)
		took += time.Since(began)
		var e *UnknownError
		switch {
		case errors.As(err, &e):
			key := fmt.Sprintf("%s: %s", filepath.Base(e.Object), e.Reason)
			if unknown[key] == 0 {
				t.Logf("step %d at %#x: %v (%d frames)", steps, regs.PC, err, len(frames))
			}
			unknown[key]++
			// What is known has to be right.
			if what := w.compare(frames); what != "" && !strings.HasPrefix(what, fmt.Sprintf("frame %d is missing", len(frames))) {
				t.Errorf("step %d at %#x: %s", steps, regs.PC, what)
				wrong++
			}
		case err != nil:
			t.Fatal(err)
		default:
			if what := w.compare(frames); what != "" {
				t.Errorf("step %d at %#x (after %#x): %s", steps, regs.PC, insn, what)
				wrong++
			} else if len(frames) != len(w.open)+1 {
				t.Errorf("step %d at %#x: %d frames and not %d", steps, regs.PC, len(frames), len(w.open)+1)
				wrong++
			}
		}
		if wrong > 5 {
			t.FailNow()
		}
	}
	t.Fatalf("no end after %d instructions", steps)
	return 0, nil
}

// padsOf gives the landing pads of a function.
func (u *Unwinder) padsOf(pc uint64) []uint64 {
	if i, ok := u.codeAt(pc); ok && u.object(i) != nil {
		if f, _ := u.object(i).frameAt(pc); f != nil {
			return f.pads(u.mem)
		}
	}
	return nil
}

// entersHandler reports whether a handler is about to begin: its return address is
// that of the code that returns from handlers, and the kernel's frame is at sp.
func (w *truth) entersHandler(u *Unwinder, now *Regs, lr uint64) bool {
	clear(u.pages)
	st := state{pc: lr, sp: now.SP}
	if _, ok := u.signalFrame(&st); !ok {
		return false
	}
	magic, _ := u.word(now.SP + sigReserved)
	return magic == fpsimdWord
}
