package session

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"nopal/internal/entry"
)

// answer does what a client asks for. It reports whether the recording is to end; the
// client is answered when it has, then.
func (s *session) answer(ctx context.Context, c controlCall) (stop bool) {
	r := c.request
	switch r.Action {
	case ActionStatus:
		status := s.recordingStatus()
		c.reply <- ControlReply{Status: &status}
	case ActionSnapshot:
		var path string
		named := make(chan struct{})
		path, err := s.snapshot(r.Output, func(err error) {
			<-named
			c.reply <- replyOf("snapshot written to "+path, err)
		})
		close(named)
		if path == "" {
			c.reply <- replyOf("", err)
		}
	case ActionStop:
		s.stopped = append(s.stopped, c)
		return true
	default:
		message, err := s.steer(ctx, r)
		c.reply <- replyOf(message, err)
	}
	return false
}

func replyOf(message string, err error) ControlReply {
	if err != nil {
		return ControlReply{Error: err.Error(), Message: message}
	}
	return ControlReply{Message: message}
}

// snapshotPause is how long a trigger or a signal has to wait for another snapshot. Each
// copies the recording so far: a trigger that fires for ever must not fill the disk, so it
// doubles with every few.
func (s *session) snapshotPause() time.Duration { return time.Second << min(s.snapshots/8, 16) }

// signalled takes a snapshot because of a signal or a trigger: what comes of it is told
// to the user of the recording. Where they come faster than files are written, most are
// left out, which the user is told once.
func (s *session) signalled() {
	log := func(format string, args ...any) {
		if s.rec.o.Log != nil {
			fmt.Fprintf(s.rec.o.Log, "nopal: "+format+"\n", args...)
		}
	}
	if s.copying.Load() || time.Since(s.snapshotAt) < s.snapshotPause() {
		s.rec.warn("snapshots are asked for faster than one a second, or for a long time: most are left out")
		return
	}
	s.snapshotAt = time.Now()
	s.copying.Store(true)
	var path string
	named := make(chan struct{})
	path, err := s.snapshot("", func(err error) {
		<-named
		s.copying.Store(false)
		if err != nil {
			log("%v", err)
		} else {
			log("snapshot written to %s", path)
		}
	})
	close(named)
	if path == "" {
		s.copying.Store(false)
		log("%v", err)
	}
}

// endControl answers those who asked for the end.
func (s *session) endControl(message string, err error) {
	for _, c := range s.stopped {
		c.reply <- replyOf(message, err)
	}
	s.stopped = nil
	s.control.wait()
}

// recordingStatus describes the recording.
func (s *session) recordingStatus() RecordingStatus {
	stats := s.rec.w.Stats()
	status := RecordingStatus{
		Nopal: os.Getpid(), Started: s.rec.started, Output: s.rec.o.Output, Modes: s.modes(), Tracing: s.tracing(),
		Filters: []string{}, Events: stats.Events, Lost: stats.Lost, Bytes: stats.Bytes,
		Processes: []ProcessStatus{},
	}
	for _, p := range s.rec.o.Filter.Patterns() {
		status.Filters = append(status.Filters, p.String())
	}
	status.Filters = append(status.Filters, s.overrides...)
	status.MinTime, status.Depth = int64(s.rec.o.Threshold), s.rec.o.Depth
	for _, pid := range slices.Sorted(maps.Keys(s.targets)) {
		t := s.targets[pid]
		p := t.status()
		status.Events += p.KeptEvents
		if t.installed {
			status.Lost += t.drainer.Usage().Lost
		}
		status.Processes = append(status.Processes, p)
	}
	return status
}

// modes are the options that say what is recorded, in the words of the flags.
func (s *session) modes() []string {
	modes := []string{}
	for _, m := range []struct {
		name string
		on   bool
	}{{"graph", s.rec.o.Graph}, {"profile", s.rec.o.Profile}, {"regs", s.rec.o.Regs}, {"stack", s.rec.o.Stack}, {"overwrite", s.rec.o.Overwrite}} {
		if m.on {
			modes = append(modes, m.name)
		}
	}
	return modes
}

func (t *target) status() ProcessStatus {
	p := ProcessStatus{PID: t.pid, Command: t.comm, PageBytes: entry.PageSize}
	if t.installed {
		u := t.drainer.Usage()
		p.Pages, p.PagesUsed, p.KeptEvents = u.Pages, u.Used, u.Kept
	}
	for _, o := range t.objects {
		for i := range o.traced.Records {
			r := &o.traced.Records[i]
			if r.Reason == "" {
				p.Sites++
			}
			if r.Prepared() {
				p.Prepared++
			}
			if _, armed := r.Armed(); armed {
				p.Armed++
			}
		}
	}
	return p
}
