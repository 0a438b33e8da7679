package unwind

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"nopal/internal/tracee"
)

// fileMemory is the memory that an object's segments would make, at the addresses
// that it is linked for.
type fileMemory struct{ progs []*elf.Prog }

func (m fileMemory) ReadAt(p []byte, off int64) (int, error) {
	for _, s := range m.progs {
		if at := uint64(off) - s.Vaddr; s.Type == elf.PT_LOAD && uint64(off) >= s.Vaddr && at < s.Filesz {
			return s.ReadAt(p[:min(uint64(len(p)), s.Filesz-at)], int64(at))
		}
	}
	return 0, errors.New("not there")
}

// linkedObject reads an object as if it were mapped.
func linkedObject(t *testing.T, path string) *object {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	e, err := elf.NewFile(f)
	if err != nil {
		t.Fatal(err)
	}
	u := New(0, fileMemory{e.Progs}, Options{})
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			m := tracee.Mapping{Start: p.Vaddr, End: p.Vaddr + p.Memsz, Offset: p.Off, Path: path, Inode: inode(path)}
			base := p.Vaddr - p.Off
			for _, q := range e.Progs {
				if q.Type == elf.PT_LOAD && q.Off == 0 {
					base = q.Vaddr
				}
			}
			o, err := u.openObject(m, base)
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
	}
	t.Fatal("no code")
	return nil
}

func inode(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// library finds a shared library for arm64: of the VM or of this machine.
func library(name string) string {
	const dir = "/lib/aarch64-linux-gnu/"
	if path := "../../build/vm/root" + dir + name; runtime.GOARCH != "arm64" {
		return path
	}
	return dir + name
}

// TestFlowAgreesWithCFI compares two descriptions of the same code that know nothing of each
// other: what the compiler has written down, and what its instructions do. GCC's is meant to be
// true at each instruction. In hand-written code of glibc it is not (__longjmp,
// _dl_runtime_profile).
func TestFlowAgreesWithCFI(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong int // what differs
	}{{"libc.so.6", 20}, {"ld-linux-aarch64.so.1", 20}, {"libstdc++.so.6", 40}} {
		t.Run(c.name, func(t *testing.T) {
			all, followed, differ := compareFlows(t, linkedObject(t, library(c.name)))
			if all < 10000 || followed < all/100*99 || differ > c.wrong {
				t.Errorf("%d instructions, %d followed, %d differ", all, followed, differ)
			}
		})
	}
}

func compareFlows(t *testing.T, o *object) (all, followed, differ int) {
	t.Helper()
	for i := 0; i < len(o.table)/8; i++ {
		start := o.hdr + uint64(int64(int32(binary.LittleEndian.Uint32(o.table[8*i:]))))
		e, reason := o.frameAt(start)
		if e == nil {
			t.Fatalf("%#x: %s", start, reason)
		}
		f := o.flowAt(start)
		shown := false
		for pc := e.start; pc+insnSize <= e.end; pc += insnSize {
			all++
			r, reason := e.repairedAt(pc)
			if r == nil {
				t.Fatalf("%#x: %s", pc, reason)
			}
			if f == nil {
				continue
			}
			s, ok := f.at(pc)
			if !ok {
				continue
			}
			p, ok := s.places()
			if !ok {
				continue
			}
			followed++
			if what := differs(s, &p, r); what != "" {
				if differ++; !shown {
					shown = true
					t.Logf("%#x (function at %#x): %s", pc, start, what)
				}
			}
		}
	}
	return all, followed, differ
}

// differs says where places and a row do not mean the same.
func differs(s *flowState, p *places, r *row) string {
	base := s.reg[r.base%32]
	if r.expr != nil || base.kind == valueFrame && base.v+r.off != 0 {
		return "CFA"
	}
	want := func(n uint64) place {
		switch rule := r.regs[n]; rule.kind {
		case ruleDefault, ruleSame:
			return place{kind: register, n: uint8(n)}
		case ruleOffset:
			return place{kind: stacked, off: rule.off}
		case ruleRegister:
			return place{kind: register, n: uint8(rule.off)}
		}
		return place{}
	}
	same := func(reg int64, w place) bool {
		switch w.kind {
		case register:
			return s.reg[w.n] == value{valueEntry, reg}
		case stacked:
			for _, a := range s.slots {
				if a.reg == reg && a.off == w.off {
					return true
				}
			}
		}
		return false
	}
	if !same(lrColumn, want(lrColumn)) && want(lrColumn).kind != nowhere && p.ret.kind != nowhere {
		return "return address"
	}
	for n := int64(19); n < 30; n++ {
		if !same(n, want(uint64(n))) && p.saved[n-19].kind != nowhere {
			return fmt.Sprintf("x%d: %+v, not %+v", n, p.saved[n-19], want(uint64(n)))
		}
	}
	return ""
}
