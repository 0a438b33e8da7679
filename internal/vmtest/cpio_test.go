package vmtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The archive is given to cpio(1), the program whose format the kernel reads.
func TestArchiveIsReadByCPIO(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio program to read the archive with")
	}
	src := t.TempDir()
	if err := os.MkdirAll(filepath.Join(src, "sub/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "sub/run"), []byte("12345"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("run", filepath.Join(src, "sub/link")); err != nil {
		t.Fatal(err)
	}

	var archive bytes.Buffer
	w := newCPIOWriter(&archive)
	w.Tree(filepath.Join(src, "sub"), "/deep/er/tree")
	w.File("/job", 0o644, []byte("job"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}

	dst := t.TempDir()
	cmd := exec.Command("cpio", "-i", "-d")
	cmd.Dir = dst
	cmd.Stdin = &archive
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"deep/er/tree/run": "12345", "deep/er/tree/link": "12345", "job": "job"} {
		got, err := os.ReadFile(filepath.Join(dst, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dst, "deep/er/tree/run")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("run: mode %v, %v; want 0755", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dst, "deep/er/tree/empty")); err != nil || !info.IsDir() {
		t.Errorf("empty directory is missing: %v", err)
	}
}

func TestTreeNamesWhatIsMissing(t *testing.T) {
	w := newCPIOWriter(new(bytes.Buffer))
	w.Tree("/nonexistent/file", "x")
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "/nonexistent/file") {
		t.Errorf("got %v, want an error naming the file", err)
	}
}
