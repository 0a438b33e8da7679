package tracee

import (
	"testing"
	"time"
)

// A followed process has three reports a thread to be dealt with.
func TestBirths(t *testing.T) {
	ctx := testContext(t)
	tr := newTestTracer(t)
	for _, follow := range []bool{false, true} {
		p, err := tr.Launch(ctx, LaunchOptions{
			Path: targetFile(t), Argv: []string{"target", "births", "500"}, Options: Options{Follow: follow},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if follow {
			err = p.Resume()
		} else {
			err = p.Detach(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.WaitExit(ctx); err != nil {
			t.Error(err)
		}
		t.Logf("follow %v: %v a thread", follow, time.Since(start)/500)
	}
}
