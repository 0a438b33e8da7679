package session

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"syscall"
	"time"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/ring"
	"nopal/internal/sys"
	"nopal/internal/tracee"
	"nopal/trace"
)

// recorder is the recording being made, and what is common to all targets. It is
// used by one goroutine.
type recorder struct {
	o       Options
	file    *os.File
	w       *trace.Writer
	started time.Time
	cache   *imageCache

	procs   uint32
	images  map[*image.Image]uint32
	threads map[threadKey]bool

	calls    uint64 // of profiles that are complete
	profiled map[profiled]bool

	candidates []*object // all that was offered to the filter
	sites      int       // that can be traced, in all of them
	some       bool      // the filter has let through any
	off        bool      // nothing is to be armed: switched off while it runs
	refused    error     // what was asked for and cannot be: arguments, conditions
	warnings   []string

	begun    bool     // what was asked for has been checked
	ruleAt   []int    // functions that each rule is at
	counters [][]byte // of the rules, for each program
}

type threadKey struct{ proc, tid uint32 }

// newRecorder begins a recording.
func newRecorder(o Options) (*recorder, error) {
	if o.Buffer == 0 {
		o.Buffer = DefaultBuffer
	}
	if _, err := ring.Size(o.Buffer); err != nil {
		return nil, err
	}
	if _, err := (&recorder{o: o}).code(); err != nil {
		return nil, err
	}
	varies := entry.CheckProcessor()
	if varies != nil && !errors.Is(varies, entry.ErrCounterVaries) {
		return nil, varies
	}
	file, err := createOutput(o.Output, o.Owner)
	if err != nil {
		return nil, err
	}
	r := &recorder{
		o: o, file: file, started: time.Now(), cache: newImageCache(),
		images: map[*image.Image]uint32{}, threads: map[threadKey]bool{}, profiled: map[profiled]bool{},
	}
	if r.w, err = trace.NewWriter(file, trace.NativeMachine()); err == nil {
		err = r.begin()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if varies != nil {
		r.warn("%v", varies)
	}
	return r, nil
}

// createOutput creates the file of a recording; one that is there already is moved to
// .old.
func createOutput(path string, owner *Owner) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("keep the earlier recording: %w", err)
		}
	}
	flags := os.O_RDWR | os.O_CREATE | os.O_TRUNC
	if owner != nil {
		flags |= syscall.O_NOFOLLOW // root for somebody else: not through a link put there
	}
	file, err := os.OpenFile(path, flags, 0o666)
	if err != nil {
		return nil, fmt.Errorf("create recording: %w", err)
	}
	if owner != nil {
		if err := file.Chown(owner.UID, owner.GID); err != nil {
			return nil, errors.Join(fmt.Errorf("give recording to its owner: %w", err), file.Close())
		}
	}
	return file, nil
}

// begin writes what is known before there is a target.
func (r *recorder) begin() error {
	host, err := sys.Hostinfo()
	if err != nil {
		return err
	}
	meta := trace.Meta{
		Version: r.o.Version, Command: r.o.CommandLine, Host: host.Node, System: host.System + " " + host.Release, Machine: host.Machine,
		CPUs: uint32(host.CPUs), PageSize: uint32(os.Getpagesize()), Started: r.started.UnixNano(),
	}
	for _, p := range r.o.Filter.Patterns() {
		meta.Options = append(meta.Options, trace.Option{Name: "filter", Value: p.String()})
	}
	for name, on := range map[string]bool{"regs": r.o.Regs, "stack": r.o.Stack, "overwrite": r.o.Overwrite, "graph": r.o.Graph, "profile": r.o.Profile} {
		if on {
			meta.Options = append(meta.Options, trace.Option{Name: name, Value: "true"})
		}
	}
	meta.Options = append(meta.Options, trace.Option{Name: "buffer", Value: fmt.Sprint(r.o.Buffer)})
	if err := r.w.WriteMeta(meta); err != nil {
		return err
	}
	frequency := entry.CounterFrequency()
	if frequency == 0 {
		return entry.ErrNotSupported
	}
	mono, realtime := sys.Clocks()
	return r.w.WriteClock(trace.Clock{Source: native().counter, Frequency: frequency, Ticks: entry.Counter(), Mono: mono, Real: realtime})
}

func (r *recorder) action() uint64 {
	var a uint64
	if r.o.Regs {
		a |= entry.ActionRegs
	}
	if r.o.Stack {
		a |= entry.ActionStack
	}
	return a
}

func (r *recorder) buffer() int64 { return r.o.Buffer &^ (entry.PageSize - 1) }

// warn tells the user something that does not end the recording.
func (r *recorder) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for _, w := range r.warnings {
		if w == text {
			return
		}
	}
	r.warnings = append(r.warnings, text)
	if r.o.Log != nil {
		fmt.Fprintf(r.o.Log, "nopal: %s\n", text)
	}
}

// saw remembers an object that was offered to the filter.
func (r *recorder) saw(o *object) {
	n := 0
	for i := range o.traced.Records {
		if o.traced.Records[i].Reason == "" {
			n++
		}
	}
	if n > 0 && len(r.candidates) < 256 {
		r.candidates = append(r.candidates, o)
	}
	r.sites += n
	r.some = r.some || o.wanted > 0
}

