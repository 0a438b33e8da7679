package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nopal/internal/args"
	"nopal/internal/entry"
	"nopal/internal/image"
	"nopal/internal/tracee"
)

// fixture returns the path of a compiled test program.
func fixture(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("NOPAL_FIXTURES")
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); dir == "" || err != nil {
		if os.Getenv("CI") == "true" && entry.CounterFrequency() != 0 {
			t.Fatalf("no test program %s below $NOPAL_FIXTURES", name)
		}
		t.Skipf("no test program %s below $NOPAL_FIXTURES", name)
	}
	if _, err := entry.Load(); err != nil {
		t.Skip(err)
	}
	return path
}

// running starts a program with a pipe as its standard input that stays open.
func running(t *testing.T, tr *tracee.Tracer, path string, args ...string) (*tracee.Process, *strings.Builder) {
	t.Helper()
	in, keep, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := tr.Launch(t.Context(), tracee.LaunchOptions{
		Path: path, Argv: append([]string{path}, args...), Files: []*os.File{in, out, out},
	})
	if err != nil {
		t.Fatal(err)
	}
	text := &strings.Builder{}
	t.Cleanup(func() {
		_ = keep.Close()
		_ = in.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		status, err := p.WaitExit(ctx)
		if err != nil || status.Code != 0 || status.Signal != 0 {
			_ = p.Kill(9)
			t.Errorf("program %s ended with %v, %v", path, status, err)
		}
		_, _ = out.Seek(0, io.SeekStart)
		_, _ = io.Copy(text, out)
		_ = out.Close()
	})
	return p, text
}

// callers says which function calls which in test/programs/busy.c.
var callers = map[string]string{
	"b1": "b2 b3", "b2": "b3", "b3": "one", "f8": "one", "a8": "one", "one": "run main", "run": "libc.so.6", "main": "libc.so.6",
}

// TestWalkFromEveryInstruction stops threads at each instruction of the entry code
// in turn, by a breakpoint there, and walks the stack from it by frame records: the
// traced function and its caller have to be found each time.
func TestWalkFromEveryInstruction(t *testing.T) {
	reached := map[uint64]bool{}
	for _, mode := range []struct {
		name        string
		regs, stack bool
		graph       bool
	}{{"plain", false, false, false}, {"regs", true, false, false}, {"stack", true, true, false}, {"graph", false, false, true}} {
		t.Run(mode.name, func(t *testing.T) {
			walkEverywhere(t, Options{Regs: mode.regs, Stack: mode.stack, Graph: mode.graph}, reached)
		})
	}
	// What is rare is not waited for: claiming a slot against another thread, no
	// page, no system calls. All the rest has been stopped at.
	if len(reached) < 220 {
		t.Errorf("stopped at %d instructions only", len(reached))
	}
}

