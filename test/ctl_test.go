//go:build linux && (arm64 || amd64)

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nopal/internal/session"
)

// steps is programs/steps.c, which makes as many rounds of calls as it is told to.
type steps struct {
	*process
	total int
}

func startSteps(t *testing.T, args ...string) *steps {
	t.Helper()
	return &steps{process: startReady(t, append([]string{fixture(t, "steps")}, args...)...)}
}

// do makes the program do n rounds, and waits for it.
func (s *steps) do(t *testing.T, n int) {
	t.Helper()
	s.total += n
	if _, err := fmt.Fprintln(s.stdin, n); err != nil {
		t.Fatal(err)
	}
	s.waitFor(t, fmt.Sprintf("rounds %d\n", s.total))
}

// rounds wants a recording with so many whole rounds of steps, and what was lost with them.
func rounds(t *testing.T, file string, n int) {
	t.Helper()
	r := count(t, file)
	if r.lost != 0 || r.calls[who{"s1", 0}] != uint64(n) || r.calls[who{"s2", 0}] != uint64(2*n) || r.calls[who{"s3", 0}] != uint64(4*n) {
		t.Errorf("%s: s1 %d, s2 %d, s3 %d, lost %d: want %d rounds", filepath.Base(file),
			r.calls[who{"s1", 0}], r.calls[who{"s2", 0}], r.calls[who{"s3", 0}], r.lost, n)
	}
}

// recorder is a nopal that records a running process.
type recorder struct {
	*process
	target, file string
}

// startRecorder attaches, and returns when the recording can be controlled.
func startRecorder(t *testing.T, pid string, options ...string) *recorder {
	t.Helper()
	r := &recorder{target: pid, file: t.TempDir() + "/nopal.data"}
	r.process = start(t, append([]string{nopalBin(t), "record", "-p", pid, "-o", r.file}, options...)...)
	answers(t, pid)
	return r
}

// answers waits until a recording can be controlled.
func answers(t *testing.T, target string) {
	t.Helper()
	pid, err := strconv.Atoi(target)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a recording that answers", func() bool {
		_, err := session.Control(context.Background(), pid, session.ControlRequest{Action: session.ActionStatus})
		return err == nil
	})
}

// ctl controls the recording.
func (r *recorder) ctl(t *testing.T, args ...string) string {
	t.Helper()
	return nopalOK(t, append([]string{"ctl", "-p", r.target}, args...)...).stdout
}

// ask does the same without another process, which takes a second on a busy machine.
func (r *recorder) ask(t *testing.T, action session.Action, globs ...string) session.ControlReply {
	t.Helper()
	pid, err := strconv.Atoi(r.target)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := session.Control(context.Background(), pid, session.ControlRequest{Action: action, Globs: globs})
	if err != nil {
		t.Fatalf("%s %v: %v", action, globs, err)
	}
	return reply
}

func (r *recorder) status(t *testing.T) session.RecordingStatus {
	t.Helper()
	return *r.ask(t, session.ActionStatus).Status
}

// stop ends the recording through its socket.
func (r *recorder) stop(t *testing.T) {
	t.Helper()
	r.ctl(t, "stop")
	// When ctl returns the recording is complete.
	count(t, r.file)
	if o := r.wait(t); !o.ok() || !strings.Contains(o.stderr, "stopped by ctl") {
		t.Errorf("the recording ends with status %#x\n%s", o.status, o.stderr)
	}
	clean(t, r.target)
	// Others may be recording on this machine.
	for _, name := range []string{r.target, "nopal-" + r.pid()} {
		if _, err := os.Stat("/run/nopal/" + name + ".sock"); err == nil {
			t.Errorf("left behind: %s.sock", name)
		}
	}
}

