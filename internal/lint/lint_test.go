package lint

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers lists the packages of nopal from the lowest up. A package imports only
// packages of lower layers; ARCHITECTURE.md says what each is for.
var layers = [][]string{
	{"trace", "internal/sys", "internal/arch/arm64", "internal/arch/amd64"},
	{"internal/image", "internal/entry", "internal/tracee", "internal/analyze"},
	{"internal/ring", "internal/export", "internal/unwind"},
	{"internal/ftrace", "internal/probe"},
	{"internal/livepatch", "internal/args"},
	{"internal/inject"},
	{"internal/session"},
	{"cmd/nopal"},
}

// outside are directories that are no part of nopal itself: nothing in the
// layers imports them, and they may import anything.
var outside = []string{"internal/lint", "internal/vmtest", "test", "bench", "demo", "scripts"}

// The house rule is "about 600"; this is where about ends.
const maxLines = 800

type source struct {
	path    string // relative to the root of the module
	content []byte
}

func (s source) dir() string { return filepath.ToSlash(filepath.Dir(s.path)) }

func TestImportsPointDownward(t *testing.T) {
	layer := make(map[string]int)
	for i, packages := range layers {
		for _, p := range packages {
			layer[p] = i
		}
	}
	for _, s := range sources(t, ".go") {
		if isOutside(s.dir()) {
			continue
		}
		from, known := layer[s.dir()]
		if !known {
			t.Errorf("%s: package %s has no layer; give it one in lint_test.go", s.path, s.dir())
			continue
		}
		for _, path := range imports(t, s) {
			imported, ours := strings.CutPrefix(path, "nopal/")
			if !ours || strings.HasSuffix(s.path, "_test.go") && (imported == s.dir() || isOutside(imported) || testsFromOutside(t, s)) {
				continue
			}
			if to, known := layer[imported]; !known || to >= from {
				t.Errorf("%s imports %s, which is not below it", s.path, imported)
			}
		}
	}
}

// testsFromOutside reports whether a test is in a package of its own beside the one it
// tests: nothing imports that, so it may use what is above.
func testsFromOutside(t *testing.T, s source) bool {
	return strings.HasSuffix(parse(t, s, parser.PackageClauseOnly).Name.Name, "_test")
}

// Raw system calls have one home, so that what nopal asks of the kernel can be
// read in one place.
func TestOnlySysImportsUnix(t *testing.T) {
	for _, s := range sources(t, ".go") {
		if s.dir() != "internal/sys" && slices.Contains(imports(t, s), "golang.org/x/sys/unix") {
			t.Errorf("%s imports golang.org/x/sys/unix; only internal/sys may", s.path)
		}
	}
}

func TestUnsafeIsInFilesNamedSo(t *testing.T) {
	for _, s := range sources(t, ".go") {
		name := strings.TrimSuffix(strings.TrimSuffix(s.path, ".go"), "_test")
		for _, arch := range []string{"_linux", "_arm64", "_amd64"} {
			name = strings.TrimSuffix(name, arch)
		}
		if slices.Contains(imports(t, s), "unsafe") && !strings.HasSuffix(name, "_unsafe") {
			t.Errorf("%s imports unsafe; its name should end in _unsafe", s.path)
		}
	}
}

func TestPackagesSayWhyTheyExist(t *testing.T) {
	documented := make(map[string]bool)
	for _, s := range sources(t, ".go") {
		if strings.HasSuffix(s.path, "_test.go") {
			continue
		}
		file := parse(t, s, parser.PackageClauseOnly|parser.ParseComments)
		documented[s.dir()] = documented[s.dir()] || file.Doc != nil
	}
	for dir, has := range documented {
		if !has {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

func TestFilesAreShort(t *testing.T) {
	for _, s := range sources(t, ".go", ".s", ".sh", ".c", ".cc") {
		if n := bytes.Count(s.content, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by subject", s.path, n, maxLines)
		}
	}
}

func isOutside(dir string) bool {
	for _, d := range outside {
		if dir == d || strings.HasPrefix(dir, d+"/") {
			return true
		}
	}
	return false
}

// sources returns the files of the module that end in one of the suffixes.
func sources(t *testing.T, suffixes ...string) []source {
	t.Helper()
	const root = "../.."
	var found []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if rel == "build" || entry.Name() == ".git" || entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains(suffixes, filepath.Ext(path)) {
			return nil
		}
		content, err := os.ReadFile(path)
		found = append(found, source{path: rel, content: content})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no files %v below %s", suffixes, root)
	}
	return found
}

func parse(t *testing.T, s source, mode parser.Mode) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), s.path, s.content, mode)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func imports(t *testing.T, s source) []string {
	t.Helper()
	var paths []string
	for _, spec := range parse(t, s, parser.ImportsOnly).Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}
