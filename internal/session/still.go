package session

import (
	"fmt"
	"time"
)

// stillness is for how long a process has been made to stand still, at the most: from when
// its threads began to be stopped to when all had been let go.
type stillness struct {
	since   time.Time
	mapping time.Duration // memory, the first time
}

func (s *stillness) begin() { s.since = time.Now() }

// mapped ends the first time.
func (s *stillness) mapped() { s.mapping = time.Since(s.since) }

// stoodStill tells of it, when the second time has ended. Under a table that is drawn on
// the terminal a line would be in the way.
func (r *recorder) stoodStill(t *target) {
	if r.o.Log == nil || r.o.ProfileEvery > 0 || t.still.since.IsZero() {
		return
	}
	writing := time.Since(t.still.since)
	sites := 0
	for _, o := range t.objects {
		for i := range o.traced.Records {
			if o.traced.Records[i].Prepared() {
				sites++
			}
		}
	}
	const unit = 10 * time.Microsecond
	fmt.Fprintf(r.o.Log, "nopal: process %d stood still for %v to map memory, and for %v to change %d functions\n",
		t.pid, t.still.mapping.Round(unit), writing.Round(unit), sites)
}
