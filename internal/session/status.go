package session

import (
	"context"
	"fmt"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/tracee"
)

// SiteState is what a site of a running process looks like.
type SiteState struct {
	Prepared bool
	Armed    bool
	Regs     bool     // calls ftrace_regs_caller
	Ops      []string // by whom
}

// Flags are the letters of the kernel's enabled_functions: R saves registers.
func (s SiteState) Flags() string {
	if s.Regs {
		return "R"
	}
	return ""
}

// ObjectStatus is an object that a process has mapped.
type ObjectStatus struct {
	Image *image.Image
	Bias  uint64
	Sites map[uint64]SiteState // by link-time address; only those that are changed
}

// PIDStatus is what is traced in a process.
type PIDStatus struct {
	Objects []ObjectStatus
	By      int  // pid of the nopal that has armed it, 0: nobody
	Alive   bool // and it is still there
}

// Status looks at a running process without stopping it.
func Status(_ context.Context, pid int) (PIDStatus, error) {
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return PIDStatus{}, err
	}
	defer mem.Close()
	maps, err := tracee.Maps(pid)
	if err != nil {
		return PIDStatus{}, err
	}
	state, found, err := findState(pid, mem)
	if err != nil {
		return PIDStatus{}, err
	}
	var s PIDStatus
	who := ""
	if found {
		s.By, s.Alive = state.Session, recordedBy(state, mem) != 0
		who = fmt.Sprintf("record by nopal %d", s.By)
		if !s.Alive {
			who = fmt.Sprintf("record, left by nopal %d", s.By)
		}
	}
	mc := native()
	islands := ftrace.Islands{List: state.Islands, Text: &ftrace.BatchText{Memory: mem}}
	blob, _ := entry.Load() // without one, what is armed is not told apart
	for _, o := range newImageCache().scan(pid, maps) {
		status := ObjectStatus{Image: o.im, Bias: o.bias, Sites: map[uint64]SiteState{}}
		text := &ftrace.BatchText{Memory: mem}
		for _, e := range state.Journal {
			if e.Addr < o.start || e.Addr >= o.end {
				continue
			}
			found, ok, err := mc.Site(text, islands, e)
			if err != nil {
				return PIDStatus{}, err
			}
			if !ok {
				continue
			}
			site := SiteState{Prepared: found.Prepared, Armed: found.Target != 0}
			for _, i := range state.Islands {
				site.Regs = site.Regs || blob.RegsCaller != 0 && found.Target == i.Addr+blob.RegsCaller
			}
			if site.Armed {
				site.Ops = []string{who}
			}
			if site.Prepared || site.Armed {
				status.Sites[e.Addr-o.bias] = site
			}
		}
		s.Objects = append(s.Objects, status)
	}
	return s, nil
}
