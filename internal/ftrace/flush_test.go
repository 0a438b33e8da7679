package ftrace

import (
	"testing"
)

// A site of which slot 1 cannot be written is not armed: its x9 would be stale.
func TestFlushKeepsPairsTogether(t *testing.T) {
	const breakpoint = 0xd4200000
	for site := range 4 {
		m, o := newText()
		table := &Table{Method: ARM64{}}
		if _, err := table.Register(&Ops{Name: "all"}); err != nil {
			t.Fatal(err)
		}
		table.Add(o)
		batch := &BatchText{Memory: m}
		table.Prepare(batch, o)
		if err := table.Update(batch, o); err != nil {
			t.Fatal(err)
		}
		m.set(o.Records[site].Addr, breakpoint) // between prepare and Flush
		if err := batch.Flush(); err == nil {
			t.Error("no error")
		}
		if to := calls(t, m, o.Records[site].Addr); to != 0 {
			t.Errorf("site %d: slot 2 calls %#x, slot 1 is %08x", site, to, m.insn(o.Records[site].Addr))
		}
	}
}