func TestCtlStatusAndStop(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "-F", "s*", "--overwrite")
	p.do(t, 100)
	var s session.RecordingStatus
	if err := json.Unmarshal([]byte(r.ctl(t, "status", "--format=json")), &s); err != nil {
		t.Fatal(err)
	}
	if s.Nopal != r.Process.Pid || !s.Tracing || s.Lost != 0 || s.Output != r.file || time.Since(s.Started) > time.Hour ||
		len(s.Filters) != 1 || len(s.Processes) != 1 || strings.Join(s.Modes, " ") != "overwrite" {
		t.Errorf("status is %+v", s)
	}
	if q := s.Processes[0]; fmt.Sprint(q.PID) != p.pid() || q.Command != "steps" || q.Sites < 4 || q.Armed != 3 || q.Prepared < 3 ||
		q.PagesUsed == 0 || q.Pages == 0 {
		t.Errorf("status of the process is %+v", q)
	}
	text := r.ctl(t, "status")
	for _, want := range []string{"tracing", r.file, "3 armed", p.pid(), "overwrite", "s*"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	r.stop(t)
	rounds(t, r.file, 100)
	p.do(t, 1)
	p.finish(t)
}

// What there is to control, and by whom.
func TestCtlRefuses(t *testing.T) {
	p := startSteps(t)
	refused(t, nopal(t, "ctl", "-p", p.pid(), "status"), "not being recorded")
	refused(t, nopal(t, "ctl", "-p", "4194303", "status"), "no such process")
	r := startRecorder(t, p.pid())
	other := startSteps(t)
	refused(t, nopal(t, "ctl", "-p", other.pid(), "stop"), "not being recorded")
	// Another user, whom the directory keeps out.
	bin := "/tmp/nopal-of-others"
	if b, err := os.ReadFile(nopalBin(t)); err != nil || os.WriteFile(bin, b, 0o755) != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(bin) })
	o := runAs(t, 12345, bin, "ctl", "-p", p.pid(), "stop")
	refused(t, o, "not being recorded")
	if s := r.status(t); s.Nopal != r.Process.Pid {
		t.Errorf("the recording is not what it was: %+v", s)
	}
	r.stop(t)
	p.finish(t)
	other.finish(t)
}

// While it is off nothing is recorded, and nothing is lost by switching; the recording says when that was.
func TestCtlOnOff(t *testing.T) {
	for _, options := range [][]string{{"-F", "s*"}, {"--regs"}, {"--overwrite"}, {"--graph"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			p := startSteps(t)
			r := startRecorder(t, p.pid(), options...)
			all := r.status(t).Processes[0].Armed
			want := 0
			for range 3 {
				p.do(t, 10)
				want += 10
				r.ask(t, session.ActionOff)
				if s := r.status(t); s.Tracing || s.Processes[0].Armed != 0 {
					t.Errorf("switched off: %+v", s)
				}
				p.do(t, 1000)
				r.ask(t, session.ActionOn)
				if s := r.status(t); !s.Tracing || s.Processes[0].Armed != all {
					t.Errorf("switched on: %+v", s)
				}
			}
			p.do(t, 1)
			if text := r.ctl(t, "on"); !strings.Contains(text, "already") {
				t.Errorf("switched on twice: %s", text)
			}
			r.stop(t)
			rounds(t, r.file, want+1)
			p.do(t, 1)
			p.finish(t)
			if got := marks(t, r.file); got != strings.Repeat("tracing switched off\ntracing switched on\n", 3) {
				t.Errorf("the recording says:\n%s", got)
			}
		})
	}
}

// What a trigger, or --trace off, has switched off is switched on by ctl.
func TestCtlOnAfterTrigger(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "--trace", "off", "-F", "s*")
	p.do(t, 10)
	if r.status(t).Tracing {
		t.Error("begun with --trace off it is on")
	}
	r.ctl(t, "on")
	if !r.status(t).Tracing {
		t.Error("switched on it is off")
	}
	p.do(t, 5)
	r.stop(t)
	rounds(t, r.file, 5)
	p.finish(t)
}

