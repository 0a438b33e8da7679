package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"nopal/internal/analyze"
)

// liveView is what is shown, and what keys change of it.
type liveView struct {
	data  *liveData
	name  string
	keys  []analyze.Key
	by    analyze.Grouping
	limit int
}

// sortKeys are the letters of the columns.
var sortKeys = map[byte]analyze.Key{
	'c': analyze.KeyCalls, 't': analyze.KeyTotal, 's': analyze.KeySelf, 'a': analyze.KeyAvg, 'i': analyze.KeyMin,
	'm': analyze.KeyMax, '5': analyze.KeyP50, '9': analyze.KeyP99, 'n': analyze.KeyName,
}

// press does what a key says. It reports whether the user wants to quit.
func (v *liveView) press(key byte) (quit bool) {
	const ctrlC, ctrlD = 3, 4
	if k, ok := sortKeys[key]; ok {
		v.keys = []analyze.Key{k}
		return false
	}
	switch key {
	case 'f':
		v.by = analyze.ByFunction
	case 'h':
		v.by = analyze.ByThread
	case 'o':
		v.by = analyze.ByObject
	case 'q', 'Q', ctrlC, ctrlD:
		return true
	}
	return false
}

const liveHelp = "sort by: c calls  t total  s self  a avg  i min  m max  5 p50  9 p99  n name    f functions  h threads  o objects    q quit"

// lines are a title and the table, for a screen of a size; 0 is any.
func (v *liveView) lines(width, height int) []string {
	t, lost := v.data.table(v.by)
	t.Sort(v.keys)
	if v.limit > 0 && len(t.Rows) > v.limit {
		t.Rows = t.Rows[:v.limit]
	}
	calls := uint64(0)
	for i := range t.Rows {
		calls += t.Rows[i].Calls
	}
	var b strings.Builder
	fmt.Fprintf(&b, "nopal live: %s, ", printable(v.name))
	begun := v.data.started()
	if !begun.IsZero() {
		fmt.Fprintf(&b, "%.1f s, ", time.Since(begun).Seconds())
	}
	if begun.IsZero() && calls == 0 {
		b.WriteString("beginning")
	} else {
		b.WriteString(plural(calls, "call"))
	}
	if lost > 0 {
		fmt.Fprintf(&b, ", %s not counted", grouped(lost))
	}
	names := make([]string, len(v.keys))
	for i, k := range v.keys {
		names[i] = string(k)
	}
	fmt.Fprintf(&b, ", sorted by %s", strings.Join(names, ", "))
	lines := []string{cutTo(b.String(), width), ""}
	if height > 0 {
		lines = []string{lines[0], cutTo(liveHelp, width), ""}
		height = max(height-len(lines), 1)
	}
	return append(lines, t.Lines(width, height)...)
}

func cutTo(s string, width int) string {
	if r := []rune(s); width > 0 && len(r) > width {
		return string(r[:width])
	}
	return s
}

// print writes the table below what was written before.
func (v *liveView) print(w io.Writer) error {
	var b bytes.Buffer
	for _, line := range v.lines(0, 0) {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintln(&b)
	_, err := w.Write(b.Bytes())
	return err
}

// liveShow shows a view again and again: on a screen, or as text.
type liveShow struct {
	view     *liveView
	interval time.Duration
	count    int // of tables; 0: no end
	out      io.Writer
	screen   *screen // nil: text
	quit     func()  // asks for the end
	log      lockedText

	done   chan struct{}
	runner sync.WaitGroup
	err    error
}

func (s *liveShow) start() {
	s.done = make(chan struct{})
	s.runner.Go(func() {
		if s.screen != nil {
			// Before a panic says why on the terminal.
			defer s.screen.close()
		}
		if s.err = s.run(); s.err != nil {
			s.quit()
		}
	})
}

// stop returns when the last table is shown.
func (s *liveShow) stop() error {
	close(s.done)
	s.runner.Wait()
	return s.err
}

func (s *liveShow) run() error {
	// The first table comes an interval after all is installed, which takes a while in a large program.
	begun, tick := false, time.NewTicker(min(s.interval, 50*time.Millisecond))
	defer tick.Stop()
	var keys, resized <-chan byte
	if s.screen != nil {
		keys, resized = s.screen.keys(), s.screen.resized()
		if err := s.draw(); err != nil {
			return err
		}
	}
	for n := 0; ; {
		select {
		case <-s.done:
			if s.screen == nil && (s.count == 0 || n < s.count) {
				return s.view.print(s.out)
			}
			return nil
		case key := <-keys:
			if s.view.press(key) {
				s.quit()
			}
		case <-resized:
		case <-tick.C:
			if !begun {
				if begun = !s.view.data.started().IsZero(); begun {
					tick.Reset(s.interval)
				}
				continue
			}
			n++
			if s.count > 0 && n > s.count {
				continue // the end has been asked for
			}
			if s.screen == nil {
				if err := s.view.print(s.out); err != nil {
					return err
				}
			}
			if n == s.count {
				s.quit()
			}
		}
		if s.screen != nil {
			if err := s.draw(); err != nil {
				return err
			}
		}
	}
}

func (s *liveShow) draw() error {
	width, height := s.screen.size()
	return s.screen.draw(s.view.lines(width, height))
}

// lockedText collects messages while the screen shows something else.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (t *lockedText) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.Write(p)
}

func (t *lockedText) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
