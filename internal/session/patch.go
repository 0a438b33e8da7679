package session

import (
	"fmt"
	"sync"

	"nopal/internal/livepatch"
)

// makeWay moves the redirects of live patches from the slots of the sites that are going to
// be prepared. All threads are stopped. A site whose redirect stays is not traced.
func (t *target) makeWay(objects []*object) error {
	// Most processes have no patches, and threads stand still for this.
	wanted := sync.OnceValue(func() map[uint64]bool {
		sites := map[uint64]bool{}
		for _, o := range objects {
			for i := range o.traced.Records {
				if r := &o.traced.Records[i]; o.traced.Wants(r) && !r.Prepared() {
					sites[r.Addr] = true
				}
			}
		}
		return sites
	})
	kept, err := livepatch.MoveBehind(t.pid, t.mem, func(site uint64) bool { return wanted()[site] })
	for _, why := range kept {
		t.rec.warn("process %d: not traced: %v", t.pid, why)
	}
	if err != nil {
		return fmt.Errorf("install in process %d: %w", t.pid, err)
	}
	return nil
}