// marks are what a recording says that was done to it.
func marks(t *testing.T, file string) string {
	t.Helper()
	var texts strings.Builder
	for line := range strings.Lines(nopalOK(t, "replay", "-i", file, "--format=jsonl").stdout) {
		var m struct{ Type, Text string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m.Type == "mark" {
			texts.WriteString(m.Text + "\n")
		}
	}
	return texts.String()
}

// calls wants numbers of calls of s1, s2 and s3.
func calls(t *testing.T, file string, want ...uint64) {
	t.Helper()
	r := count(t, file)
	for i, n := range want {
		if name := fmt.Sprintf("s%d", i+1); r.calls[who{name, 0}] != n {
			t.Errorf("%d calls of %s, want %d", r.calls[who{name, 0}], name, n)
		}
	}
}

func TestCtlArm(t *testing.T) {
	for _, options := range [][]string{{"-F", "s3"}, {"-F", "s3", "--prepare-all"}, {"--graph"}} {
		t.Run(fmt.Sprint(options), func(t *testing.T) {
			p := startSteps(t)
			r := startRecorder(t, p.pid(), options...)
			if options[0] != "-F" {
				r.ask(t, session.ActionDisarm, "[!s]*", "s[12]")
			}
			p.do(t, 10)
			r.ask(t, session.ActionArm, "s1")
			p.do(t, 10)
			r.ask(t, session.ActionDisarm, "s3")
			p.do(t, 10)
			r.ctl(t, "arm", "s2", "steps:s[3-9]")
			p.do(t, 10)
			if s := r.status(t); s.Processes[0].Armed != 3 || len(s.Filters) < 4 {
				t.Errorf("all armed again: %+v", s)
			}
			refused(t, nopal(t, "ctl", "-p", p.pid(), "arm", "nosuch"), "nosuch")
			refused(t, nopal(t, "ctl", "-p", p.pid(), "arm", "[z"), "[z")
			r.stop(t)
			calls(t, r.file, 30, 20, 120)
			p.do(t, 1)
			p.finish(t)
		})
	}
}

// A profile can be steered as well: what is armed later is counted from then on, and nothing while it is off.
func TestCtlProfile(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "--profile", "-F", "s3")
	p.do(t, 10)
	r.ask(t, session.ActionArm, "s1")
	p.do(t, 10)
	r.ask(t, session.ActionOff)
	p.do(t, 100)
	r.ask(t, session.ActionOn)
	p.do(t, 10)
	r.ctl(t, "stop")
	if o := r.wait(t); !o.ok() {
		t.Errorf("the recording ends with status %#x\n%s", o.status, o.stderr)
	}
	clean(t, p.pid())
	p.do(t, 1)
	p.finish(t)
	report := nopalOK(t, "report", "-i", r.file, "--format=csv").stdout
	for name, want := range map[string]string{"s1": "20", "s3": "120"} {
		if !strings.Contains(report, "\n"+name+",") || !strings.Contains(report, ","+want+",") {
			t.Errorf("no %s calls of %s in\n%s", want, name, report)
		}
	}
}

func TestCtlFilter(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "-F", "s3")
	p.do(t, 10)
	r.ctl(t, "filter", "-F", "s*", "-N", "s3")
	p.do(t, 10)
	r.ctl(t, "arm", "s3")
	r.ctl(t, "filter", "-F", "s2")
	p.do(t, 10)
	refused(t, nopal(t, "ctl", "-p", p.pid(), "filter", "-F", "s22"), "s2")
	refused(t, nopal(t, "ctl", "-p", p.pid(), "filter", "-F", "s2@arg1>1"), "nopal record")
	if s := r.status(t); s.Processes[0].Armed != 1 || len(s.Filters) != 1 || s.Filters[0] != "s2" {
		t.Errorf("only s2: %+v", s)
	}
	r.ctl(t, "filter", "-F", "*")
	p.do(t, 1)
	r.stop(t)
	calls(t, r.file, 10+1, 20+20+2, 40+4)
	p.do(t, 1)
	p.finish(t)
}

