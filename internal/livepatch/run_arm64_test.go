package livepatch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nopal/internal/image"
	"nopal/internal/tracee"
)

// program is a running fixture.
type program struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startProgram starts testdata/ways.c.
func startProgram(t *testing.T, args ...string) *program {
	t.Helper()
	dir := os.Getenv("NOPAL_FIXTURES")
	if dir == "" {
		t.Skip("NOPAL_FIXTURES is not set: run by make test-vm")
	}
	p := &program{Cmd: exec.Command(filepath.Join(dir, "livepatch", "ways"), args...)}
	p.Stderr = os.Stderr
	var err error
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	if line, err := p.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("it says %q: %v", line, err)
	}
	return p
}

// counts asks how many calls took which way since it was last asked.
func (p *program) counts(t *testing.T) (olds, news, wrong int) {
	t.Helper()
	if _, err := p.in.Write([]byte{'\n'}); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "%d old %d new %d wrong", &olds, &news, &wrong); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return olds, news, wrong
}

// expect lets the program run for a moment and wants all calls to go one way.
func (p *program) expect(t *testing.T, w way) {
	t.Helper()
	p.counts(t)
	// What had begun before has been counted by then.
	time.Sleep(20 * time.Millisecond)
	p.counts(t)
	time.Sleep(20 * time.Millisecond)
	olds, news, wrong := p.counts(t)
	if wrong != 0 || (w == newFunctions) != (news > 0) || (w == oldFunctions) != (olds > 0) {
		t.Errorf("%d calls went the old way, %d the new one, %d a wrong one; want %v", olds, news, wrong, w)
	}
}

// byHand is a patch that leads functions of the program to others that it has already.
func byHand(t *testing.T, p *process, pairs map[string]string) ([]Func, *Image) {
	t.Helper()
	o := p.objects[0]
	at := map[string]image.Func{}
	for _, f := range o.Image.Funcs() {
		at[f.Name] = f
	}
	im := &Image{Target: o.Mapped, New: map[string]Range{}}
	var funcs []Func
	for _, s := range o.Image.Sites() {
		name := o.Image.SiteName(s)
		to, ok := pairs[name]
		if !ok {
			continue
		}
		f := at[name]
		code := make([]byte, f.Size)
		if _, err := o.Image.ReadVA(code, f.Addr); err != nil {
			t.Fatal(err)
		}
		funcs = append(funcs, Func{Name: name, OldVA: f.Addr, OldSize: f.Size, SiteVA: s.Addr, OldHash: sha256.Sum256(code)})
		im.New[name] = Range{at[to].Addr + o.Bias, at[to].Size}
	}
	if len(funcs) != len(pairs) {
		t.Fatalf("found %d of %v", len(funcs), pairs)
	}
	return funcs, im
}

var both = map[string]string{"outer": "new_outer", "inner": "new_inner"}

func applyByHand(t *testing.T, pid int, name string, pairs map[string]string, o Options) (*Result, error) {
	t.Helper()
	p, err := openProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	funcs, im := byHand(t, p, pairs)
	o.Log = t.Logf
	if err := p.ready(context.Background(), name, o); err != nil {
		return nil, err
	}
	return p.apply(context.Background(), name, false, funcs, im, o)
}

