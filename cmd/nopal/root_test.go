package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCrashReport(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var out bytes.Buffer
	reportCrash(&out, "index out of range", []byte("goroutine 1 [running]"))
	files, err := filepath.Glob(filepath.Join(dir, "nopal-crash-*.txt"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v (%v), want one report", files, err)
	}
	text := out.String()
	if !strings.Contains(text, "index out of range") || !strings.Contains(text, files[0]) || strings.Contains(text, "goroutine") {
		t.Errorf("the user is told %q", text)
	}
	report, err := os.ReadFile(files[0])
	if err != nil || !bytes.Contains(report, []byte("goroutine 1")) || !bytes.Contains(report, []byte("nopal ")) {
		t.Errorf("the report is %q (%v)", report, err)
	}

	t.Setenv("TMPDIR", filepath.Join(dir, "nosuch"))
	out.Reset()
	reportCrash(&out, "index out of range", []byte("goroutine 1 [running]"))
	if !strings.Contains(out.String(), "goroutine 1") {
		t.Errorf("without a place for the report, the user is told %q", out.String())
	}
}

func TestUseColor(t *testing.T) {
	for choice, want := range map[string]bool{"always": true, "never": false, "auto": false} {
		// A pipe is no terminal.
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		a := &app{stdout: w, color: choice}
		if got := a.useColor(); got != want {
			t.Errorf("--color=%s: %v, want %v", choice, got, want)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}
