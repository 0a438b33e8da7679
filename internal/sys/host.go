package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Host is the machine as uname shows it.
type Host struct {
	System, Node, Release, Machine string
	CPUs                           int
}

// Hostinfo returns what machine this is.
func Hostinfo() (Host, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Host{}, err
	}
	return Host{
		System:  unix.ByteSliceToString(u.Sysname[:]),
		Node:    unix.ByteSliceToString(u.Nodename[:]),
		Release: unix.ByteSliceToString(u.Release[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
		CPUs:    runtime.NumCPU(),
	}, nil
}

// Clocks reads CLOCK_MONOTONIC and CLOCK_REALTIME, in nanoseconds.
func Clocks() (mono, realtime int64) {
	var m, r unix.Timespec
	// Neither can fail: both clocks always exist and the pointers are good.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &m)
	_ = unix.ClockGettime(unix.CLOCK_REALTIME, &r)
	return m.Nano(), r.Nano()
}
