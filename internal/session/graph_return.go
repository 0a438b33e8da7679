package session

import (
	"encoding/binary"
	"fmt"
	"os"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/tracee"
)

// giveBack puts the return addresses back of calls that go on, and lets the unwinder
// forget us. All threads are stopped, and none is in our code.
func (r *remover) giveBack() error {
	maps, err := tracee.Maps(r.pid)
	if err != nil {
		return err
	}
	for _, frames := range r.frameRegions(maps) {
		if err := r.giveBackFrames(frames); err != nil {
			return err
		}
	}
	text := ftrace.LiveText{Memory: r.code()}
	islands := ftrace.Islands{List: r.state.Islands, Text: text}
	for _, e := range r.state.Journal {
		if err := ftrace.RestoreDetour(text, islands, e); err != nil {
			return err
		}
	}
	return nil
}

// Fields of entry.GraphFrame.
const (
	frameSize   = 64
	framePlace  = 0
	frameReturn = 8
)

// giveBackFrames looks at the frames of the region at an address, of which only what was
// used is in memory.
func (r *remover) giveBackFrames(frames uint64) error {
	used, err := usedPages(r.pid, frames, entry.GraphRegion)
	if err != nil {
		return err
	}
	thunks := frames - entry.GraphRegion
	var b [kernelPage]byte
	for _, page := range used {
		if _, err := r.mem.ReadAt(b[:], int64(page)); err != nil {
			return fmt.Errorf("read frames: %w", err)
		}
		for off := uint64(0); off < kernelPage; off += frameSize {
			place := binary.LittleEndian.Uint64(b[off+framePlace:])
			if place == 0 || place&1 != 0 {
				continue
			}
			thunk := page + off - entry.GraphRegion + entry.ThunkReturn
			if found, err := r.mem.ReadUint64(place); err != nil || found != thunk {
				continue // the call is over
			}
			// The caller may itself have been called so, in a place that the call has
			// left: what was one frame's is then in another's.
			back := binary.LittleEndian.Uint64(b[off+frameReturn:])
			for range entry.GraphFrames {
				if back-thunks >= entry.GraphRegion {
					break
				}
				if back, err = r.mem.ReadUint64(back&^(frameSize-1) + entry.GraphRegion + frameReturn); err != nil {
					return fmt.Errorf("read frames: %w", err)
				}
			}
			var word [8]byte
			binary.LittleEndian.PutUint64(word[:], back)
			if _, err := r.mem.WriteAt(word[:], int64(place)); err != nil {
				return fmt.Errorf("write return address at %#x: %w", place, err)
			}
			r.returned++
		}
	}
	return nil
}

// kernelPage is the size of x86-64's pages.
const kernelPage = 4096

// usedPages lists the pages of [addr, addr+size) that a process has in memory, or swapped
// out (Documentation/admin-guide/mm/pagemap.rst).
func usedPages(pid int, addr, size uint64) ([]uint64, error) {
	const present, swapped = 1 << 63, 1 << 62
	f, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return nil, fmt.Errorf("find used memory: %w", err)
	}
	defer func() { _ = f.Close() }()
	entries := make([]byte, size/kernelPage*8)
	if _, err := f.ReadAt(entries, int64(addr/kernelPage*8)); err != nil {
		return nil, fmt.Errorf("find used memory: %w", err)
	}
	var pages []uint64
	for i := uint64(0); i < size/kernelPage; i++ {
		if binary.LittleEndian.Uint64(entries[i*8:])&(present|swapped) != 0 {
			pages = append(pages, addr+i*kernelPage)
		}
	}
	return pages, nil
}
