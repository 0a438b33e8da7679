package session

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/trace"
)

// triggerOps are the ops of the triggers, to be registered beside the others.
func (r *recorder) triggerOps() []*ftrace.Ops {
	var list []*ftrace.Ops
	for _, trigger := range r.o.Triggers {
		list = append(list, &ftrace.Ops{Name: trigger.Text, Flags: ftrace.FlagTrigger, Match: trigger.Filter.Match})
	}
	return list
}

// putTriggers tells the target what happens at the functions of o that have triggers,
// before they are armed. With several the first that was given counts.
func (t *target) putTriggers(o *object) {
	if len(t.rec.o.Triggers) == 0 || o.island == 0 {
		return
	}
	h := t.ring.Header()
	for i := range o.traced.Records {
		r := &o.traced.Records[i]
		var trigger *ftrace.Trigger
		for _, name := range t.table.OpsOf(r) {
			for _, x := range t.rec.o.Triggers {
				if trigger == nil && x.Text == name {
					trigger = x
				}
			}
		}
		if trigger == nil {
			continue
		}
		if !t.putTrigger(h, o, r, trigger) {
			t.rec.warn("process %d: only the first %d functions that triggers select have one", t.pid, entry.TriggerCount)
			return
		}
	}
}

func (t *target) putTrigger(h *entry.RingHeader, o *object, r *ftrace.Record, trigger *ftrace.Trigger) bool {
	e := entry.TriggerEntry{IP: r.Body, Count: trigger.Count}
	if e.Count == 0 {
		e.Count = entry.TriggerAlways
	}
	if e.Then = t.table.Beside(o.traced, r, ftrace.FlagTrigger); e.Then == 0 {
		e.Then = o.island + t.blob.Nothing
	}
	e.Next = e.Then
	switch trigger.Action {
	case ftrace.TraceOn:
		e.Action, e.Wish = entry.TriggerTraceOn, entry.WishSwitched
	case ftrace.TraceOff:
		e.Action, e.Wish = entry.TriggerTraceOff, entry.WishSwitched
	case ftrace.Stacktrace:
		e.Next = o.island + t.blob.StackCaller
	case ftrace.Snapshot:
		e.Wish = entry.WishSnapshot
	case ftrace.Dump:
		e.Wish = entry.WishDump
	case ftrace.Stop:
		// What follows until nopal looks is not recorded either.
		e.Action, e.Wish = entry.TriggerTraceOff, entry.WishStop
	}
	for i := range h.TriggerLen {
		if old := &h.Triggers[i]; old.IP == e.IP {
			// Known already: how often it still happens stays.
			old.Next, old.Then = e.Next, e.Then
			return true
		}
	}
	if h.TriggerLen == entry.TriggerCount {
		return false
	}
	h.Triggers[h.TriggerLen] = e
	atomic.AddUint64(&h.TriggerLen, 1)
	return true
}

// inheritTriggers takes over what has become of the triggers of the process that
// forked this one.
func (t *target) inheritTriggers(parent *target) {
	if parent.ring == nil {
		return
	}
	from, to := parent.ring.Header(), t.ring.Header()
	to.Triggers = from.Triggers
	to.TriggerLen = from.TriggerLen
	to.TraceOff = atomic.LoadUint64(&from.TraceOff)
	t.traceOff = to.TraceOff != 0
}

// setTraceOff switches recording off, or on, in the target, as a trigger does.
func (t *target) setTraceOff(off bool) error {
	if !t.installed {
		return nil
	}
	h := t.ring.Header()
	if !off {
		atomic.StoreUint64(&h.TraceOff, 0)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], t.tidOffsetNow())
	if off {
		atomic.StoreUint64(&h.TraceOff, entry.TriggerTraceOff)
		if t.tidOffset != entry.TidOffsetNone {
			binary.LittleEndian.PutUint64(b[:], 0)
		}
	}
	t.traceOff = off
	if _, err := t.mem.WriteAt(b[:], int64(t.control+entry.ControlSize-16)); err != nil && !notThere(err) {
		return fmt.Errorf("switch recording: %w", err)
	}
	return nil
}

// tidOffsetNow is what Control.TidOffset is to be.
func (t *target) tidOffsetNow() uint64 {
	if t.tidOffset != entry.TidOffsetNone && atomic.LoadUint64(&t.ring.Header().TraceOff) != 0 {
		return 0
	}
	return t.tidOffset
}

// wishes does what triggers have asked for since the last look. It reports whether
// the recording is to end.
func (s *session) wishes(t *target) (stop bool, err error) {
	h := t.ring.Header()
	if atomic.LoadUint64(&h.Wishes) == 0 {
		return false, nil
	}
	w := atomic.SwapUint64(&h.Wishes, 0)
	mark := func(text string) error {
		return s.rec.w.WriteMark(trace.Mark{Proc: t.proc, Ticks: entry.Counter(), Text: text})
	}
	if off := atomic.LoadUint64(&h.TraceOff) != 0; w&entry.WishSwitched != 0 && off != t.traceOff {
		t.traceOff = off
		text := "a trigger has switched recording on"
		if off {
			text = "a trigger has switched recording off"
		}
		if err := mark(text); err != nil {
			return false, err
		}
	}
	if w&entry.WishDump != 0 {
		if _, err := t.drainer.Look(true); err != nil {
			return false, err
		}
		if s.rec.o.Overwrite {
			if err := t.drainer.Dump(); err != nil {
				return false, err
			}
		}
		if err := mark("a trigger has written the buffer out"); err != nil {
			return false, err
		}
		if err := s.rec.w.Sync(); err != nil {
			return false, err
		}
	}
	if w&entry.WishSnapshot != 0 {
		s.signalled()
	}
	if w&entry.WishStop != 0 {
		return true, mark("a trigger has stopped the recording")
	}
	return false, nil
}

// stacks reports whether there are stack records.
func (r *recorder) stacks() bool {
	for _, trigger := range r.o.Triggers {
		if trigger.Action == ftrace.Stacktrace {
			return true
		}
	}
	return r.o.Stack
}
