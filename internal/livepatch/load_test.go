package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nopal/internal/image"
)

// world is a process that was never started: objects as the dynamic linker would
// have left them.
type world struct {
	objects []Mapped
	memory  map[uint64][]byte // by address
	lazy    bool              // nothing was called yet
	far     bool              // patches get no place near their target
}

func (w *world) Objects() []Mapped { return w.objects }

func (w *world) Place(size, _, hi uint64) (uint64, error) {
	at := align(hi, 1<<24)
	if w.far {
		at += 1 << 28
	}
	return at, nil
}

func (w *world) Read(addr uint64, p []byte) error {
	for at, m := range w.memory {
		if addr-at < uint64(len(m)) && uint64(len(p)) <= uint64(len(m))-(addr-at) {
			copy(p, m[addr-at:])
			return nil
		}
	}
	return fmt.Errorf("nothing at %#x", addr)
}

// libc is the arm64 C library of the cross compiler.
const libc = "/usr/aarch64-linux-gnu/lib/libc.so.6"

// newWorld loads objects.
func newWorld(t *testing.T, paths ...string) *world {
	t.Helper()
	w := &world{memory: make(map[uint64][]byte)}
	for i, path := range paths {
		im, err := image.Open(path, image.Options{DebugDirs: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { im.Close() })
		m := Mapped{im, 0}
		if im.Type == elf.ET_DYN {
			m.Bias = []uint64{0xaaaac0de0000, 0xffff80000000, 0xffff90000000}[i]
		}
		w.objects = append(w.objects, m)
		for _, s := range im.Segments {
			p := make([]byte, s.Memsz)
			if _, err := im.ReadVA(p, s.VA); err != nil {
				t.Fatal(err)
			}
			w.memory[m.Bias+s.VA] = p
		}
	}
	for _, m := range w.objects {
		w.relocate(t, m)
	}
	return w
}

func (w *world) lookup(name string) uint64 {
	for _, m := range w.objects {
		if va, ok := m.Image.DynSym(name); ok {
			return m.Bias + va
		}
	}
	return 0
}

// The choice of an indirect function is a place a little behind its resolver.
const choice = 0x40

func (w *world) relocate(t *testing.T, m Mapped) {
	f, err := elf.Open(m.Image.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		t.Fatal(err)
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		le := binary.LittleEndian
		for ; len(data) >= 24; data = data[24:] {
			at, info, addend := le.Uint64(data), le.Uint64(data[8:]), le.Uint64(data[16:])
			var v uint64
			switch elf.R_AARCH64(uint32(info)) {
			case elf.R_AARCH64_RELATIVE:
				v = m.Bias + addend
			case elf.R_AARCH64_IRELATIVE:
				v = m.Bias + addend + choice
			case elf.R_AARCH64_JUMP_SLOT:
				if w.lazy {
					v = m.Bias + 0x700
					break
				}
				fallthrough
			case elf.R_AARCH64_GLOB_DAT:
				v = w.lookup(symbols[info>>32-1].Name)
			case elf.R_AARCH64_TLS_TPREL64:
				v = 0x110 + addend
			default:
				continue
			}
			for base, p := range w.memory {
				if off := m.Bias + at - base; off < uint64(len(p)) {
					le.PutUint64(p[off:], v)
				}
			}
		}
	}
}

// refers tells what the instructions of a function refer to: the targets of
// direct branches out of it, through veneers, and the addresses that ADRP and
// its successor form. Of an entry of a table it gives what it holds.
func refers(t *testing.T, im *Image, name string) []uint64 {
	t.Helper()
	f := itself(im, name)
	for _, other := range im.Funcs {
		if f.Size == 0 && other.Name == name {
			f = other.Range
		}
	}
	var found []uint64
	add := func(at uint64) {
		if !slices.Contains(found, at) {
			found = append(found, at)
		}
	}
	page := make(map[uint32]uint64)
	for pc := f.Addr; pc < f.Addr+f.Size; pc += 4 {
		word := bytesAt(im, pc)[:4]
		w := binary.LittleEndian.Uint32(word)
		switch typ, ok := directReference(w); {
		case ok && (typ == elf.R_AARCH64_CALL26 || typ == elf.R_AARCH64_JUMP26):
			to := pc + referred(word, howtos[typ])
			if to-f.Addr < f.Size {
				continue
			}
			if code := bytesAt(im, to); code != nil && binary.LittleEndian.Uint32(code) == jump[0] {
				to = binary.LittleEndian.Uint64(code[8:])
			}
			add(to)
		case w&0x9f000000 == 0x90000000:
			page[w&31] = pc&^0xfff + referred(word, howtos[elf.R_AARCH64_ADR_PREL_PG_HI21])<<12
		case w&0xff800000 == 0x91000000 && page[w>>5&31] != 0:
			add(page[w>>5&31] + uint64(w>>10&0xfff))
			delete(page, w&31)
		case w&0x3b000000 == 0x39000000 && page[w>>5&31] != 0:
			at := page[w>>5&31] + uint64(w>>10&0xfff)<<(w>>30)
			if entry := bytesAt(im, at); w>>22 == 0x3e5 && entry != nil { // ldr of 64 bits
				at = binary.LittleEndian.Uint64(entry)
			}
			add(at)
		}
	}
	return found
}

func bytesAt(im *Image, addr uint64) []byte {
	for _, s := range im.Segments {
		if addr-s.Addr < uint64(len(s.Data)) {
			return s.Data[addr-s.Addr:]
		}
	}
	return nil
}

// linked builds a patch and links it, by way of its file.
func linked(t *testing.T, o BuildOptions, w *world) (*Image, error) {
	t.Helper()
	o.Name = "fix"
	p, _, err := Build(o)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if p, err = Decode(data); err != nil {
		t.Fatal(err)
	}
	return p.Link(w)
}

func TestLinkRefersToTheTarget(t *testing.T) {
	for _, c := range configurations {
		if !slices.Contains([]string{"gcc", "gcc -fpic", "gcc -no-pie", "gcc -static", "gcc bti", "clang library"}, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program := c.target(t)
			paths := []string{program, libc}
			if slices.Contains(c.linking, "-static") {
				paths = paths[:1]
			}
			w := newWorld(t, paths...)
			bias := w.objects[0].Bias
			old := func(name string) uint64 {
				va, ok := w.objects[0].Image.Symbol(name)
				if !ok {
					t.Fatalf("no symbol %s", name)
				}
				return bias + va
			}
			im, err := linked(t, BuildOptions{Target: program, Objects: []string{c.change(t, "4")}, Functions: []string{"pick", "helper", "other", "name"}}, w)
			if err != nil {
				t.Fatal(err)
			}
			if im.Addr%pageUnit != 0 || len(im.New) != 4 || im.Target.Bias != bias {
				t.Fatalf("image %+v", im)
			}
			has := func(function string, at uint64, what string) {
				t.Helper()
				if found := refers(t, im, function); !slices.Contains(found, at) {
					t.Errorf("%s refers to %#x, not to %s at %#x", function, found, what, at)
				}
			}
			// Functions that are replaced are called where they were.
			has("pick", old("helper"), "the old helper")
			has("pick", old("other"), "the old other")
			has("other", old("counter"), "the old counter")
			if !slices.Contains(c.flags, "-O0") && c.name != "gcc library" && c.name != "gcc -fPIC" && c.name != "gcc -fpic" && c.name != "clang library" {
				has("pick", old("shared"), "the old shared")
			}
			// Its own strings.
			if !slices.ContainsFunc(refers(t, im, "pick"), func(at uint64) bool {
				s := bytesAt(im, at)
				return len(s) >= 5 && string(s[:5]) == "drei\x00"
			}) {
				t.Error("pick does not refer to its string")
			}
			checkFrames(t, im)
		})
	}
}