// checkFilter returns an error for a pattern that has matched nothing. Patterns that
// name an object may still match one that is loaded later; what has matched nothing
// by the end, when others have, is worth a warning only: the recording is good.
func (r *recorder) checkFilter(end bool) error {
	if r.sites == 0 {
		r.begun = true
		return nil
	}
	if !end && r.refused != nil {
		return r.refused
	}
	unmatched := r.o.Filter.Unmatched()
	for _, trigger := range r.o.Triggers {
		unmatched = append(unmatched, trigger.Filter.Unmatched()...)
	}
	for _, m := range r.o.Args.Unmatched() {
		unmatched = append(unmatched, m.Pattern)
	}
	unmatched = append(unmatched, r.injectUnmatched()...)
	for _, p := range unmatched {
		if !end && p.HasObject() {
			continue
		}
		err := p.Explain(r.allCandidates())
		if !end || !r.some {
			return err
		}
		r.warn("%v", err)
	}
	r.begun = true
	return nil
}

func (r *recorder) allCandidates() iter.Seq[ftrace.Candidate] {
	return func(yield func(ftrace.Candidate) bool) {
		for _, o := range r.candidates {
			for i := range o.traced.Records {
				raw, demangled := o.SiteNames(o.traced.Records[i].Site)
				if !yield(ftrace.Candidate{Raw: raw, Demangled: demangled, Object: o.path}) {
					return
				}
			}
		}
	}
}

// process introduces a target.
func (r *recorder) process(t *target) error {
	r.procs++
	t.proc = r.procs
	command, _ := tracee.Cmdline(t.pid)
	t.comm, _ = tracee.Comm(t.pid)
	parent := 0
	if s, err := tracee.Status(t.pid); err == nil {
		parent = s.PPid
	}
	return r.w.WriteProcess(trace.Process{
		Proc: t.proc, PID: uint32(t.pid), PPID: uint32(parent), Ticks: entry.Counter(), Command: command,
	})
}

// object introduces an object of a target, and its image where that is new.
func (r *recorder) object(t *target, o *object) error {
	id := r.images[o.im]
	if id == 0 {
		id = uint32(len(r.images) + 1)
		r.images[o.im] = id
		if err := r.w.WriteImage(trace.Image{ID: id, Path: o.path, BuildID: o.im.BuildID}, functions(o.im)); err != nil {
			return err
		}
	}
	entries := trace.Range{
		Proc: t.proc, Image: id, Index: uint32(o.index), Count: uint32((o.end - o.start) / 4),
		Addr: o.start, VA: o.start - o.bias,
	}
	if err := r.w.WriteRange(entries); err != nil || o.exitIndex == 0 {
		return err
	}
	exits := entries
	exits.Index, exits.Kind = uint32(o.exitIndex), trace.RangeExits
	return r.w.WriteRange(exits)
}

// functions are the functions of an image, and one without a name for each site
// that belongs to none.
func functions(im *image.Image) []trace.Func {
	funcs := im.Funcs()
	list := make([]trace.Func, 0, len(funcs))
	for _, f := range funcs {
		list = append(list, trace.Func{VA: f.Addr, Size: f.Size, Name: f.Name})
	}
	for _, s := range im.Sites() {
		if s.Func < 0 {
			list = append(list, trace.Func{VA: s.Entry, Name: im.SiteName(s)})
		}
	}
	return list
}

// sink is where a target's events go.
type sink struct {
	r *recorder
	t *target
}

func (t *target) sink() ring.Sink { return &sink{t.rec, t} }

func (s *sink) thread(tid uint32) error {
	k := threadKey{s.t.proc, tid}
	if s.r.threads[k] {
		return nil
	}
	s.r.threads[k] = true
	name := s.t.comm
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/comm", s.t.pid, tid)); err == nil {
		name = strings.TrimSpace(string(b))
	}
	return s.r.w.WriteThread(trace.Thread{Proc: s.t.proc, TID: tid, Name: name})
}

// Chunk writes a run of events.
func (s *sink) Chunk(stream, tid uint32, base, lost uint64, words []uint64) error {
	if err := s.thread(tid); err != nil {
		return err
	}
	if err := s.t.tellSeen(words); err != nil {
		return err
	}
	return s.r.w.WriteChunk(trace.Chunk{Proc: s.t.proc, Stream: stream, TID: tid, Base: base, Lost: lost, Words: bytesOf(words)})
}

// Lost writes a count of lost events.
func (s *sink) Lost(_, tid uint32, count uint64) error {
	if err := s.thread(tid); err != nil {
		return err
	}
	return s.r.w.WriteLost(trace.Lost{Proc: s.t.proc, TID: tid, Count: count, Ticks: entry.Counter()})
}

// round promises that all events before ticks are written, and writes them out.
func (r *recorder) round(ticks uint64) error {
	if err := r.w.WriteRound(ticks); err != nil {
		return err
	}
	return r.w.Flush()
}

// end completes the recording.
func (r *recorder) end(reason string) (Result, error) {
	err := r.w.Close(time.Since(r.started).Nanoseconds(), reason)
	stats := r.w.Stats()
	res := Result{
		Events: stats.Events, Calls: r.calls, Functions: len(r.profiled), Lost: stats.Lost, Threads: len(r.threads), Processes: int(r.procs),
		Output: r.o.Output, Reason: reason, Warnings: r.warnings, Bytes: stats.Bytes, Rules: r.ruleCounts(),
	}
	err = errors.Join(err, r.closeInject())
	if info, e := r.file.Stat(); e == nil {
		res.Bytes = info.Size()
	}
	if e := r.file.Close(); err == nil {
		err = e
	}
	return res, err
}

// diskFull reports whether a recording ended for want of room.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || errors.Is(err, io.ErrShortWrite)
}
