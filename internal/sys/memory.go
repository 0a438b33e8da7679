package sys

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Numbers of system calls that are made on behalf of a traced process. They are those
// of the architecture that nopal was built for, as the process's are.
const (
	NrMmap           = unix.SYS_MMAP
	NrMunmap         = unix.SYS_MUNMAP
	NrMadvise        = unix.SYS_MADVISE
	NrMemfdCreate    = unix.SYS_MEMFD_CREATE
	NrFtruncate      = unix.SYS_FTRUNCATE
	NrClose          = unix.SYS_CLOSE
	NrGetpid         = unix.SYS_GETPID
	NrNanosleep      = unix.SYS_NANOSLEEP
	NrClockNanosleep = unix.SYS_CLOCK_NANOSLEEP
	NrFutex          = unix.SYS_FUTEX
	NrRtSigaction    = unix.SYS_RT_SIGACTION
	NrRestartSyscall = unix.SYS_RESTART_SYSCALL
	NrBrk            = unix.SYS_BRK
	NrPrctl          = unix.SYS_PRCTL
	NrMprotect       = unix.SYS_MPROTECT
	NrSetTidAddress  = unix.SYS_SET_TID_ADDRESS
	NrUname          = unix.SYS_UNAME
	NrReadlinkat     = unix.SYS_READLINKAT
	NrGetrandom      = unix.SYS_GETRANDOM
)

// Arguments of mmap, madvise and memfd_create.
const (
	ProtRead  = unix.PROT_READ
	ProtWrite = unix.PROT_WRITE
	ProtExec  = unix.PROT_EXEC

	MapShared         = unix.MAP_SHARED
	MapPrivate        = unix.MAP_PRIVATE
	MapAnonymous      = unix.MAP_ANONYMOUS
	MapFixedNoReplace = unix.MAP_FIXED_NOREPLACE
	MapNoReserve      = unix.MAP_NORESERVE

	AdviseWipeOnFork    = unix.MADV_WIPEONFORK
	AdvisePopulateWrite = unix.MADV_POPULATE_WRITE
	AdviseNoHugePage    = unix.MADV_NOHUGEPAGE

	MemfdCloexec = unix.MFD_CLOEXEC
)

// MapSharedFile maps size bytes of an open file from offset, for reading and writing.
func MapSharedFile(fd int, offset int64, size int) ([]byte, error) {
	return unix.Mmap(fd, offset, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Fallocate makes [off, off+size) of a file exist, so that it need not be when it is
// first written.
func Fallocate(fd int, off, size int64) error {
	for {
		// Go's own signals interrupt it.
		if err := unix.Fallocate(fd, 0, off, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Unmap undoes MapSharedFile.
func Unmap(b []byte) error { return unix.Munmap(b) }