// itself gives a new function, not its gate.
func itself(im *Image, name string) Range {
	for _, f := range im.Funcs {
		if f.Name == name+gated {
			return f.Range
		}
	}
	return im.New[name]
}

// checkFrames walks the call frame information and looks for all new functions.
func checkFrames(t *testing.T, im *Image) {
	t.Helper()
	var begins []uint64
	data := bytesAt(im, im.EHFrame.Addr)
	if uint64(len(data)) < im.EHFrame.Size {
		t.Fatalf("call frame information %+v is not all there", im.EHFrame)
	}
	at := uint64(0)
	for binary.LittleEndian.Uint32(data[at:]) != 0 {
		length := uint64(binary.LittleEndian.Uint32(data[at:]))
		if back := uint64(binary.LittleEndian.Uint32(data[at+4:])); back != 0 {
			if cie := at + 4 - back; binary.LittleEndian.Uint32(data[cie+4:]) != 0 {
				t.Errorf("the record at %#x belongs to none", at)
			}
			begins = append(begins, im.EHFrame.Addr+at+8+signExtend(uint64(binary.LittleEndian.Uint32(data[at+8:])), 32))
		}
		at += 4 + length
	}
	if at+4 != im.EHFrame.Size {
		t.Errorf("call frame information ends at %#x of %#x", at, im.EHFrame.Size)
	}
	for name := range im.New {
		f := itself(im, name)
		if !slices.ContainsFunc(begins, func(b uint64) bool { return b-f.Addr <= 12 }) {
			t.Errorf("%s at %#x is not described: %#x", name, f.Addr, begins)
		}
	}
}

