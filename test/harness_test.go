//go:build linux && (arm64 || amd64)

package test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A shell that starts the tests in the background has SIGINT ignored, and so would have every
// program that is started here: handled, it is back to its default in them.
func TestMain(m *testing.M) {
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, syscall.SIGINT)
	go func() {
		<-interrupt
		os.Exit(130)
	}()
	os.Exit(m.Run())
}

// skip skips the test, but in CI nothing is skipped.
func skip(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// notYet skips a test of what x86-64 does not have yet.
func notYet(t *testing.T, what string) {
	t.Helper()
	if runtime.GOARCH == "amd64" {
		t.Skip(what + ": not on x86-64 yet")
	}
}

// notYetOf skips a program that cannot be recorded in this way on x86-64 yet, or is not made for it.
func notYetOf(t *testing.T, line string, programs ...string) {
	t.Helper()
	name, _, _ := strings.Cut(strings.Fields(line)[0], "-")
	if slices.Contains(programs, name) || slices.Contains(programs, strings.Fields(line)[0]) {
		notYet(t, line)
	}
}

// nopalBin is the program under test.
func nopalBin(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("NOPAL_BIN")
	if bin == "" {
		skip(t, "NOPAL_BIN is not set: run by make test")
	}
	if os.Getuid() != 0 {
		skip(t, "not root")
	}
	return bin
}

// fixture is the path of a program compiled by build.sh, from test/programs unless name says otherwise.
func fixture(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("NOPAL_FIXTURES")
	if dir == "" {
		skip(t, "NOPAL_FIXTURES is not set: run by make test")
	}
	path := filepath.Join(dir, "test", name)
	if filepath.Dir(name) != "." {
		path = filepath.Join(dir, name)
	}
	if _, err := os.Stat(path); err != nil {
		skip(t, "test/build.sh did not make "+name)
	}
	return path
}

// outcome is what a program left behind.
type outcome struct {
	stdout, stderr string
	status         syscall.WaitStatus
}

func (o outcome) ok() bool { return o.status.Exited() && o.status.ExitStatus() == 0 }

const patience = 60 * time.Second

// run runs a command to its end, with stdin.
func run(t *testing.T, stdin string, argv ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A grandchild that outlives the command and holds the pipes must not hang the test.
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %s: %v\n%s%s", strings.Join(argv, " "), err, out.String(), errs.String())
	}
	if ctx.Err() != nil {
		t.Fatalf("run %s: did not end in %v\n%s%s", strings.Join(argv, " "), patience, out.String(), errs.String())
	}
	return outcome{out.String(), errs.String(), cmd.ProcessState.Sys().(syscall.WaitStatus)}
}

// nopal runs nopal itself.
func nopal(t *testing.T, args ...string) outcome {
	t.Helper()
	return run(t, "", append([]string{nopalBin(t)}, args...)...)
}

// nopalOK runs nopal and wants status 0.
func nopalOK(t *testing.T, args ...string) outcome {
	t.Helper()
	o := nopal(t, args...)
	if !o.ok() {
		t.Fatalf("nopal %s: status %#x\n%s%s", strings.Join(args, " "), o.status, o.stdout, o.stderr)
	}
	return o
}

// process is a program that runs beside the test.
type process struct {
	*exec.Cmd
	out, errs *lockedBuffer
	stdin     io.WriteCloser
	done      chan error
}

// start starts a program; the test's end kills it if it is still there.
func start(t *testing.T, argv ...string) *process {
	t.Helper()
	return startWith(t, func(*process) {}, argv...)
}

// startWith is start after something has been done to the command.
func startWith(t *testing.T, change func(*process), argv ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(argv[0], argv[1:]...), out: new(lockedBuffer), errs: new(lockedBuffer), done: make(chan error, 1)}
	p.Stdout, p.Stderr = p.out, p.errs
	p.WaitDelay = 5 * time.Second
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	change(p)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		p.done <- p.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
		default:
			if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Log(err)
			}
			<-ended
		}
	})
	return p
}

// startReady starts a program of ours that prints "ready" when it is.
func startReady(t *testing.T, argv ...string) *process {
	t.Helper()
	p := start(t, argv...)
	p.waitFor(t, "ready")
	return p
}

// waitFor waits until the program has printed text.
func (p *process) waitFor(t *testing.T, text string) {
	t.Helper()
	eventually(t, "output "+text+" of "+p.Path, func() bool { return strings.Contains(p.out.String(), text) })
}

// wait waits for the end.
func (p *process) wait(t *testing.T) outcome {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(p.Process.Pid) + "/status")
		t.Fatalf("%s did not end\n%s%s%s", strings.Join(p.Args, " "), p.out, p.errs, status)
	}
	return outcome{p.out.String(), p.errs.String(), p.ProcessState.Sys().(syscall.WaitStatus)}
}

// finish ends a program that runs until its stdin does.
func (p *process) finish(t *testing.T) outcome {
	t.Helper()
	p.stdin.Close()
	return p.wait(t)
}

func (p *process) pid() string { return strconv.Itoa(p.Process.Pid) }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatalf("signal %s: %v", p.Path, err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience / 2); ; time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("never came: %s", what)
		}
	}
}
