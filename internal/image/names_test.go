package image

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestDemangle(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"main", "main"},
		{"_start", "_start"},
		{"_", "_"},
		{"_ZN4shop6BasketIiE3addEi", "shop::Basket<int>::add(int)"},
		{"_ZplRK4LockS1_", "operator+(Lock const&, Lock const&)"},
		{"_ZN4LockC1Ei", "Lock::Lock(int)"},
		{"_Zbroken", "_Zbroken"},
		{"_RNvC6_123foo3bar", "123foo::bar"},
		{"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad"},
	} {
		if got := (Func{Name: c.raw}).Demangled(); got != c.want {
			t.Errorf("Demangled(%s) = %q, want %q", c.raw, got, c.want)
		}
	}
	// Each parameter names the one before it twice: 2^30 names, were it not for
	// the limit.
	bomb := "_Z1f1a1xIS_S_E"
	for i := 1; i < 30; i++ {
		bomb += "S0_I" + strings.Repeat(fmt.Sprintf("S%s_", strings.ToUpper(strconv.FormatInt(int64(i), 36))), 2) + "E"
	}
	if got := Demangle(bomb[:36]); got == bomb[:36] {
		t.Errorf("%s is not a name", got)
	}
	if got := Demangle(bomb); len(got) > 1<<20 {
		t.Errorf("a name of %d bytes becomes one of %d", len(bomb), len(got))
	}
}

func TestFuncNames(t *testing.T) {
	im := open(t, build(t, gxx, "names.cc", "-shared", "-fPIC"))
	names := make(map[string]bool)
	for i, f := range im.Funcs() {
		names[f.Demangled()] = true
		if i > 0 && im.Funcs()[i-1].Addr >= f.Addr {
			t.Errorf("%s at %#x is not after %#x", f.Name, f.Addr, im.Funcs()[i-1].Addr)
		}
		if strings.HasPrefix(f.Name, "$") {
			t.Errorf("mapping symbol %s is no function", f.Name)
		}
	}
	for _, want := range []string{"shop::Basket<int>::add(int)", "Lock::Lock(int)", "Lock::~Lock()", "operator+(Lock const&, Lock const&)"} {
		if !names[want] {
			t.Errorf("no function %s", want)
		}
	}
	ctor, ok := im.Symbol("_ZN4LockC2Ei")
	if !ok {
		t.Fatal("no symbol for the constructor's second name")
	}
	i, ok := im.FuncAt(ctor)
	if !ok || im.Funcs()[i].Name != "_ZN4LockC1Ei" {
		t.Errorf("of two names of equal rank %s is chosen", im.Funcs()[i].Name)
	}
}

func TestSymbolRank(t *testing.T) {
	table := func(symbols ...symbol) symbolTable {
		var entries, names bytes.Buffer
		names.WriteByte(0)
		for _, s := range symbols {
			entry := make([]byte, symbolSize)
			entry[0] = byte(names.Len())
			entry[4] = byte(s.bind)<<4 | byte(s.typ)
			entry[6] = 1
			entry[8] = byte(s.value)
			entry[16] = byte(s.size)
			entries.Write(entry)
			names.WriteString(s.name + "\x00")
		}
		return symbolTable{entries: entries.Bytes(), names: names.String()}
	}
	const local, global, weak = 0, 1, 2
	const object, function = 1, 2
	funcs := chooseFuncs([]symbolTable{table(
		symbol{name: "__GI_write", bind: local, typ: function, value: 16, size: 8},
		symbol{name: "__write", bind: global, typ: function, value: 16, size: 8},
		symbol{name: "write@@GLIBC_2.17", bind: weak, typ: function, value: 16, size: 8},
		symbol{name: "helper", bind: local, typ: function, value: 32},
		symbol{name: "$x", bind: local, typ: 0, value: 48},
		symbol{name: "data", bind: global, typ: object, value: 64},
		symbol{name: "", bind: local, typ: function, value: 80},
	), table(symbol{name: "_helper", bind: global, typ: function, value: 32, size: 12})})
	want := []Func{{"write", 16, 8}, {"_helper", 32, 12}}
	if len(funcs) != len(want) || funcs[0] != want[0] || funcs[1] != want[1] {
		t.Errorf("chosen: %+v, want %+v", funcs, want)
	}
}

