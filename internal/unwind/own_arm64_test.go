package unwind

import (
	"encoding/binary"
	"errors"
	"testing"

	"nopal/internal/entry"
)

// island is memory with nopal's code, a stack, and nothing else.
type island struct {
	at    uint64
	code  []byte
	stack map[uint64]stored
}

const (
	stackLow, stackHigh = 0x7fff0000, 0x7fff8000
	islandAt            = 0x10000000
	siteAt              = 0x20000000
	callerAt            = 0x30000000
)

func (m *island) ReadAt(p []byte, off int64) (int, error) {
	at := uint64(off)
	clear(p)
	switch {
	case at >= stackLow && at < stackHigh:
		for a, w := range m.stack {
			if a >= at && a+8 <= at+uint64(len(p)) {
				binary.LittleEndian.PutUint64(p[a-at:], w.v)
			}
		}
		return len(p), nil
	case at >= m.at && at < m.at+uint64(len(m.code)):
		return copy(p, m.code[at-m.at:]), nil
	}
	return 0, errors.New("not there")
}

// TestOwnCodeIsLeft follows nopal's code on all ways from each of its entries, and at each
// instruction lets the unwinder say where the program goes on.
func TestOwnCodeIsLeft(t *testing.T) {
	blob, err := entry.Load()
	if err != nil {
		t.Skip(err)
	}
	m := &island{at: islandAt, code: append(blob.Code, make([]byte, pageSize)...)}
	own := func(pc uint64) bool { return pc >= islandAt && pc < islandAt+blob.Literals }
	u := New(0, m, Options{Own: own})
	begin := func(off uint64) walker {
		var w walker
		w.known = 1<<31 - 1
		for i := range w.x {
			w.x[i] = 0xaaaa0000 + uint64(i)
		}
		w.x[29], w.x[30] = stackHigh-256, callerAt
		w.sp, w.pc = stackHigh-512, islandAt+off
		return w
	}
	total := 0
	follow := func(name string, w walker, pc, sp uint64) {
		seen := map[uint64]bool{}
		todo := []walker{w}
		for len(todo) > 0 {
			w := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for own(w.pc) && !seen[w.pc] {
				seen[w.pc] = true
				total++
				m.stack = w.stored
				clear(u.pages)
				var at step
				if why := u.leaveOwn(&w.state, &at); why != nil {
					t.Errorf("%s+%#x: %s", name, w.pc-islandAt, why.reason)
					return
				}
				n := at.next
				if n.pc != pc || n.sp != sp || n.x[30] != callerAt || n.x[29] != stackHigh-256 {
					t.Errorf("%s+%#x: goes on at %#x with sp %#x, x30 %#x, x29 %#x", name, w.pc-islandAt, n.pc, n.sp, n.x[30], n.x[29])
					return
				}
				for r := uint64(19); r < 29; r++ {
					if v, ok := n.reg(r); !ok || v != 0xaaaa0000+r {
						t.Errorf("%s+%#x: x%d is %#x (%v)", name, w.pc-islandAt, r, v, ok)
						return
					}
				}
				clear(u.pages)
				branch, goes := u.walk(&w)
				if branch != 0 {
					todo = append(todo, w.from(branch))
				}
				if !goes {
					break
				}
			}
		}
	}
	for name, off := range map[string]uint64{
		"caller": blob.Caller, "unknown": blob.CallerUnknown, "regs": blob.RegsCaller, "stack": blob.StackCaller,
		"shadow": blob.Shadow.Caller, "root": blob.Shadow.Root, "not": blob.Shadow.Not, "shadow unknown": blob.ShadowUnknown.Caller,
		"profile": blob.Profile.Caller, "count": blob.Profile.Count, "nothing": blob.Nothing,
	} {
		w := begin(off)
		w.x[9], w.x[30] = callerAt, siteAt+8
		follow(name, w, siteAt+8, w.sp)
	}
	for name, exits := range map[string]entry.Exits{"exit": blob.Exit, "exit unknown": blob.ExitUnknown, "shadow exit": blob.Shadow.Exit, "profile exit": blob.Profile.Exit} {
		w := begin(exits.Ret)
		follow(name+" ret", w, callerAt, w.sp)
		w = begin(exits.Gen)
		w.x[17] = siteAt + 0x100
		follow(name+" gen", w, siteAt+0x100, w.sp)
	}
	t.Logf("%d instructions", total)
}
