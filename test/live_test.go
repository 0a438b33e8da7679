//go:build linux && (arm64 || amd64)

package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// liveCalls finds the number of calls of a function in the last table of live's output.
func liveCalls(t *testing.T, text, name string) int {
	t.Helper()
	calls := -1
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 2 && f[len(f)-1] == name {
			n, err := strconv.Atoi(f[0])
			if err != nil {
				t.Fatalf("row %q: %v", line, err)
			}
			calls = n
		}
	}
	return calls
}

// The table says what a process does, and the process is left as it was.
func TestLiveOfProcess(t *testing.T) {
	p := startSteps(t)
	live := start(t, nopalBin(t), "live", "-p", p.pid(), "--interval", "200ms", "-s", "calls", "-F", "s*")
	answers(t, p.pid())
	p.do(t, 100)
	eventually(t, "a table with 100 rounds", func() bool { return liveCalls(t, live.out.String(), "s3") == 400 })
	if out := live.out.String(); liveCalls(t, out, "s1") != 100 || liveCalls(t, out, "s2") != 200 {
		t.Errorf("tables:\n%s", out)
	}
	live.signal(t, syscall.SIGINT)
	if o := live.wait(t); !o.ok() || o.stderr != "" {
		t.Errorf("live ends with status %#x\n%s", o.status, o.stderr)
	}
	clean(t, p.pid())
	p.do(t, 1)
	// The tables begin when all is installed, however long that takes.
	done, fed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(fed)
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := fmt.Fprintln(p.stdin, 1); err != nil {
				return
			}
		}
	}()
	o := nopal(t, "live", "-p", p.pid(), "-n", "2", "--interval", "300ms")
	close(done)
	<-fed
	if liveCalls(t, o.stdout, "s1") < 1 || !o.ok() || strings.Count(o.stdout, "nopal live:") != 2 {
		t.Errorf("two tables: status %#x\n%s%s", o.status, o.stdout, o.stderr)
	}
	clean(t, p.pid())
	p.finish(t)
}

// Who has had enough before it has begun leaves nothing behind either.
func TestAttachBrokenOff(t *testing.T) {
	p := startSteps(t)
	for i := range 16 {
		live := start(t, nopalBin(t), "live", "-p", p.pid())
		time.Sleep(time.Duration(20*i) * time.Millisecond)
		live.signal(t, syscall.SIGTERM)
		live.wait(t)
		clean(t, p.pid())
	}
	p.do(t, 1)
	p.finish(t)
}

// The last table has all calls of a command, whose status is live's.
func TestLiveOfCommand(t *testing.T) {
	o := nopal(t, "live", "--interval", "10s", "--", "sh", "-c", fixture(t, "fib")+" 15 >/dev/null; exit 3")
	if o.status.ExitStatus() != 3 || liveCalls(t, o.stdout, "fib") != 1973 {
		t.Errorf("status %#x\n%s%s", o.status, o.stdout, o.stderr)
	}
	refused(t, nopal(t, "live", "--", "/no/such/program"), "/no/such/program")
	refused(t, nopal(t, "live"), "nothing to watch")
}

// terminal is a pseudo terminal with a program on it.
type terminal struct {
	*process
	master *os.File
	shown  *lockedBuffer
}

// onTerminal starts a program as the leader of a session on a terminal.
func onTerminal(t *testing.T, argv ...string) *terminal {
	t.Helper()
	master, slave := openPTY(t)
	term := &terminal{master: master, shown: new(lockedBuffer)}
	term.process = startWith(t, func(p *process) {
		p.Stdin, p.Stdout, p.Stderr = slave, slave, slave
		p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	}, argv...)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			_, _ = term.shown.Write(buf[:n])
		}
	}()
	t.Cleanup(func() {
		slave.Close()
		master.Close()
	})
	return term
}

func (term *terminal) press(t *testing.T, keys string) {
	t.Helper()
	if _, err := term.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func (term *terminal) waitShown(t *testing.T, text string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%q on the screen", text), func() bool { return strings.Contains(term.shown.String(), text) })
}

// On a terminal keys choose what is shown, and the terminal is given back however it ends.
func TestLiveOnTerminal(t *testing.T) {
	p := startSteps(t)
	for _, end := range []string{"q", "\x03", "SIGTERM"} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			term := onTerminal(t, nopalBin(t), "live", "-p", p.pid(), "--interval", "100ms", "-F", "s*")
			before := termios(t, term.master)
			term.waitShown(t, "sorted by total")
			term.press(t, "c")
			term.waitShown(t, "sorted by calls")
			term.press(t, "\x1b[A") // an arrow is no key of ours
			term.press(t, "h")
			term.waitShown(t, "THREAD")
			if raw := termios(t, term.master); raw == before {
				t.Error("the terminal is not raw")
			}
			answers(t, p.pid())
			p.do(t, 3)
			term.waitShown(t, "21 calls")
			if end == "SIGTERM" {
				term.signal(t, syscall.SIGTERM)
			} else {
				term.press(t, end)
			}
			if o := term.wait(t); !o.ok() {
				t.Errorf("live ends with status %#x\n%s", o.status, term.shown)
			}
			term.waitShown(t, "\x1b[?1049l")
			shown := term.shown.String()
			if strings.Count(shown, "\x1b[?1049h") != 1 || strings.Count(shown, "\x1b[?1049l") != 1 || !strings.Contains(shown, "\x1b[?25h") {
				t.Errorf("the screen is not left: %q", shown)
			}
			if after := termios(t, term.master); after.Lflag&syscall.ICANON == 0 || after.Lflag&syscall.ECHO == 0 {
				t.Errorf("the terminal is left raw: %+v", after)
			}
			clean(t, p.pid())
		})
	}
	p.finish(t)
}

// The output of a command does not get between the lines of the table, which fits the terminal when it has another
// size; q ends the command.
func TestLiveOfCommandOnTerminal(t *testing.T) {
	term := onTerminal(t, nopalBin(t), "live", "--interval", "200ms", "--", "sh", "-c",
		"while :; do "+fixture(t, "fib")+" 5; cat; done")
	term.waitShown(t, "  fib\x1b[K")
	narrow := "sort by: c calls  t total  s self"
	resize(t, term.master, len(narrow), 10)
	term.waitShown(t, "\r\n"+narrow+"\x1b[K")
	term.press(t, "q")
	o := term.wait(t)
	if !o.status.Signaled() || o.status.Signal() != syscall.SIGTERM {
		t.Errorf("live ends with status %#x, the command was told to end\n%s", o.status, term.shown)
	}
	term.waitShown(t, "\x1b[?1049l")
	if screen, _, _ := strings.Cut(term.shown.String(), "\x1b[?1049l"); strings.Contains(screen, "calls fib") {
		t.Errorf("the command's output is on the screen:\n%q", screen)
	}
}
