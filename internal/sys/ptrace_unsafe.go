package sys

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stop events that PTRACE_SEIZE, or an option of it, puts above the signal in a
// wait status (linux/ptrace.h).
const (
	EventFork      = unix.PTRACE_EVENT_FORK
	EventVfork     = unix.PTRACE_EVENT_VFORK
	EventClone     = unix.PTRACE_EVENT_CLONE
	EventExec      = unix.PTRACE_EVENT_EXEC
	EventVforkDone = unix.PTRACE_EVENT_VFORK_DONE
	EventStop      = unix.PTRACE_EVENT_STOP
)

// Options of PTRACE_SEIZE and PTRACE_SETOPTIONS.
const (
	OptSysGood        = unix.PTRACE_O_TRACESYSGOOD
	OptFork           = unix.PTRACE_O_TRACEFORK
	OptVfork          = unix.PTRACE_O_TRACEVFORK
	OptVforkDone      = unix.PTRACE_O_TRACEVFORKDONE
	OptClone          = unix.PTRACE_O_TRACECLONE
	OptExec           = unix.PTRACE_O_TRACEEXEC
	OptSuspendSeccomp = unix.PTRACE_O_SUSPEND_SECCOMP
)

// Register sets for PtraceGetRegSet (linux/elf.h).
const (
	RegSetGeneral   = unix.NT_PRSTATUS
	RegSetFloat     = unix.NT_PRFPREG
	RegSetX86XState = unix.NT_X86_XSTATE
	RegSetArmTLS    = unix.NT_ARM_TLS
	RegSetArmBreak  = unix.NT_ARM_HW_BREAK
	RegSetArmSVE    = unix.NT_ARM_SVE
	RegSetArmSSVE   = unix.NT_ARM_SSVE
	RegSetArmZA     = unix.NT_ARM_ZA
	sigsetSize      = 8   // the kernel's sigset_t, not the C library's
	sigInfoSize     = 128 // siginfo_t
	maxRegSetBuffer = 1 << 20
)

// SigInfo is a siginfo_t as the kernel gives it; its first word is the signal.
type SigInfo [sigInfoSize]byte

// ptrace calls the kernel directly: the C library's (and x/sys's) PEEK requests
// return their value differently, and many requests are missing there.
func ptrace(request, pid int, addr, data uintptr) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, data, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func ptracePtr(request, pid int, addr uintptr, data unsafe.Pointer) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(pid), addr, uintptr(data), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// PtraceSeize attaches the calling thread to tid without stopping it.
func PtraceSeize(tid, options int) error {
	return ptrace(unix.PTRACE_SEIZE, tid, 0, uintptr(options))
}

// PtraceInterrupt makes a seized thread report EventStop.
func PtraceInterrupt(tid int) error { return ptrace(unix.PTRACE_INTERRUPT, tid, 0, 0) }

// PtraceListen lets a thread that reported a group stop stay in it, so that only
// SIGCONT, and not the tracer, ends it.
func PtraceListen(tid int) error { return ptrace(unix.PTRACE_LISTEN, tid, 0, 0) }

// PtraceCont resumes a stopped thread, delivering sig where it is not 0.
func PtraceCont(tid int, sig syscall.Signal) error {
	return ptrace(unix.PTRACE_CONT, tid, 0, uintptr(sig))
}

// PtraceSyscall is PtraceCont up to the next entry to or exit from a system call.
func PtraceSyscall(tid int, sig syscall.Signal) error {
	return ptrace(unix.PTRACE_SYSCALL, tid, 0, uintptr(sig))
}

// PtraceDetach lets a stopped thread go, delivering sig where it is not 0.
func PtraceDetach(tid int, sig syscall.Signal) error {
	return ptrace(unix.PTRACE_DETACH, tid, 0, uintptr(sig))
}

// PtraceSetOptions replaces the options of a stopped thread.
func PtraceSetOptions(tid, options int) error {
	return ptrace(unix.PTRACE_SETOPTIONS, tid, 0, uintptr(options))
}

// PtraceGetEventMsg returns the message of the event that tid is stopped at: the
// new thread's id, or the former one's for EventExec.
func PtraceGetEventMsg(tid int) (uint64, error) {
	var msg uintptr
	err := ptracePtr(unix.PTRACE_GETEVENTMSG, tid, 0, unsafe.Pointer(&msg))
	return uint64(msg), err
}

// PtraceGetSigInfo returns the siginfo of the signal that tid is stopped at.
func PtraceGetSigInfo(tid int) (info SigInfo, err error) {
	err = ptracePtr(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(&info))
	return info, err
}

// PtraceGetSigMask returns the signals that tid blocks, bit N-1 for signal N.
func PtraceGetSigMask(tid int) (mask uint64, err error) {
	err = ptracePtr(unix.PTRACE_GETSIGMASK, tid, sigsetSize, unsafe.Pointer(&mask))
	return mask, err
}

// PtraceSetSigMask replaces the signals that tid blocks.
func PtraceSetSigMask(tid int, mask uint64) error {
	return ptracePtr(unix.PTRACE_SETSIGMASK, tid, sigsetSize, unsafe.Pointer(&mask))
}

// PtraceGetRegSet reads a register set into buf and returns how much of buf the
// kernel filled.
func PtraceGetRegSet(tid, set int, buf []byte) (int, error) {
	if len(buf) == 0 {
		return 0, syscall.EINVAL
	}
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	err := ptracePtr(unix.PTRACE_GETREGSET, tid, uintptr(set), unsafe.Pointer(&iov))
	return int(iov.Len), err
}

// PtraceSetRegSet writes a register set.
func PtraceSetRegSet(tid, set int, buf []byte) error {
	if len(buf) == 0 {
		return syscall.EINVAL
	}
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	return ptracePtr(unix.PTRACE_SETREGSET, tid, uintptr(set), unsafe.Pointer(&iov))
}

// PtraceGetRegSetAll reads a register set whose size is not known beforehand, such
// as the scalable ones of arm64.
func PtraceGetRegSetAll(tid, set int) ([]byte, error) {
	for size := 4096; size <= maxRegSetBuffer; size *= 4 {
		buf := make([]byte, size)
		n, err := PtraceGetRegSet(tid, set, buf)
		if err != nil {
			return nil, err
		}
		if n < size {
			return buf[:n], nil
		}
	}
	return nil, fmt.Errorf("register set %#x is larger than %d bytes", set, maxRegSetBuffer)
}

// PtracePeek reads the machine word at addr, whatever the page's protection.
func PtracePeek(tid int, addr uint64) (uint64, error) {
	var word uintptr
	err := ptracePtr(unix.PTRACE_PEEKDATA, tid, uintptr(addr), unsafe.Pointer(&word))
	return uint64(word), err
}

// PtracePoke writes the machine word at addr, whatever the page's protection.
func PtracePoke(tid int, addr, word uint64) error {
	return ptrace(unix.PTRACE_POKEDATA, tid, uintptr(addr), uintptr(word))
}

// RseqConfig is struct ptrace_rseq_configuration.
type RseqConfig struct {
	Pointer   uint64
	Size      uint32
	Signature uint32
	Flags     uint32
	_         uint32
}

// PtraceGetRseq returns where tid registered its struct rseq (pointer 0: nowhere).
func PtraceGetRseq(tid int) (c RseqConfig, err error) {
	err = ptracePtr(unix.PTRACE_GET_RSEQ_CONFIGURATION, tid, unsafe.Sizeof(c), unsafe.Pointer(&c))
	return c, err
}
