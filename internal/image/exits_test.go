package image

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nopal/internal/arch/arm64"
)

// listing is what objdump shows of a function and of its cold parts.
type listing struct {
	entry  uint64
	ranges []arm64.Range
	insns  []listed
}

type listed struct {
	addr     uint64
	mnemonic string
	operands string
}

// disassemble asks objdump for the instructions of every function, those of
// foo.cold as foo's.
func disassemble(t testing.TB, path string) map[string]*listing {
	t.Helper()
	all := make(map[string]*listing)
	var current *listing
	lines := bufio.NewScanner(bytes.NewReader(run(t, "aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", path)))
	for lines.Scan() {
		line := lines.Text()
		if label, ok := strings.CutSuffix(line, ">:"); ok {
			at, label, _ := strings.Cut(label, " <")
			name, _, cold := strings.Cut(label, ".cold")
			if all[name] == nil {
				all[name] = &listing{}
			}
			current = all[name]
			current.ranges = append(current.ranges, arm64.Range{})
			if !cold {
				current.entry, _ = strconv.ParseUint(at, 16, 64)
			}
			continue
		}
		addr, insn, ok := strings.Cut(strings.TrimSpace(line), ":\t")
		va, err := strconv.ParseUint(addr, 16, 64)
		if !ok || err != nil || current == nil {
			continue
		}
		insn, _, _ = strings.Cut(insn, "//")
		mnemonic, operands, _ := strings.Cut(strings.TrimSpace(insn), "\t")
		r := &current.ranges[len(current.ranges)-1]
		if r.Start == 0 {
			r.Start = va
		}
		r.End = va + 4
		current.insns = append(current.insns, listed{va, mnemonic, operands})
	}
	if len(all) == 0 {
		t.Fatalf("objdump shows no function of %s", path)
	}
	return all
}

func (l *listing) contains(va uint64) bool {
	return slices.ContainsFunc(l.ranges, func(r arm64.Range) bool { return r.Start <= va && va < r.End })
}

// exits gives the addresses of the instructions that leave the function, if
// those br do that tails says.
func (l *listing) exits(tails bool) []uint64 {
	var found []uint64
	for _, i := range l.insns {
		switch i.mnemonic {
		case "ret", "retaa", "retab":
			found = append(found, i.addr)
		case "br":
			if tails {
				found = append(found, i.addr)
			}
		case "b":
			target, _, _ := strings.Cut(i.operands, " ")
			if va, err := strconv.ParseUint(target, 16, 64); err == nil && (!l.contains(va) || va == l.entry) {
				found = append(found, i.addr)
			}
		}
	}
	slices.Sort(found)
	return found
}

func (e Exits) addresses() []uint64 {
	var found []uint64
	for _, x := range e.List {
		found = append(found, x.Addr)
	}
	return found
}

// checkExits compares the exits found in an object with those that objdump shows
// in it, and gives how many functions have them proven. tail says of which
// functions every br is a tail call.
func checkExits(t *testing.T, path string, functions map[string]*listing, tail func(name string) bool) (proven, all int) {
	t.Helper()
	im := open(t, path)
	for i, s := range im.Sites() {
		name := im.SiteName(s)
		all++
		e := im.Exits(i)
		if e.Reason != "" {
			t.Logf("%s: entry only: %s", name, e.Reason)
			continue
		}
		proven++
		l := functions[name]
		if l == nil {
			continue
		}
		if want, got := l.exits(tail(name)), e.addresses(); !slices.Equal(got, want) {
			t.Errorf("%s is left at %#x, want %#x", name, got, want)
		}
		for _, x := range e.List {
			var word [4]byte
			if _, err := im.ReadVA(word[:], x.Addr); err != nil || fmt.Sprintf("%08x", x.Insn) != fmt.Sprintf("%02x%02x%02x%02x", word[3], word[2], word[1], word[0]) {
				t.Errorf("%s: exit %+v, but the file has % x (%v)", name, x, word, err)
			}
		}
	}
	if all > len(functions) {
		t.Errorf("%d sites, but objdump shows %d functions", all, len(functions))
	}
	return proven, all
}

// checkStripped compares an object without symbols: fewer functions may have
// their exits proven, but those that have are left at the same places.
func checkStripped(t *testing.T, path string) (proven, all int) {
	t.Helper()
	im := open(t, path)
	bare := open(t, rewrite(t, path, "--strip-all"))
	if len(im.Sites()) != len(bare.Sites()) {
		t.Fatalf("%d sites, %d when stripped", len(im.Sites()), len(bare.Sites()))
	}
	for i, s := range im.Sites() {
		want, got := im.Exits(i), bare.Exits(i)
		all++
		if got.Reason != "" {
			t.Logf("stripped: %s: entry only: %s", im.SiteName(s), got.Reason)
			continue
		}
		proven++
		if want.Reason == "" && !slices.Equal(got.List, want.List) {
			t.Errorf("%s stripped is left at %#x, want %#x", im.SiteName(s), got.addresses(), want.addresses())
		}
	}
	return proven, all
}