// Depth and duration can be limited, and the limits taken away, while a graph is recorded.
func TestCtlLimits(t *testing.T) {
	p := startSteps(t)
	r := startRecorder(t, p.pid(), "--graph", "-F", "s1")
	p.do(t, 10)
	r.ctl(t, "filter", "-D", "2")
	p.do(t, 10)
	r.ctl(t, "filter", "-D", "0", "-t", "1h")
	if s := r.status(t); s.MinTime != int64(time.Hour) || s.Depth != 0 {
		t.Errorf("limited: %+v", s)
	}
	p.do(t, 10)
	r.ctl(t, "filter", "-t", "0")
	p.do(t, 10)
	r.stop(t)
	calls(t, r.file, 30, 60, 80)
	r = startRecorder(t, p.pid())
	refused(t, nopal(t, "ctl", "-p", p.pid(), "filter", "-t", "1ms"), "--graph")
	r.stop(t)
	p.finish(t)
}

// Root finds a recording that a user makes, and only its user may control it else.
func TestCtlOfUser(t *testing.T) {
	const uid = 12345
	bin := "/tmp/nopal-of-user"
	if b, err := os.ReadFile(nopalBin(t)); err != nil || os.WriteFile(bin, b, 0o755) != nil {
		t.Fatal(err)
	}
	prog := "/tmp/steps-of-user"
	if b, err := os.ReadFile(fixture(t, "steps")); err != nil || os.WriteFile(prog, b, 0o755) != nil {
		t.Fatal(err)
	}
	runtime, err := os.MkdirTemp("/tmp", "runtime")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.Remove(bin)
		os.Remove(prog)
		os.RemoveAll(runtime)
	})
	if err := os.Chown(runtime, uid, uid); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_RUNTIME_DIR=" + runtime, "PATH=" + os.Getenv("PATH")}
	p := startAs(t, uid, env, prog)
	p.waitFor(t, "ready")
	rec := startAs(t, uid, env, bin, "record", "-p", p.pid(), "-o", runtime+"/nopal.data")
	answers(t, p.pid())
	if o := startAs(t, uid, env, bin, "ctl", "-p", p.pid(), "status").wait(t); !o.ok() {
		t.Errorf("the user is refused: %s", o.stderr)
	}
	refused(t, startAs(t, uid+1, env, bin, "ctl", "-p", p.pid(), "stop").wait(t), "not being recorded")
	nopalOK(t, "ctl", "-p", p.pid(), "stop")
	if o := rec.wait(t); !o.ok() {
		t.Errorf("the recording ends with status %#x\n%s", o.status, o.stderr)
	}
	p.finish(t)
}

// startAs starts a program as another user.
func startAs(t *testing.T, uid uint32, env []string, argv ...string) *process {
	t.Helper()
	return startWith(t, func(p *process) {
		p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		p.Env, p.Dir = env, "/"
	}, argv...)
}

func runAs(t *testing.T, uid uint32, argv ...string) outcome {
	t.Helper()
	return startAs(t, uid, nil, argv...).wait(t)
}

// A recording of a command is found under its children's pids, too, and stopping it leaves the command running.
func TestCtlOfCommand(t *testing.T) {
	file := t.TempDir() + "/nopal.data"
	rec := start(t, nopalBin(t), "record", "-o", file, "--", "sh", "-c", "true; "+fixture(t, "steps")+"; exit 7")
	rec.waitFor(t, "ready")
	shell := childOf(t, rec.pid())
	child := childOf(t, shell)
	p := &steps{process: rec}
	answers(t, child)
	p.do(t, 10)
	nopalOK(t, "ctl", "-p", shell, "status")
	nopalOK(t, "ctl", "-p", child, "stop")
	p.do(t, 10)
	if o := p.finish(t); o.status.ExitStatus() != 7 {
		t.Errorf("nopal ends with status %#x, the command with 7\n%s", o.status, o.stderr)
	}
	rounds(t, file, 10)
}