// The same for the code that is made for functions with arguments.
func TestWalkFromGeneratedCode(t *testing.T) {
	set, err := args.Parse([]string{"b?@arg1/i64,arg2/s", "?8@arg1/x64,arg8/x64"}, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	s, p, target, o := beginBusy(t, Options{Args: set})
	stopped := 0
	for _, c := range o.own {
		part := &c.parts[entryFused]
		for i := range part.words {
			if !after(i, func(back int) uint32 { return part.words[i-back] }) {
				stopped += walkFrom(t, p, target, o.island+target.ownOffset(o)+uint64(part.at)+4*uint64(i), frameIn(part.words, i))
			}
		}
	}
	t.Logf("stopped at %d instructions", stopped)
	if stopped < 100 {
		t.Errorf("stopped at %d instructions only", stopped)
	}
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.release(t.Context(), target); err != nil {
		t.Fatal(err)
	}
}

// frameIn is what holds at the instruction with index i of an entry's generated code.
func frameIn(words []uint32, i int) entry.Frame {
	const retX9 = 0xd65f0120
	switch {
	case i < 2:
		return entry.FrameEntry
	case i < 4:
		return entry.FrameHalf
	case words[i] == retX9 || i+1 < len(words) && words[i+1] == retX9:
		return entry.FrameExit
	}
	return entry.FrameRecords
}

// walkEverywhere adds to reached the offsets that threads were stopped at, and
// leaves out those that are in it.
func walkEverywhere(t *testing.T, o Options, reached map[uint64]bool) {
	s, p, target, o0 := beginBusy(t, o)
	blob := target.blob
	from, to := blob.Caller, blob.RegsCaller
	switch {
	case o.Graph:
		from, to = blob.Exit.Ret, blob.ExitEnd
	case o.Stack:
		from, to = blob.RegsCaller, blob.Reserve
	case o.Regs:
		from, to = blob.RegsCaller, blob.DLHook
	}
	for off := from; off < to; off += 4 {
		if reached[off] || afterExclusive(blob, off) {
			continue // a stop between LDXR and STXR makes the STXR fail: never past it
		}
		if walkFrom(t, p, target, o0.island+off, blob.FrameAt(off)) > 0 {
			reached[off] = true
		}
	}
	t.Logf("%d instructions so far", len(reached))
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.release(t.Context(), target); err != nil {
		t.Fatal(err)
	}
}

// beginBusy starts test/programs/busy.c, installed in the way of o, and gives the object that is traced in it.
func beginBusy(t *testing.T, o Options) (*session, *tracee.Process, *target, *object) {
	path := fixture(t, "test/busy")
	o.Output = filepath.Join(t.TempDir(), "data")
	o.Buffer = 1 << 20
	s, err := newSession(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.tr.Close)
	p, _ := running(t, s.tr, path, "1", "0", "1")
	target, err := s.begin(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range target.objects {
		if o.island != 0 {
			return s, p, target, o
		}
	}
	t.Fatal("nothing installed")
	return nil, nil, nil, nil
}

// walkFrom stops a thread at an instruction of ours and walks its stack. It returns 0 if none comes there.
func walkFrom(t *testing.T, p *tracee.Process, target *target, addr uint64, frame entry.Frame) int {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	th, err := p.RunTo(ctx, addr)
	cancel()
	if _, e := target.drainer.Look(true); e != nil {
		t.Fatal(e)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return 0
	}
	if err != nil {
		t.Fatalf("run to %#x: %v", addr, err)
	}
	regs, err := th.Regs()
	if err != nil {
		t.Fatal(err)
	}
	stack := walk(p.Memory(), frame, regs)
	if target.rec.o.Graph && len(stack) > 0 && nameAt(target, stack[0]) == "libc.so.6" {
		return 1 // main returns
	}
	if len(stack) < 2 {
		t.Errorf("at %#x: stack %#x", addr, stack)
		return 1
	}
	name, caller := nameAt(target, stack[0]), nameAt(target, stack[1])
	want, known := callers[name]
	if !known || !strings.Contains(" "+want+" ", " "+caller+" ") {
		t.Errorf("at %#x: traced function %q, called by %q (%#x)", addr, name, caller, stack[:2])
	}
	return 1
}

// afterExclusive reports whether off lies behind a load-exclusive and before or at
// the branch behind its store-exclusive.
func afterExclusive(b entry.Blob, off uint64) bool {
	return after(int(off/4), func(back int) uint32 { return binary.LittleEndian.Uint32(b.Code[off-4*uint64(back):]) })
}

func after(i int, before func(back int) uint32) bool {
	const (
		mask  = 0x3f000000 // load/store exclusive (Arm ARM C4.1.94)
		class = 0x08000000
		load  = 1 << 22
		plain = 1 << 23 // LDAR, STLR: not exclusive
	)
	for back := 1; back <= 12 && back <= i; back++ {
		insn := before(back)
		if insn&mask != class || insn&plain != 0 {
			continue
		}
		return insn&load != 0
	}
	return false
}

// walk returns the traced function's address and what the frame records give.
func walk(mem *tracee.Memory, frame entry.Frame, r tracee.Regs) []uint64 {
	var stack []uint64
	fp := r.X[29]
	switch frame {
	case entry.FrameEntry:
		stack = append(stack, r.X[30], r.X[9])
	case entry.FrameHalf:
		stack = append(stack, r.X[30])
	case entry.FrameExit:
		stack = append(stack, r.X[9], r.X[30])
	case entry.FrameLeaf:
		stack = append(stack, r.X[30])
	}
	for len(stack) < 3 && fp != 0 {
		next, err := mem.ReadUint64(fp)
		if err != nil {
			break
		}
		pc, err := mem.ReadUint64(fp + 8)
		if err != nil || pc == 0 {
			break
		}
		stack = append(stack, pc)
		fp = next
	}
	return stack
}

func nameAt(t *target, pc uint64) string {
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err.Error()
	}
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		if pc < o.start || pc >= o.end {
			continue
		}
		if o.String() == "libc.so.6" {
			return o.String() // stripped or not
		}
		if i, ok := o.im.FuncAt(pc - 4 - o.bias); ok {
			return image.Demangle(o.im.Funcs()[i].Name)
		}
		return fmt.Sprintf("%s+%#x", o, pc-o.bias)
	}
	return fmt.Sprintf("%#x", pc)
}
