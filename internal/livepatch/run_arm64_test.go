package livepatch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"nopal/internal/image"
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
	return p.apply(context.Background(), name, funcs, im, o)
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
