package session

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nopal/internal/entry"
	"nopal/trace"
)

// snapshot writes to a file what the recording would be if it ended now, and leaves it
// as it is. Without a path the file is OUTPUT.snapshot-N. It returns the file's name as
// soon as what is in the rings is copied; finished, if not nil, is called by another
// goroutine when the rest is, which may be gigabytes of a recording's file.
func (s *session) snapshot(path string, finished func(error)) (string, error) {
	if path == "" {
		s.snapshots++
		path = fmt.Sprintf("%s.snapshot-%d", s.rec.o.Output, s.snapshots)
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	from, err := s.rec.reopen()
	if err != nil {
		return "", fmt.Errorf("take snapshot: %w", err)
	}
	to, size, err := s.snapshotTo(path, from)
	if err != nil {
		return "", errors.Join(fmt.Errorf("take snapshot: %w", err), from.Close())
	}
	s.copies.Go(func() {
		err := copyFile(to, from, size)
		if err != nil {
			// Its end without its beginning is of no use.
			err = errors.Join(fmt.Errorf("take snapshot: %w", err), removeOutput(path))
		}
		if finished != nil {
			finished(err)
		}
	})
	return path, s.mark("snapshot written to " + path)
}

// snapshotTo creates the snapshot's file and writes what the rings hold behind the place
// for what the recording's file holds, whose size it returns.
func (s *session) snapshotTo(path string, from *os.File) (*os.File, int64, error) {
	info, err := from.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a file that can be read", s.rec.o.Output)
	}
	if there, err := os.Stat(path); err == nil && os.SameFile(there, info) {
		return nil, 0, fmt.Errorf("%s is the recording itself", path)
	}
	to, err := createOutput(path, s.rec.o.Owner)
	if err != nil {
		return nil, 0, err
	}
	var size int64
	for _, t := range s.targets {
		if err := t.tellAll(); err != nil {
			return nil, 0, errors.Join(err, to.Close(), removeOutput(path))
		}
	}
	behind := &lateOffset{file: to}
	w, err := s.rec.w.Fork(behind)
	if err == nil {
		if info, err = from.Stat(); err == nil {
			size = info.Size()
			behind.at = size
			err = s.writeRings(w)
		}
	}
	if err != nil {
		return nil, 0, errors.Join(err, to.Close(), removeOutput(path))
	}
	return to, size, nil
}

// removeOutput removes what createOutput has made: not a device or a pipe that was there.
func removeOutput(path string) error {
	if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() {
		return err
	}
	return os.Remove(path)
}

// writeRings writes what the rings hold and ends the recording that w writes.
func (s *session) writeRings(w *trace.Writer) error {
	copied := *s.rec
	copied.w, copied.threads = w, maps.Clone(s.rec.threads)
	targets := slices.SortedFunc(maps.Values(s.targets), func(a, b *target) int { return cmp.Compare(a.proc, b.proc) })
	for _, t := range targets {
		if !t.installed {
			continue
		}
		to := &sink{&copied, t}
		noSlot, err := t.drainer.Snapshot(to)
		if err == nil && noSlot > 0 {
			err = to.Lost(0, 0, noSlot)
		}
		if err != nil {
			return err
		}
	}
	return w.Close(time.Since(s.rec.started).Nanoseconds(), "snapshot")
}

// lateOffset writes to a file from a place on that is known before the first write.
type lateOffset struct {
	file *os.File
	at   int64
}

func (l *lateOffset) Write(b []byte) (int, error) {
	n, err := l.file.WriteAt(b, l.at)
	l.at += int64(n)
	return n, err
}

// reopen opens the recording's file, wherever it has been moved to, for reading with an
// offset of its own.
func (r *recorder) reopen() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", r.file.Fd()))
}

// copyFile puts the first size bytes of from at the beginning of to, and closes both.
func copyFile(to, from *os.File, size int64) error {
	n, err := io.Copy(to, io.LimitReader(from, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, to.Close(), from.Close())
}

// mark notes in the recording what was done to it.
func (s *session) mark(text string) error {
	return s.rec.w.WriteMark(trace.Mark{Ticks: entry.Counter(), Text: text})
}