func TestFuncAt(t *testing.T) {
	im := &Image{funcs: []Func{{"a", 100, 8}, {"b", 120, 0}, {"c", 140, 4}}}
	for va, want := range map[uint64]int{99: -1, 100: 0, 107: 0, 108: -1, 119: -1, 120: 1, 139: 1, 140: 2, 143: 2, 144: -1} {
		if i, ok := im.FuncAt(va); i != want || ok != (want >= 0) {
			t.Errorf("FuncAt(%d) = %d, %v; want %d", va, i, ok, want)
		}
	}
}

func TestSymbols(t *testing.T) {
	path := build(t, gcc, "functions.c", "-shared", "-fPIC", "-DLIBRARY")
	im := open(t, path)
	want := addresses(t, path)
	if va, ok := im.DynSym("exported"); !ok || va != want["exported"] {
		t.Errorf("DynSym(exported) = %#x, %v; want %#x", va, ok, want["exported"])
	}
	if _, ok := im.DynSym("local_function"); ok {
		t.Error("a local function is exported")
	}
	if va, ok := im.Symbol("local_function"); !ok || va != want["local_function"] {
		t.Errorf("Symbol(local_function) = %#x, %v; want %#x", va, ok, want["local_function"])
	}
	if _, ok := im.Symbol("sink"); !ok {
		t.Error("no symbol for a variable")
	}
	if va, ok := im.Symbol("no_such_symbol"); ok {
		t.Errorf("Symbol(no_such_symbol) = %#x", va)
	}
}

// hasNames checks that the names of the fixture's functions are known, local
// ones included.
func hasNames(t *testing.T, im *Image) {
	t.Helper()
	names := make(map[string]bool)
	for _, s := range im.Sites() {
		names[im.SiteName(s)] = true
	}
	for _, want := range fixtureFuncs {
		if !names[want] {
			t.Errorf("no name for the site of %s, only %v", want, names)
		}
	}
}

func TestDebugFileByBuildID(t *testing.T) {
	path := build(t, gcc, "functions.c", "-g", "-fpatchable-function-entry=2", "-Wl,--build-id=sha1")
	id := open(t, path).BuildID
	if len(id) != 40 {
		t.Fatalf("build-id %q", id)
	}
	sysroot := t.TempDir()
	dir := filepath.Join(sysroot, "debug", ".build-id", id[:2])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	debug := filepath.Join(dir, id[2:]+".debug")
	run(t, "aarch64-linux-gnu-objcopy", "--only-keep-debug", path, debug)
	bare := filepath.Join(sysroot, "program")
	run(t, "aarch64-linux-gnu-objcopy", "--strip-all", path, bare)
	openBare := func() *Image {
		im, err := Open("/program", Options{DebugDirs: []string{"/nowhere", "/debug"}, Sysroot: sysroot})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = im.Close() })
		return im
	}
	im := openBare()
	hasNames(t, im)
	if want := "/debug/.build-id/" + id[:2] + "/" + id[2:] + ".debug"; im.DebugFile != want {
		t.Errorf("debug file %q, want %q", im.DebugFile, want)
	}

	// A debug file of another build lies in the place.
	other := build(t, gcc, "functions.c", "-O1", "-g", "-fpatchable-function-entry=2", "-Wl,--build-id=sha1")
	run(t, "aarch64-linux-gnu-objcopy", "--only-keep-debug", other, debug)
	if im := openBare(); im.DebugFile != "" {
		t.Errorf("debug file %s of another build is taken", im.DebugFile)
	}
}