func TestLinkFindsWhatOthersExport(t *testing.T) {
	c := configurations[6]
	program, object := c.target(t), c.change(t, "7")
	for _, far := range []bool{false, true} {
		w := newWorld(t, program, libc)
		w.far = far
		im, err := linked(t, BuildOptions{Target: program, Objects: []string{object}}, w)
		if err != nil {
			t.Fatal(err)
		}
		found := refers(t, im, "entry")
		for _, name := range []string{"getenv"} {
			if !slices.Contains(found, w.lookup(name)) {
				t.Errorf("entry refers to %#x, not to %s at %#x", found, name, w.lookup(name))
			}
		}
		fresh := slices.IndexFunc(im.Segments, func(s Segment) bool { return s.Prot == ProtRead|ProtWrite })
		if fresh < 0 || binary.LittleEndian.Uint32(im.Segments[fresh].Data) != 4 {
			t.Errorf("there is no new variable in %+v", im.Segments)
		}
	}
}

// What the target calls is called as the target does it, before and after its
// own first call.
func TestLinkCallsThroughTheTarget(t *testing.T) {
	const code = `
#include <string.h>
#include <stdio.h>
int f(const char *s) { puts(s); return strlen(s) + NUMBER; }
int g(const char *s) { return strchr(s, 'x') != 0; }
int main(int c, char **v) { return f(v[0]) + g(v[0]); }`
	old := strings.Replace(code, "NUMBER", "1", 1)
	changed := strings.Replace(strings.Replace(code, "NUMBER", "2", 1), "return strchr(s, 'x') != 0", "return memchr(s, 'x', 5) != 0 && memcmp(s, s + 1, strspn(s, \"x\")) ", 1)
	program := link(t, gcc, nil, compile(t, gcc, source(t, "code.c", old), "-fno-inline", "-fno-builtin"))
	object := compile(t, gcc, source(t, "code.c", changed), "-fno-inline", "-fno-builtin")
	w := newWorld(t, program, libc)
	im, err := linked(t, BuildOptions{Target: program, Objects: []string{object}}, w)
	if err != nil {
		t.Fatal(err)
	}
	o, err := openOriginal(program)
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	stub := func(name string) uint64 { return w.objects[0].Bias + o.imports[name].plt }
	if diff := cmp.Diff([]uint64{stub("puts"), stub("strlen")}, refers(t, im, "f")); diff != "" {
		t.Errorf("f (-want +got):\n%s", diff)
	}
	// An indirect function of which libc itself has a choice.
	if want := w.lookup("memchr") + choice; !slices.Contains(refers(t, im, "g"), want) {
		t.Errorf("g refers to %#x, not to memchr at %#x", refers(t, im, "g"), want)
	}
	// memcpy of the C library has none, so the patch has to ask.
	changed = strings.Replace(code, "return strchr(s, 'x') != 0", "char b[9]; memcpy(b, s, 9); return b[3]", 1)
	object = compile(t, gcc, source(t, "code.c", strings.Replace(changed, "NUMBER", "1", 1)), "-fno-inline", "-fno-builtin")
	if im, err = linked(t, BuildOptions{Target: program, Objects: []string{object}}, w); err != nil {
		t.Fatal(err)
	}
	asked := slices.ContainsFunc(refers(t, im, "g"), func(at uint64) bool {
		code := bytesAt(im, at-finderAt)
		return code != nil && binary.LittleEndian.Uint64(code[8:]) == w.lookup("memcpy") && binary.LittleEndian.Uint32(code[finderAt+4:])&0xffc003ff == finder[1]
	})
	if !asked {
		t.Errorf("g does not ask which memcpy: %#x", refers(t, im, "g"))
	}
}

