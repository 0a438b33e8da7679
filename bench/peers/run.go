package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench is a measurement under way.
type bench struct {
	options options
	peers   []peer
	loads   []workload
	results *results
	dir     string // for the runs, below build/peers
	daemon  *os.Process
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o}
	if o.quick {
		b.options.runs = 1
	}
	for _, p := range peers(o.nopal) {
		if o.only == nil || o.only[p.name] || p.name == "untraced" {
			b.peers = append(b.peers, p)
		}
	}
	for _, w := range workloads(o.quick) {
		if o.workloads == nil || o.workloads[w.name] {
			b.loads = append(b.loads, w)
		}
	}
	if len(b.peers) < 2 && o.only != nil && !o.only["untraced"] || len(b.loads) == 0 {
		return nil, errors.New("nothing to measure: -list shows the names")
	}
	if err := os.MkdirAll("build/peers", 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("build/peers", "run.")
	if err != nil {
		return nil, err
	}
	if b.dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	b.results = newResults(machineOf(ctx), b.peers, b.loads)
	return b, b.startLTTng(ctx)
}

// startLTTng starts LTTng's session daemon, if a peer needs it and it does not run already.
func (b *bench) startLTTng(ctx context.Context) error {
	needed := false
	for _, p := range b.peers {
		needed = needed || p.daemon
	}
	if _, err := exec.LookPath("lttng-sessiond"); err != nil || !needed {
		return nil
	}
	if exec.CommandContext(ctx, "lttng", "list").Run() == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "lttng-sessiond", "--no-kernel")
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start lttng-sessiond: %w", err)
	}
	b.daemon = cmd.Process
	for range 50 {
		time.Sleep(100 * time.Millisecond)
		if exec.CommandContext(ctx, "lttng", "list").Run() == nil {
			break
		}
	}
	return nil
}

func (b *bench) close() {
	if b.daemon != nil {
		b.daemon.Signal(syscall.SIGTERM)
		b.daemon.Wait()
	}
	os.RemoveAll(b.dir)
}

// measureAll runs everything in turn: a run of each peer, then the next of each. What fails is noted and left out from then on.
func (b *bench) measureAll(ctx context.Context) {
	for _, w := range b.loads {
		for run := range b.options.runs {
			for _, p := range b.peers {
				m := b.results.of(w.name, p.name)
				if m == nil || m.Error != "" || run >= p.most(w, b.options.runs) || ctx.Err() != nil {
					continue
				}
				fmt.Fprintf(os.Stderr, "peers: %s, run %d: %s\n", w.name, run+1, p.name)
				if err := b.once(ctx, w.less(p.slow), p, m); err != nil && ctx.Err() == nil {
					m.Error = err.Error()
					fmt.Fprintf(os.Stderr, "peers: %s: %s: %v\n", w.name, p.name, err)
				}
			}
		}
		if w.name != "empty" {
			continue
		}
		for _, p := range b.peers {
			m := b.results.of(w.name, p.name)
			if m == nil || m.Error != "" || p.noStep != "" || ctx.Err() != nil {
				continue
			}
			fmt.Fprintf(os.Stderr, "peers: counting instructions: %s\n", p.name)
			n, err := b.instructions(ctx, p)
			if err != nil {
				m.StepError = err.Error()
				fmt.Fprintf(os.Stderr, "peers: count instructions: %s: %v\n", p.name, err)
			}
			m.Instructions = n
		}
	}
}

// once makes one run and adds what it took to m.
func (b *bench) once(ctx context.Context, w workload, p peer, m *measurement) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	argv, err := w.argv(p.variant)
	if err != nil {
		return err
	}
	j, err := b.newJob(argv, w.name)
	if err != nil {
		return err
	}
	defer os.RemoveAll(j.dir)
	if p.setup != nil {
		if err := p.setup(ctx, j); err != nil {
			return err
		}
	}
	if p.teardown != nil {
		defer p.teardown(context.WithoutCancel(ctx), j)
	}
	cmd, stderr := b.start(ctx, p, j)
	before := daemonTime()
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, telling(stderr.String()))
	}
	total := time.Since(began)
	times, err := readTimes(j.path("times"))
	if err != nil {
		return fmt.Errorf("%w: %s", err, telling(stderr.String()))
	}
	j.stderr, j.calls = stderr.String(), times.calls
	m.CPU = append(m.CPU, times.cpu)
	m.Wall = append(m.Wall, times.wall)
	m.Whole = append(m.Whole, total.Seconds())
	all := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + daemonTime() - before
	m.AllCPU = append(m.AllCPU, all.Seconds())
	m.Calls = times.calls
	if p.result == nil {
		return nil
	}
	r, err := p.result(ctx, j)
	if err != nil {
		return err
	}
	m.Events, m.Bytes, m.Note = r.events, r.bytes, r.note
	m.Lost = append(m.Lost, r.lost)
	return nil
}

func (b *bench) newJob(argv []string, load string) (job, error) {
	dir, err := os.MkdirTemp(b.dir, "job.")
	return job{argv: argv, dir: dir, workload: load}, err
}

// start prepares the command of a run: in a directory of its own, with no input and no use for its output.
func (b *bench) start(ctx context.Context, p peer, j job) (*exec.Cmd, *strings.Builder) {
	argv, env := p.command(j)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(append(os.Environ(), "PEERS_TIMES="+j.path("times")), env...)
	cmd.Dir = j.dir
	// A tool that is killed leaves its program behind, so all of its process group is.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stderr := new(strings.Builder)
	cmd.Stderr = &limited{to: stderr}
	return cmd, stderr
}

// limited keeps the last of what a tool says: some warn at each call.
type limited struct{ to *strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.to.Len() > 1<<16 {
		l.to.Reset()
	}
	return l.to.Write(p)
}

// times is what the program wrote about itself, in seconds.
type times struct {
	cpu, wall float64
	calls     uint64
}

func readTimes(file string) (times, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return times{}, fmt.Errorf("read the program's times: %w", err)
	}
	var cpu, wall, calls uint64
	if _, err := fmt.Sscan(string(data), &cpu, &wall, &calls); err != nil {
		return times{}, fmt.Errorf("read the program's times %q: %w", data, err)
	}
	return times{cpu: float64(cpu) / 1e9, wall: float64(wall) / 1e9, calls: calls}, nil
}

// daemonTime adds up the processor time of LTTng's daemons, which work for the program but are not started by us.
func daemonTime() time.Duration {
	var total time.Duration
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		comm, rest, ok := strings.Cut(string(data), ") ")
		if !ok || !strings.Contains(comm, "(lttng-") {
			continue
		}
		// utime and stime are fields 14 and 15; the rest begins with field 3. Ticks are hundredths of a second.
		fields := strings.Fields(rest)
		var user, system int64
		if len(fields) > 12 {
			fmt.Sscan(fields[11], &user)
			fmt.Sscan(fields[12], &system)
		}
		total += time.Duration(user+system) * 10 * time.Millisecond
	}
	return total
}
