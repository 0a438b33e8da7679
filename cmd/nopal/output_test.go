package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFailedRecordingKeepsTheLastOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nopal.data")
	read := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			return "-"
		}
		return string(b)
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when, want, wantOld string) {
		t.Helper()
		if got, old := read(path), read(path+".old"); got != want || old != wantOld {
			t.Errorf("%s: the files are %q and %q, want %q and %q", when, got, old, want, wantOld)
		}
	}

	lookAtOutput(path).restore()
	expect("nothing was made", "-", "-")

	g := lookAtOutput(path)
	write(path, "")
	g.restore()
	expect("the first failed", "-", "-")

	write(path, "good")
	lookAtOutput(path).restore()
	expect("failed before the file was made", "good", "-")

	g = lookAtOutput(path)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	write(path, "")
	g.restore()
	expect("failed after the file was made", "good", "-")
}

func TestCallerOfSudo(t *testing.T) {
	t.Setenv("SUDO_UID", "12345")
	t.Setenv("SUDO_GID", "54321")
	o := callerOfSudo()
	if os.Geteuid() != 0 {
		if o != nil {
			t.Errorf("without root, files go to %v", *o)
		}
		return
	}
	if o == nil || o.UID != 12345 || o.GID != 54321 {
		t.Errorf("files go to %v", o)
	}
	t.Setenv("SUDO_UID", "root")
	if o := callerOfSudo(); o != nil {
		t.Errorf("with a bad SUDO_UID, files go to %v", *o)
	}
}