func TestLinkRefuses(t *testing.T) {
	c := configurations[6]
	program, other := c.target(t), configurations[0].target(t)
	object := c.change(t, "7")
	_, err := linked(t, BuildOptions{Target: program, Objects: []string{object}}, newWorld(t, other, libc))
	if !errors.Is(err, ErrNoTarget) {
		t.Errorf("error %v, want that the target is not there", err)
	}
	_, err = linked(t, BuildOptions{Target: program, Objects: []string{object}}, newWorld(t, program))
	if err == nil || !strings.Contains(err.Error(), "no object of the process has it") {
		t.Errorf("error %v, want that getenv is not there", err)
	}
	p, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{object}})
	if err != nil {
		t.Fatal(err)
	}
	p.funcs[0].OldHash[0]++
	if _, err := p.Link(newWorld(t, program, libc)); err == nil || !strings.Contains(err.Error(), "is not what the patch was built against") {
		t.Errorf("error %v, want that the old code is another", err)
	}
}

// In a guarded program pointers to functions without a landing pad would fault.
func TestPointersToUnguardedFunctions(t *testing.T) {
	const code = `
static __attribute__((noinline, noclone)) int quiet(int x) { return x * 3; }
int use(int x) { return quiet(x) + 1; }
CHANGE`
	old := compile(t, gcc, source(t, "code.c", strings.Replace(code, "CHANGE", "", 1)), "-fPIC", "-mbranch-protection=standard")
	program := link(t, gcc, []string{"-shared", "-nostdlib", "-Wl,-z,force-bti"}, old)
	changed := strings.Replace(strings.Replace(code, "+ 1", "+ (long)pointer", 1), "int use", "int (*pointer)(int) = quiet; int use", 1)
	object := compile(t, gcc, source(t, "code.c", strings.Replace(changed, "CHANGE", "", 1)), "-fPIC", "-mbranch-protection=standard", "-fdata-sections")
	w := newWorld(t, program)
	if !w.objects[0].Image.BTI {
		t.Skip("the linker does not guard programs")
	}
	im, err := linked(t, BuildOptions{Target: program, Objects: []string{object}}, w)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range im.Segments {
		if s.Prot&ProtWrite == 0 {
			continue
		}
		to := binary.LittleEndian.Uint64(s.Data)
		if w.objects[0].covers(to) {
			t.Errorf("the pointer leads to %#x, which has no landing pad", to)
		}
	}
}

