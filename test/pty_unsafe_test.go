//go:build linux && (arm64 || amd64)

package test

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

func ioctl(t *testing.T, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		t.Fatalf("ioctl %#x: %v", request, errno)
	}
}

// openPTY makes a pseudo terminal of 80 columns and 24 lines (pts(4)).
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		if master, err = os.OpenFile("/dev/pts/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
			t.Fatal(err)
		}
	}
	var unlock int32
	var number uint32
	ioctl(t, master, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, master, syscall.TIOCGPTN, unsafe.Pointer(&number))
	if slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	resize(t, master, 80, 24)
	return master, slave
}

func resize(t *testing.T, master *os.File, width, height int) {
	t.Helper()
	size := [4]uint16{uint16(height), uint16(width)}
	ioctl(t, master, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

func termios(t *testing.T, f *os.File) syscall.Termios {
	t.Helper()
	var state syscall.Termios
	ioctl(t, f, syscall.TCGETS, unsafe.Pointer(&state))
	return state
}
