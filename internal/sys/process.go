// Package sys holds the system calls that the standard library lacks, and is the
// only importer of golang.org/x/sys/unix: what nopal asks of the kernel can be read
// in one place, and the rest of the code does not depend on how it is asked.
package sys

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Wait4 reports a state change of the thread's own children and tracees (pid -1) or of
// one of them. It does not block: 0 means that there is nothing to report.
//
// __WNOTHREAD keeps it from reaping what other threads started, os/exec for one;
// tracees belong to the thread that seized them.
func Wait4(pid int) (int, syscall.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		n, err := unix.Wait4(pid, &ws, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
		if err != unix.EINTR {
			return n, syscall.WaitStatus(ws), err
		}
	}
}

// WaitStopped blocks until the child pid stops or ends.
func WaitStopped(pid int) (syscall.WaitStatus, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, unix.WALL|unix.WUNTRACED, nil)
		if err != unix.EINTR {
			return syscall.WaitStatus(ws), err
		}
	}
}

// Gettid returns the id of the calling thread.
func Gettid() int { return unix.Gettid() }

// PidfdOpen returns a descriptor that becomes readable when pid ends. It does not
// block, as the runtime's poller wants it.
func PidfdOpen(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, unix.O_NONBLOCK)
	if err == unix.EINVAL { // before kernel 5.10: no PIDFD_NONBLOCK
		if fd, err = unix.PidfdOpen(pid, 0); err == nil {
			err = unix.SetNonblock(fd, true)
		}
	}
	return fd, err
}

// PidfdSendSignal sends a signal to the process behind a descriptor, which cannot be
// another one that has got its number meanwhile.
func PidfdSendSignal(fd int, sig syscall.Signal) error {
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// PidfdReady reports whether the process behind the descriptor has ended.
func PidfdReady(fd int) (bool, error) {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if err != unix.EINTR {
			return n > 0, err
		}
	}
}

// Bell is a descriptor that one goroutine rings and a thread waits for.
type Bell struct{ fd int }

// NewBell makes a bell.
func NewBell() (*Bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("make event descriptor: %w", err)
	}
	return &Bell{fd}, nil
}

// Ring ends the Wait that is going on, or the next one.
func (b *Bell) Ring() {
	// The only error is EAGAIN, for 2^64 rings that nobody heard.
	_, _ = unix.Write(b.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Wait returns when the bell has been rung, a signal has been handled by this thread, or
// the time is over. No time: it waits for ever.
func (b *Bell) Wait(d time.Duration) {
	var timeout *unix.Timespec
	if d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	p := []unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(p, timeout, nil); err == nil && n > 0 {
		var count [8]byte
		_, _ = unix.Read(b.fd, count[:])
	}
}

// Close gives the descriptor back.
func (b *Bell) Close() { _ = unix.Close(b.fd) }
