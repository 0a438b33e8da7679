package tracee

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// targetPath returns the compiled testdata/target.c: from the fixtures that were compiled
// for this machine, or compiled here and now.
var targetPath = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv("NOPAL_FIXTURES"); dir != "" {
		path := filepath.Join(dir, "tracee", "target")
		_, err := os.Stat(path)
		return path, err
	}
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return "", err
	}
	path := filepath.Join(os.TempDir(), "nopal-tracee-target")
	if out, err := exec.Command(cc, "-O2", "-g", "-static", "-pthread", "-o", path, "testdata/target.c").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

func targetFile(t *testing.T) string {
	t.Helper()
	path, err := targetPath()
	if err != nil {
		t.Skipf("no target program: %v", err)
	}
	return path
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newTestTracer(t *testing.T) *Tracer {
	t.Helper()
	tr := NewTracer()
	t.Cleanup(tr.Close)
	return tr
}

// target is a running test program that is not launched by the tracer.
type target struct {
	t   *testing.T
	pid int
	out *bufio.Reader
	cmd *exec.Cmd
}

// start runs the target program as a grandchild, so that the tracer's process is not
// its parent and reaps nothing of it, and waits until it is ready. Its
// parent prints its status at the end.
func start(t *testing.T, args ...string) *target {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{targetFile(t)}, args...)...)
	cmd.Env = append(os.Environ(), "NOPAL_TEST_PARENT=1")
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := &target{t: t, out: bufio.NewReader(pipe), cmd: cmd}
	// Its id and its readiness, in any order.
	for range 2 {
		line := g.line()
		if line == "ready" {
			continue
		}
		if g.pid, err = strconv.Atoi(line); err != nil {
			t.Fatalf("target says %q", line)
		}
	}
	t.Cleanup(func() {
		_ = syscall.Kill(g.pid, syscall.SIGKILL)
		_, _ = io.Copy(io.Discard, g.out)
		_ = cmd.Wait()
	})
	return g
}

// line returns the next line that the target prints.
func (g *target) line() string {
	g.t.Helper()
	s, err := g.out.ReadString('\n')
	if err != nil {
		g.t.Fatalf("read from the target: %v", err)
	}
	return strings.TrimSuffix(s, "\n")
}

// TestMain is also the parent of targets and a tracer to be killed.
func TestMain(m *testing.M) {
	if os.Getenv("NOPAL_TEST_PARENT") == "1" {
		os.Exit(parent(os.Args[1:]))
	}
	if os.Getenv("NOPAL_TEST_CALLS") == "1" {
		os.Exit(calls(os.Args[1]))
	}
	os.Exit(m.Run())
}

func parent(args []string) int {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 1
	}
	fmt.Printf("%d\n", cmd.Process.Pid)
	_ = cmd.Wait()
	fmt.Printf("status %s\n", cmd.ProcessState)
	return 0
}

// symbol returns the address of a symbol of the (static) target program.
func symbol(t *testing.T, name string) uint64 {
	t.Helper()
	f, err := elf.Open(targetFile(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	syms, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name == name {
			return s.Value
		}
	}
	t.Fatalf("no symbol %s in the target", name)
	return 0
}

// leave tells a target to come to its end.
func leave(t *testing.T, m io.WriterAt) {
	t.Helper()
	if _, err := m.WriteAt([]byte{1}, int64(symbol(t, "leave"))); err != nil {
		t.Fatal(err)
	}
}
