package main

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

// loadModule loads a kernel module. Package syscall has no wrapper for it.
func loadModule(file string) error {
	image, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(image) == 0 {
		return errors.New("empty file")
	}
	var noParams [1]byte
	_, _, errno := syscall.Syscall(syscall.SYS_INIT_MODULE, uintptr(unsafe.Pointer(&image[0])),
		uintptr(len(image)), uintptr(unsafe.Pointer(&noParams)))
	if errno != 0 {
		return errno
	}
	return nil
}
