package image

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"testing"
)

// FuzzNew changes real objects, small ones without a C library.
func FuzzNew(f *testing.F) {
	seeds, err := filepath.Glob("testdata/objects/*.elf")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("find seeds: %v, %v", seeds, err)
	}
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		im, err := New(bytes.NewReader(data), "fuzz", Options{DebugDirs: []string{}})
		if err != nil {
			return
		}
		var p [16]byte
		last, body := uint64(0), uint64(0)
		for i, s := range im.Sites() {
			if i > 0 && s.Addr <= last {
				t.Errorf("site %#x comes after %#x", s.Addr, last)
			}
			last = s.Addr
			if im.SiteName(s) == "" {
				t.Errorf("site %+v has no name", s)
			}
			if s.Reason != "" {
				continue
			}
			if s.Addr%4 != 0 && im.Machine == elf.EM_AARCH64 {
				t.Errorf("site %+v is not aligned", s)
			}
			if im.Machine == elf.EM_X86_64 {
				if s.Addr < body {
					t.Errorf("site %+v begins before %#x", s, body)
				}
				body = s.Body
				checkNops(t, im, s)
			}
			for _, e := range im.Exits(i).List {
				if im.exits.code.insn(e.Addr) != e.Insn {
					t.Errorf("site %+v has exit %+v, where the code is %08x", s, e, im.exits.code.insn(e.Addr))
				}
			}
		}
		for i, f := range im.Funcs() {
			if got, ok := im.FuncAt(f.Addr); !ok || got != i {
				t.Errorf("FuncAt(%#x) = %d, %v; want %d", f.Addr, got, ok, i)
			}
			_ = f.Demangled()
		}
		for _, s := range im.Segments {
			_, _ = im.ReadVA(p[:], s.VA)
			_, _ = im.ReadVA(p[:], s.VA+s.Memsz-8)
		}
		im.DynSym("main")
		im.Symbol("main")
	})
}