func TestExitsOfC(t *testing.T) {
	for _, compiler := range []string{gcc, clang} {
		for _, flags := range []string{
			"-O0", "-O1", "-O2", "-O3", "-Os", "-O2 -no-pie", "-O2 -mbranch-protection=standard",
			"-O2 -freorder-blocks-and-partition", "-O2 -fno-jump-tables", "-O2 -march=armv8.3-a -mbranch-protection=standard",
		} {
			if compiler == clang && strings.Contains(flags, "partition") {
				continue
			}
			t.Run(compiler+" "+flags, func(t *testing.T) {
				path := build(t, compiler, "exits.c", append(strings.Fields(flags), "-fpatchable-function-entry=2")...)
				tail := func(name string) bool { return strings.HasPrefix(name, "tail_") }
				proven, all := checkExits(t, path, disassemble(t, path), tail)
				// Where control goes in a computed goto without a frame cannot be told.
				if all < 25 || proven < all-1 {
					t.Errorf("the exits of %d functions of %d are proven", proven, all)
				}
				if proven, all := checkStripped(t, path); proven < all-4 {
					t.Errorf("the exits of %d functions of %d are proven when stripped", proven, all)
				}
			})
		}
	}
}

func TestExitsOfCxx(t *testing.T) {
	for _, flags := range []string{"-O0", "-O2", "-O2 -freorder-blocks-and-partition", "-Os -mbranch-protection=standard"} {
		t.Run(flags, func(t *testing.T) {
			path := build(t, gxx, "exits.cc", append(strings.Fields(flags), "-std=c++17", "-fpatchable-function-entry=2")...)
			// dispatch has a switch, and virtual calls behind which it has something to do.
			proven, all := checkExits(t, path, disassemble(t, path), func(name string) bool { return !strings.Contains(name, "dispatch") })
			if all < 20 || proven*100 < all*98 {
				t.Errorf("the exits of %d functions of %d are proven", proven, all)
			}
			if proven, all := checkStripped(t, path); proven*100 < all*95 {
				t.Errorf("the exits of %d functions of %d are proven when stripped", proven, all)
			}
		})
	}
}

// TestExitsOfPrograms looks at Lua, an interpreter with computed gotos, and at
// SQLite, which has long switches. They are built for the demonstration.
func TestExitsOfPrograms(t *testing.T) {
	for _, name := range []string{"lua", "sqlite3"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "build", "fixtures", "demo", name)
			if _, err := os.Stat(path); err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatalf("find the program of the demonstration: %v", err)
				}
				t.Skipf("find the program of the demonstration: %v", err)
			}
			functions := disassemble(t, path)
			// luaV_execute has computed gotos by addresses; in fts5PorterCb there are tail
			// calls beside a jump table.
			tails := func(name string) bool { return name != "luaV_execute" && !hasTable(functions[name]) }
			delete(functions, "fts5PorterCb")
			proven, all := checkExits(t, path, functions, tails)
			t.Logf("the exits of %d functions of %d are proven", proven, all)
			if proven*100 < all*99 {
				t.Errorf("the exits of %d functions of %d are proven", proven, all)
			}
			proven, all = checkStripped(t, path)
			t.Logf("stripped: %d of %d", proven, all)
			if proven*100 < all*98 {
				t.Errorf("the exits of %d functions of %d are proven when stripped", proven, all)
			}
		})
	}
}

// hasTable reports whether a function takes an address within itself.
func hasTable(l *listing) bool {
	return l != nil && slices.ContainsFunc(l.insns, func(i listed) bool { return i.mnemonic == "adr" })
}

// TestExitsOfAssembly has functions whose names say what is expected.
func TestExitsOfAssembly(t *testing.T) {
	for _, flags := range []string{"-shared", "-static", "-static-pie", "-shared -Wl,--pack-dyn-relocs=relr"} {
		compiler := gcc
		if strings.Contains(flags, "relr") {
			compiler = clang
		}
		path := build(t, compiler, "exits.S", append(strings.Fields(flags), "-nostdlib", "-Wl,-Bsymbolic", "-Wl,-e0")...)
		im := open(t, path)
		for i, s := range im.Sites() {
			name, e := im.SiteName(s), im.Exits(i)
			entryOnly := strings.HasPrefix(name, "entry_only")
			if entryOnly != (e.Reason != "") || !entryOnly && !strings.HasPrefix(name, fmt.Sprintf("exits_%d_", len(e.List))) {
				t.Errorf("%s: %s has exits %+v", flags, name, e)
			}
		}
		if len(im.Sites()) < 15 {
			t.Errorf("%s: %d sites", flags, len(im.Sites()))
		}
		checkStripped(t, path)
	}
}
