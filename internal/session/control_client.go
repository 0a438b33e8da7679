package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"nopal/internal/tracee"
)

const maxReply = 4 << 20

// NotRecordedError says that there is no recording to control.
type NotRecordedError struct {
	PID int
	By  int // the nopal that records it, and cannot be reached; 0: none
}

func (e *NotRecordedError) Error() string {
	if e.By != 0 {
		return fmt.Sprintf("process %d is recorded by nopal %d, which does not listen for this user: only the user who started it, and root, may control it (and it needs $XDG_RUNTIME_DIR or /run/user/UID)", e.PID, e.By)
	}
	return fmt.Sprintf("process %d is not being recorded", e.PID)
}

// mine reports whether the process is recorded by a nopal of this user's.
func (e *NotRecordedError) mine() bool {
	if e.By == 0 {
		return false
	}
	owner, err := ownerOf(e.By)
	return err == nil && owner == uint32(os.Geteuid())
}

// beginTime is how long a client waits for a recording that has its memory in the process
// and does not listen yet.
const beginTime = 5 * time.Second

// Control asks the recording of a process to do something.
func Control(ctx context.Context, pid int, request ControlRequest) (ControlReply, error) {
	return controlIn(ctx, runtimeDirs(), pid, request)
}

// controlIn is Control for a recording that listens in one of the directories.
func controlIn(ctx context.Context, dirs []string, pid int, request ControlRequest) (ControlReply, error) {
	conn, err := dialControl(ctx, dirs, pid)
	var none *NotRecordedError
	for end := time.Now().Add(beginTime); errors.As(err, &none) && none.mine() && time.Now().Before(end) && ctx.Err() == nil; {
		// It is only just beginning.
		time.Sleep(50 * time.Millisecond)
		conn, err = dialControl(ctx, dirs, pid)
	}
	if err != nil {
		return ControlReply{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request.Version = ControlVersion
	line, err := json.Marshal(request)
	if err != nil {
		return ControlReply{}, fmt.Errorf("write request: %w", err)
	}
	if len(line) >= maxRequest {
		return ControlReply{}, fmt.Errorf("write request: %d bytes are more than %d", len(line), maxRequest)
	}
	// A recording that refuses us does not read: its reply says why.
	_, writeErr := conn.Write(append(line, '\n'))
	var reply ControlReply
	if err := readLine(conn, maxReply, &reply); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if writeErr != nil {
			err = writeErr
		}
		return ControlReply{}, fmt.Errorf("ask the recording of process %d: %w", pid, err)
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

// dialControl finds the recording's socket: in the user's own directory, or, for root,
// wherever a nopal listens.
func dialControl(ctx context.Context, dirs []string, pid int) (*net.UnixConn, error) {
	conn, err := dialOwn(ctx, dirs, pid)
	if conn == nil && os.Geteuid() == 0 {
		var e error
		if conn, e = dialForeign(ctx, pid); err == nil {
			err = e
		}
	}
	if conn != nil {
		return conn, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid))); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, tracee.ErrNoProcess)
	}
	return nil, &NotRecordedError{PID: pid, By: recorderOf(pid)}
}

// dialOwn connects to a recording of this user's, or root's. Without one it returns nil
// and, if there is a reason, an error.
func dialOwn(ctx context.Context, dirs []string, pid int) (*net.UnixConn, error) {
	var first error
	for _, dir := range dirs {
		if checkPrivate(dir) != nil {
			continue
		}
		conn, err := dialIn(ctx, dir, pid, func(uid uint32) bool { return uid == 0 || uid == uint32(os.Geteuid()) })
		if conn != nil {
			return conn, nil
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// dialForeign connects to a recording that somebody else makes: one who may record the
// process.
func dialForeign(ctx context.Context, pid int) (*net.UnixConn, error) {
	owner, err := ownerOf(pid)
	if err != nil {
		return nil, nil // it has ended, which is said by the caller
	}
	var first error
	for _, dir := range foreignDirs() {
		conn, err := dialIn(ctx, dir, pid, func(uid uint32) bool { return uid == owner })
		if conn != nil {
			return conn, nil
		}
		first = cmp.Or(first, err)
	}
	return nil, first
}

// dialIn connects to the socket of a process in a directory, if check likes who is there.
// Where nobody is it returns nil.
func dialIn(ctx context.Context, dir string, pid int, check func(uid uint32) bool) (*net.UnixConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", (&runtimeDir{dir}).link(pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reach the recording of process %d: %w", pid, err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("reach the recording of process %d: no unix socket", pid), c.Close())
	}
	uid, err := peerUID(conn)
	if err == nil && !check(uid) {
		err = fmt.Errorf("reach the recording of process %d: user %d listens in its place", pid, uid)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// ownerOf is the real user of a process.
func ownerOf(pid int) (uint32, error) {
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("look at process %d: no owner", pid)
	}
	return stat.Uid, nil
}

// recorderOf is the nopal that records a process, as far as this user may know: 0 if not.
func recorderOf(pid int) int {
	mem, err := tracee.OpenMemory(pid)
	if err != nil {
		return 0
	}
	defer mem.Close()
	state, found, err := findState(pid, mem)
	if err != nil || !found {
		return 0
	}
	return recordedBy(state, mem)
}