func TestThreadLocalVariables(t *testing.T) {
	const code = `
__thread int one = 1, two = 2;
static __thread long three;
int f(void) { return one + two + NUMBER; }
long g(void) { return three += NUMBER; }
int main(void) { return f() + g(); }`
	for _, c := range []struct {
		name, compiler string
		flags, linking []string
	}{
		{"program", gcc, nil, nil},
		{"PIC program", gcc, []string{"-fPIC"}, nil},
		{"library", gcc, []string{"-fPIC"}, []string{"-shared"}},
		{"initial-exec library", gcc, []string{"-fPIC", "-ftls-model=initial-exec"}, []string{"-shared"}},
		{"static program", gcc, nil, []string{"-static"}},
		{"clang library", clang, []string{"-fPIC"}, []string{"-shared", "-fuse-ld=lld"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := source(t, "code.c", strings.ReplaceAll(code, "NUMBER", "1"))
			program := link(t, c.compiler, c.linking, compile(t, c.compiler, dir, append(c.flags, "-fno-inline")...))
			object := compile(t, c.compiler, source(t, "code.c", strings.ReplaceAll(code, "NUMBER", "2")), append(c.flags, "-fno-inline")...)
			w := newWorld(t, program)
			im, err := linked(t, BuildOptions{Target: program, Objects: []string{object}}, w)
			if err != nil {
				t.Fatal(err)
			}
			if len(im.New) != 2 {
				t.Errorf("replaces %v, want f and g", im.New)
			}
		})
	}
}

func TestObjectsThatAreNone(t *testing.T) {
	program := configurations[0].target(t)
	for path, want := range map[string]string{
		program:                 "it is linked already",
		"testdata/server.c":     "read object",
		filepath.Join("nosuch"): "open object",
		"/proc/self/exe":        "only arm64",
	} {
		if _, _, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{path}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", path, err, want)
		}
	}
}

// In a program with exceptions the first thread that enters a new function
// makes its call frame information known.
func TestGates(t *testing.T) {
	const code = `
#include <stdexcept>
int thrower(int x);
int f(int x) { try { return thrower(x); } catch (const std::exception &e) { return NUMBER; } }
int thrower(int x) { if (x) throw std::runtime_error("x"); return x; }
int main(int c, char **v) { return f(c); }`
	old := strings.Replace(code, "NUMBER", "1", 1)
	program := link(t, gxx, nil, compile(t, gxx, source(t, "code.cc", old), "-fno-inline"))
	object := compile(t, gxx, source(t, "code.cc", strings.Replace(code, "NUMBER", "2", 1)), "-fno-inline")
	unwinder := filepath.Join(filepath.Dir(libc), "libgcc_s.so.1")
	w := newWorld(t, program, libc, unwinder)
	p, report, err := Build(BuildOptions{Name: "fix", Target: program, Objects: []string{object}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"f(int)"}, report.Replaced); diff != "" {
		t.Error(diff)
	}
	im, err := p.Link(w)
	if err != nil {
		t.Fatal(err)
	}
	f, enter := itself(im, "_Z1fi"), im.New["_Z1fi"].Addr
	if enter == 0 || enter == f.Addr {
		t.Fatalf("f at %#x is entered at %#x", f.Addr, enter)
	}
	branch := bytesAt(im, enter+12)
	if to := enter + 12 + referred(branch, howtos[elf.R_AARCH64_JUMP26]); to != f.Addr {
		t.Errorf("the gate leads to %#x, not to f at %#x", to, f.Addr)
	}
	branch = bytesAt(im, enter+24)
	shared := enter + 24 + referred(branch, howtos[elf.R_AARCH64_JUMP26])
	data := bytesAt(im, shared)
	if got := binary.LittleEndian.Uint64(data[len(registrar)*4-8:]); got != w.lookup("__register_frame_info") {
		t.Errorf("it registers with %#x, not at %#x", got, w.lookup("__register_frame_info"))
	}
	page := shared + 0x50
	frames := page&^0xfff + referred(data[0x50:], howtos[elf.R_AARCH64_ADR_PREL_PG_HI21])<<12 + referred(data[0x54:], howtos[elf.R_AARCH64_ADD_ABS_LO12_NC])
	if frames != im.EHFrame.Addr {
		t.Errorf("it registers %#x, not %#x", frames, im.EHFrame.Addr)
	}
	checkFrames(t, im)
}
