package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestOutputKeepsTheLastRecording(t *testing.T) {
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
	prepare := func() *outputFile {
		o, err := prepareOutput(path)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}

	prepare().discard()
	if got := read(path); got != "-" {
		t.Errorf("a recording that never was left a file with %q", got)
	}
	prepare()
	write(path, "first")
	prepare().discard()
	if got := read(path); got != "first" {
		t.Errorf("after a recording that never was, the last one is %q", got)
	}
	o := prepare()
	write(path, "second")
	o.discard()
	if got := read(path) + " " + read(path+".old"); got != "second first" {
		t.Errorf("new and old file are %q, want second and first", got)
	}
}

func TestOutputToADevice(t *testing.T) {
	o, err := prepareOutput(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	o.discard()
	if _, err := os.Stat(os.DevNull); err != nil {
		t.Fatal(err)
	}
}

func TestOutputBelongsToTheUserOfSudo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	t.Setenv("SUDO_UID", "12345")
	t.Setenv("SUDO_GID", "54321")
	path := filepath.Join(t.TempDir(), "nopal.data")
	if _, err := prepareOutput(path); err != nil {
		t.Fatal(err)
	}
	uid, gid := owner(t, path)
	if uid != 12345 || gid != 54321 {
		t.Errorf("the file belongs to %d:%d", uid, gid)
	}
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return s.Uid, s.Gid
}
