package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"nopal/internal/export"
)

// TestWriteFile: a file appears when it is complete, or when it is all that a damaged recording gives.
func TestWriteFile(t *testing.T) {
	failure := errors.New("failure")
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, "new"},
		{failure, "old"},
		{&export.DamageError{Err: failure}, "new"},
	} {
		dir := t.TempDir()
		path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
		if err := errors.Join(os.WriteFile(path, []byte("old"), 0o666), os.Symlink("file", link)); err != nil {
			t.Fatal(err)
		}
		err := writeFile(link, io.NopCloser(nil), func(w io.Writer) error {
			if _, err := io.WriteString(w, "new"); err != nil {
				t.Fatal(err)
			}
			return c.err
		})
		if !errors.Is(err, c.err) {
			t.Errorf("error %v, want %v", err, c.err)
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != c.want {
			t.Errorf("after %v the file has %q (%v), want %q", c.err, got, err, c.want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
			t.Errorf("left in the directory: %v (%v)", entries, err)
		}
	}
}

// TestWriteFileForOther: under sudo, files belong to the caller, whose links lead root nowhere.
func TestWriteFileForOther(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this needs root")
		}
		t.Skip("this needs root")
	}
	t.Setenv("SUDO_UID", "12345")
	t.Setenv("SUDO_GID", "12346")
	dir := t.TempDir()
	path, precious := filepath.Join(dir, "file"), filepath.Join(dir, "precious")
	if err := errors.Join(os.WriteFile(precious, []byte("old"), 0o600), os.Symlink(precious, path)); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(path, io.NopCloser(nil), func(w io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || st.Uid != 12345 || st.Gid != 12346 {
		t.Errorf("%v of %d:%d", info.Mode(), st.Uid, st.Gid)
	}
	if got, err := os.ReadFile(precious); err != nil || string(got) != "old" {
		t.Errorf("the other file has %q (%v)", got, err)
	}
}
