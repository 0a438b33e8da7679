package vmtest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// machine returns a VM, or skips where there is nothing to boot one from.
func machine(t *testing.T) (vm VM, stdout, stderr *bytes.Buffer) {
	t.Helper()
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		t.Skip("no qemu-system-aarch64")
	}
	dir, err := filepath.Abs("../../build/vm")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"init", "kernel-4k/vmlinuz", "root/bin/sh"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Skip("the VM is not built: make vm-tools")
		}
	}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	return VM{
		Dir: dir, Pages: "4k", CPU: "cortex-a72", SMP: 1, Memory: 512, Timeout: time.Minute,
		Stdout: stdout, Stderr: stderr,
	}, stdout, stderr
}

func TestRunCommand(t *testing.T) {
	vm, stdout, stderr := machine(t)
	file := filepath.Join(t.TempDir(), "given")
	if err := os.WriteFile(file, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	vm.Share = t.TempDir()
	job := Job{
		Command: `cat name/d; echo " $VAR $(uname -m)"; echo bad >&2; echo back >/share/result; kill -TERM $$`,
		Env:     []string{"VAR=value"},
	}
	status, err := vm.Run(context.Background(), job, []string{file + ":name/d"})
	if err != nil {
		t.Fatal(err)
	}
	if status != 128+15 {
		t.Errorf("status: got %d, want %d", status, 128+15)
	}
	if got, want := stdout.String(), "content value aarch64\n"; got != want {
		t.Errorf("stdout: got %q, want %q", got, want)
	}
	if got, want := stderr.String(), "bad\n"; got != want {
		t.Errorf("stderr: got %q, want %q", got, want)
	}
	if got, err := os.ReadFile(filepath.Join(vm.Share, "result")); err != nil || string(got) != "back\n" {
		t.Errorf("shared file: got %q, %v", got, err)
	}
}

func TestTimeoutKillsTheVM(t *testing.T) {
	vm, _, _ := machine(t)
	vm.Timeout = time.Second
	if _, err := vm.Run(context.Background(), Job{Command: "sleep 60"}, nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v, want %v", err, ErrTimeout)
	}
}