func TestApply(t *testing.T) {
	for _, kind := range []string{"busy", "blocked", "recursive", "born"} {
		t.Run(kind, func(t *testing.T) {
			prog := startProgram(t, "4", kind)
			prog.expect(t, oldFunctions)
			res, err := applyByHand(t, prog.Process.Pid, "first", both, Options{Timeout: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", *res)
			prog.expect(t, newFunctions)
		})
	}
}

// text gives the program's text as it is in memory.
func (p *program) text(t *testing.T) string {
	t.Helper()
	q := &process{pid: p.Process.Pid}
	var err error
	if q.objects, err = objectsOf(q.pid); err != nil {
		t.Fatal(err)
	}
	defer q.closeObjects()
	mem, err := tracee.OpenMemory(q.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	b := make([]byte, q.objects[0].end-q.objects[0].start)
	if _, err := mem.ReadAt(b, int64(q.objects[0].start)); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (p *program) revert(t *testing.T, name string) {
	t.Helper()
	res, err := Revert(context.Background(), p.Process.Pid, name, Options{Timeout: time.Minute, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *res)
}

// state gives the state of a patch and how many threads are pending.
func (p *program) state(t *testing.T, name string) string {
	t.Helper()
	st, err := StatusOf(p.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range st.Patches {
		if q.Name == name {
			return q.State
		}
	}
	return ""
}

func TestRevert(t *testing.T) {
	for _, kind := range []string{"busy", "recursive"} {
		t.Run(kind, func(t *testing.T) {
			prog := startProgram(t, "4", kind)
			before := prog.text(t)
			for range 2 {
				if _, err := applyByHand(t, prog.Process.Pid, "first", both, Options{Timeout: time.Minute}); err != nil {
					t.Fatal(err)
				}
				if s := prog.state(t, "first"); s != stateApplied {
					t.Errorf("its state is %s", s)
				}
				prog.expect(t, newFunctions)
				prog.revert(t, "")
				if s := prog.state(t, "first"); s != stateReverted {
					t.Errorf("its state is %s", s)
				}
				prog.expect(t, oldFunctions)
				if prog.text(t) != before {
					t.Error("the text is not what it was")
				}
			}
		})
	}
}

// TestTimeout has a thread that never leaves the old function.
func TestTimeout(t *testing.T) {
	prog := startProgram(t, "4", "stuck")
	before := prog.text(t)
	_, err := applyByHand(t, prog.Process.Pid, "first", both, Options{Timeout: 4 * time.Second})
	if err == nil || !strings.Contains(err.Error(), "is in outer") || !strings.Contains(err.Error(), "timeout") {
		t.Errorf("it says %v", err)
	}
	if s := prog.state(t, "first"); s != stateReverted {
		t.Errorf("its state is %s", s)
	}
	prog.expect(t, oldFunctions)
	if prog.text(t) != before {
		t.Error("the text is not what it was")
	}
	// By force it is done; the thread goes on in the old function.
	if _, err := applyByHand(t, prog.Process.Pid, "first", both, Options{Timeout: 4 * time.Second, Force: true}); err != nil {
		t.Fatal(err)
	}
	if s := prog.state(t, "first"); s != stateApplied {
		t.Errorf("its state is %s", s)
	}
	prog.revert(t, "first")
	if prog.text(t) != before {
		t.Error("the text is not what it was")
	}
}

// TestStack applies patches on top of one another.
func TestStack(t *testing.T) {
	prog := startProgram(t, "3", "busy")
	before := prog.text(t)
	apply := func(name string, pairs map[string]string) {
		t.Helper()
		if _, err := applyByHand(t, prog.Process.Pid, name, pairs, Options{Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	apply("first", both)
	// The second leads back to what was there before.
	apply("second", map[string]string{"outer": "same_outer", "inner": "same_inner"})
	prog.expect(t, oldFunctions)
	_, err := Revert(context.Background(), prog.Process.Pid, "first", Options{})
	if err == nil || !strings.Contains(err.Error(), "second") {
		t.Errorf("reverting the lower one says %v", err)
	}
	prog.revert(t, "second")
	prog.expect(t, newFunctions)
	apply("third", map[string]string{"unused": "new_inner"})
	prog.revert(t, "first") // out of order, but of other functions
	prog.expect(t, oldFunctions)
	prog.revert(t, "")
	if prog.text(t) != before {
		t.Error("the text is not what it was")
	}
}

// TestKilled kills nopal at any time while it applies and reverts. The next one goes on.
func TestKilled(t *testing.T) {
	if pid := os.Getenv("LIVEPATCH_VICTIM"); pid != "" {
		n, _ := strconv.Atoi(pid)
		if os.Getenv("LIVEPATCH_REVERT") != "" {
			_, err := Revert(context.Background(), n, "", Options{})
			t.Log(err)
		} else {
			_, err := applyByHand(t, n, "first", both, Options{})
			t.Log(err)
		}
		return
	}
	prog := startProgram(t, "3", "busy")
	before := prog.text(t)
	random := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Add(12 * time.Second)
	kills, done := 0, 0
	for time.Now().Before(end) && kills < 100 {
		helper := exec.Command(os.Args[0], "-test.run", "^TestKilled$", "-test.v")
		helper.Env = append(os.Environ(), "LIVEPATCH_VICTIM="+strconv.Itoa(prog.Process.Pid))
		if random.IntN(2) == 0 {
			helper.Env = append(helper.Env, "LIVEPATCH_REVERT=1")
		}
		if err := helper.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(random.IntN(900))*time.Millisecond, func() { _ = helper.Process.Kill() })
		if helper.Wait() == nil {
			done++
		}
		timer.Stop()
		kills++
		if _, _, wrong := prog.counts(t); wrong != 0 {
			t.Fatalf("%d calls went wrong", wrong)
		}
	}
	t.Logf("killed %d times, %d not in time", kills-done, done)
	p, err := openProcess(prog.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	err = p.recover(context.Background(), Options{Timeout: time.Minute, Log: t.Logf})
	p.close()
	if err != nil {
		t.Fatal(err)
	}
	for prog.state(t, "first") == stateApplied {
		prog.revert(t, "first")
	}
	prog.expect(t, oldFunctions)
	if prog.text(t) != before {
		t.Error("the text is not what it was")
	}
}

// TestLeftLoading has what a nopal leaves that is killed before the memory of its patch is mapped.
func TestLeftLoading(t *testing.T) {
	prog := startProgram(t, "3", "busy")
	before := prog.text(t)
	leave := func() {
		t.Helper()
		p, err := openProcess(prog.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		if err := p.makeState(context.Background()); err != nil {
			t.Fatal(err)
		}
		funcs, im := byHand(t, p, both)
		q, err := p.plan("left", funcs, im)
		if err == nil {
			err = p.arrange(q, im)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.state.doc.Patches = append(p.state.doc.Patches, q)
		if err := p.state.save(); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	prog.revert(t, "left")
	if s := prog.state(t, "left"); s != stateReverted {
		t.Errorf("its state is %s", s)
	}
	leave()
	// The second of these looks at the stubs of all patches that there were.
	for range 2 {
		if _, err := applyByHand(t, prog.Process.Pid, "first", both, Options{Timeout: time.Minute, Log: t.Logf}); err != nil {
			t.Fatal(err)
		}
		prog.revert(t, "first")
	}
	prog.expect(t, oldFunctions)
	if prog.text(t) != before {
		t.Error("the text is not what it was")
	}
}
