package tracee

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"nopal/internal/sys"
)

// WaitExit waits for the end of the process, attached or not. The status is known if
// it is attached or was launched by us.
func (p *Process) WaitExit(ctx context.Context) (ExitStatus, error) {
	heard := false // by the tracer
	if err := p.t.do(func() { heard = p.attached || p.launched }); err != nil {
		return ExitStatus{}, err
	}
	if !heard && p.exited() == nil && p.pidfd != nil {
		return p.pollExit(ctx)
	}
	select {
	case <-p.done:
		return p.status, nil
	case <-ctx.Done():
		return ExitStatus{}, context.Cause(ctx)
	}
}

// pollExit waits until the pidfd is readable.
func (p *Process) pollExit(ctx context.Context) (ExitStatus, error) {
	conn, err := p.pidfd.SyscallConn()
	if err != nil {
		return ExitStatus{}, fmt.Errorf("wait for the end of process %d: %w", p.pid, err)
	}
	if err := p.pidfd.SetReadDeadline(time.Time{}); err != nil {
		return ExitStatus{}, fmt.Errorf("wait for the end of process %d: %w", p.pid, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = p.pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var pollErr error
	err = conn.Read(func(fd uintptr) bool {
		var ready bool
		ready, pollErr = sys.PidfdReady(int(fd))
		return ready || pollErr != nil
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return ExitStatus{}, context.Cause(ctx)
	case err != nil:
		return ExitStatus{}, fmt.Errorf("wait for the end of process %d: %w", p.pid, err)
	case pollErr != nil:
		return ExitStatus{}, fmt.Errorf("wait for the end of process %d: %w", p.pid, pollErr)
	}
	return ExitStatus{}, nil
}
