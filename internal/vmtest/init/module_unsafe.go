package main

import (
	"os"
	"syscall"
	"unsafe"
)

// loadModule loads a kernel module. Package syscall has no wrapper for it.
func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var noParams [1]byte
	_, _, errno := syscall.Syscall(syscall.SYS_FINIT_MODULE, f.Fd(), uintptr(unsafe.Pointer(&noParams)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