func TestDebugFileByLink(t *testing.T) {
	path := build(t, gcc, "functions.c", "-g", "-fpatchable-function-entry=2", "-Wl,--build-id=none")
	dir := t.TempDir()
	debug, bare := filepath.Join(dir, "program.debug"), filepath.Join(dir, "program")
	run(t, "aarch64-linux-gnu-objcopy", "--only-keep-debug", path, debug)
	run(t, "aarch64-linux-gnu-objcopy", "--strip-all", "--add-gnu-debuglink="+debug, path, bare)
	im := open(t, bare)
	hasNames(t, im)
	if im.DebugFile != debug {
		t.Errorf("debug file %q, want %q", im.DebugFile, debug)
	}
	if err := os.Mkdir(filepath.Join(dir, ".debug"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(debug, filepath.Join(dir, ".debug", "program.debug")); err != nil {
		t.Fatal(err)
	}
	hasNames(t, open(t, bare))

	f, err := os.OpenFile(filepath.Join(dir, ".debug", "program.debug"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("changed"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if im := open(t, bare); im.DebugFile != "" {
		t.Errorf("debug file %s with another checksum is taken", im.DebugFile)
	}
}

func TestConventionsFromDebugFile(t *testing.T) {
	path := build(t, clang, "conventions.c", "-g", "-fpatchable-function-entry=2", "-shared", "-fPIC", "-Wl,--build-id=sha1")
	dir := t.TempDir()
	id := open(t, path).BuildID
	if err := os.MkdirAll(filepath.Join(dir, ".build-id", id[:2]), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "aarch64-linux-gnu-objcopy", "--only-keep-debug", path, filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug"))
	im := open(t, rewrite(t, path, "--strip-all"), dir)
	for _, s := range im.Sites() {
		if im.SiteName(s) == "silent" && !strings.Contains(s.Reason, "preserve_most") {
			t.Errorf("silent has reason %q", s.Reason)
		}
	}
}

func TestMiniDebug(t *testing.T) {
	path := build(t, gcc, "functions.c", "-fpatchable-function-entry=2")
	names := rewrite(t, path, "--only-keep-debug")
	for _, args := range [][]string{{"-9"}, {"-0", "--block-size=1024"}, {"--check=none"}, {"--check=sha256"}, {"--threads=2", "--block-size=2KiB"}} {
		packed := filepath.Join(t.TempDir(), "packed")
		if err := os.WriteFile(packed, run(t, "xz", append(args, "--stdout", names)...), 0o600); err != nil {
			t.Fatal(err)
		}
		im := open(t, rewrite(t, path, "--strip-all", "--add-section", ".gnu_debugdata="+packed))
		hasNames(t, im)
	}
}

func TestUnpackXZLimits(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data")
	data := make([]byte, 1<<16)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	packed := run(t, "xz", "--stdout", file)
	if got, err := unpackXZ(packed, len(data)); err != nil || !bytes.Equal(got, data) {
		t.Errorf("unpack: %d bytes, %v", len(got), err)
	}
	if _, err := unpackXZ(packed, len(data)-1); err == nil {
		t.Error("unpacked beyond the limit")
	}
	for _, n := range []int{0, 5, 12, 13, 20, len(packed) / 2} {
		if _, err := unpackXZ(packed[:n], len(data)); err == nil {
			t.Errorf("unpacked the first %d bytes of %d", n, len(packed))
		}
	}
	huge := run(t, "xz", "--stdout", "--lzma2=dict=1GiB", file)
	if _, err := unpackXZ(huge, len(data)); err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("a dictionary of 1 GiB: %v", err)
	}
	if _, err := unpackXZ(run(t, "xz", "--stdout", "--arm64", "--lzma2", file), len(data)); err == nil {
		t.Error("a filter that is not known is ignored")
	}
}

func TestULEB(t *testing.T) {
	for _, c := range []struct {
		data string
		want uint64
		rest int
		ok   bool
	}{
		{"", 0, 0, false},
		{"80", 0, 0, false},
		{"02", 2, 0, true},
		{"e58e26ff", 624485, 1, true},
		{"ffffffffffffffffffff7f", 1<<64 - 1, 0, true},
	} {
		data, err := hex.DecodeString(c.data)
		if err != nil {
			t.Fatal(err)
		}
		if value, rest, ok := uleb(data); value != c.want || len(rest) != c.rest || ok != c.ok {
			t.Errorf("uleb(%s) = %d, %d left, %v", c.data, value, len(rest), ok)
		}
	}
}
