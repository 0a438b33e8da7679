package session

import (
	"fmt"

	"nopal/internal/livepatch"
)

// makeWay moves the redirects of live patches from the slots of the sites that are going to
// be prepared. All threads are stopped. A site whose redirect stays is not traced.
func (t *target) makeWay(objects []*object) error {
	wanted := map[uint64]bool{}
	for _, o := range objects {
		for i := range o.traced.Records {
			if r := &o.traced.Records[i]; o.traced.Wants(r) && !r.Prepared() {
				wanted[r.Addr] = true
			}
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	kept, err := livepatch.MoveBehind(t.pid, t.mem, func(site uint64) bool { return wanted[site] })
	for _, why := range kept {
		t.rec.warn("process %d: not traced: %v", t.pid, why)
	}
	if err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	return nil
}
