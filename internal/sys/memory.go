package sys

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Numbers of system calls that are made on behalf of a traced process. They are those
// of the architecture that nopal was built for, as the process's are.
const (
	NrMmap           = unix.SYS_MMAP
	NrMunmap         = unix.SYS_MUNMAP
	NrMprotect       = unix.SYS_MPROTECT
	NrMadvise        = unix.SYS_MADVISE
	NrMemfdCreate    = unix.SYS_MEMFD_CREATE
	NrFtruncate      = unix.SYS_FTRUNCATE
	NrClose          = unix.SYS_CLOSE
	NrPrctl          = unix.SYS_PRCTL
	NrGetpid         = unix.SYS_GETPID
	NrNanosleep      = unix.SYS_NANOSLEEP
	NrClockNanosleep = unix.SYS_CLOCK_NANOSLEEP
	NrFutex          = unix.SYS_FUTEX
	NrRtSigaction    = unix.SYS_RT_SIGACTION
	NrRestartSyscall = unix.SYS_RESTART_SYSCALL
)

// Arguments of mmap, madvise and memfd_create.
const (
	ProtNone  = unix.PROT_NONE
	ProtRead  = unix.PROT_READ
	ProtWrite = unix.PROT_WRITE
	ProtExec  = unix.PROT_EXEC

	MapShared         = unix.MAP_SHARED
	MapPrivate        = unix.MAP_PRIVATE
	MapAnonymous      = unix.MAP_ANONYMOUS
	MapFixedNoReplace = unix.MAP_FIXED_NOREPLACE
	MapPopulate       = unix.MAP_POPULATE
	MapNoReserve      = unix.MAP_NORESERVE

	AdviseWipeOnFork = unix.MADV_WIPEONFORK
	AdviseDontFork   = unix.MADV_DONTFORK

	MemfdCloexec = unix.MFD_CLOEXEC
)

// MemfdCreate makes an anonymous file.
func MemfdCreate(name string) (int, error) { return unix.MemfdCreate(name, unix.MFD_CLOEXEC) }

// MapSharedFile maps size bytes of an open file from offset, for reading and writing.
func MapSharedFile(fd int, offset int64, size int) ([]byte, error) {
	return unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Fallocate makes [off, off+size) of a file exist, so that it need not be when it is
// first written.
func Fallocate(fd int, off, size int64) error { return unix.Fallocate(fd, 0, off, size) }

// Unmap undoes MapSharedFile.
func Unmap(b []byte) error { return unix.Munmap(b) }

// ReadProcess copies len(buf) bytes at addr of a process with process_vm_readv, which
// obeys the pages' protection and needs no descriptor.
func ReadProcess(pid int, addr uint64, buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, nil
	}
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	remote := []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if err == nil && n < len(buf) {
		err = syscall.EFAULT
	}
	return n, err
}
