package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Mapping is one line of /proc/PID/maps.
type Mapping struct {
	Start, End uint64
	Perms      string // "r-xp"
	Offset     uint64
	Dev        string // "fe:01"
	Inode      uint64
	Path       string // as the kernel shows it; "[vdso]", "" if anonymous
}

// Executable reports whether code can run in the mapping.
func (m Mapping) Executable() bool { return len(m.Perms) > 2 && m.Perms[2] == 'x' }

// Maps returns the address space of a process, in ascending order.
func Maps(pid int) ([]Mapping, error) {
	data, err := readOfMemory(pid, "maps")
	if err != nil {
		return nil, fmt.Errorf("read memory map of process %d: %w", pid, notThere(err))
	}
	return parseMaps(string(data))
}

func parseMaps(data string) ([]Mapping, error) {
	var maps []Mapping
	for line := range strings.Lines(data) {
		line = strings.TrimSuffix(line, "\n")
		var m Mapping
		var field [5]string
		rest := line
		for i := range field {
			var ok bool
			if field[i], rest, ok = strings.Cut(rest, " "); !ok && i < 4 {
				return nil, fmt.Errorf("parse memory map %q: too few fields", line)
			}
		}
		start, end, _ := strings.Cut(field[0], "-")
		var errs [4]error
		m.Start, errs[0] = strconv.ParseUint(start, 16, 64)
		m.End, errs[1] = strconv.ParseUint(end, 16, 64)
		m.Offset, errs[2] = strconv.ParseUint(field[2], 16, 64)
		m.Inode, errs[3] = strconv.ParseUint(field[4], 10, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("parse memory map %q: %w", line, err)
		}
		m.Perms, m.Dev = field[1], field[3]
		// The kernel escapes only the newline (seq_file_path).
		m.Path = strings.ReplaceAll(strings.TrimLeft(rest, " "), `\012`, "\n")
		maps = append(maps, m)
	}
	return maps, nil
}

// Types of entries of the auxiliary vector (linux/auxvec.h).
const (
	AtPhdr        = 3
	AtPhent       = 4
	AtPhnum       = 5
	AtPagesz      = 6
	AtBase        = 7
	AtEntry       = 9
	AtHwcap       = 16
	AtHwcap2      = 26
	AtSysinfoEhdr = 33
)

// AuxVector is what the kernel tells a program at its start, by type.
type AuxVector map[uint64]uint64

// PageSize returns the page size of the process, which nopal's own host need not have
// been built with.
func (a AuxVector) PageSize() uint64 { return a[AtPagesz] }

// Auxv returns the auxiliary vector of a 64-bit process.
func Auxv(pid int) (AuxVector, error) {
	data, err := readOfMemory(pid, "auxv")
	if err != nil {
		return nil, fmt.Errorf("read auxiliary vector of process %d: %w", pid, notThere(err))
	}
	if len(data) == 0 {
		// Its memory is gone already.
		return nil, fmt.Errorf("read auxiliary vector of process %d: %w", pid, ErrExited)
	}
	v := AuxVector{}
	for ; len(data) >= 16; data = data[16:] {
		if typ := binary.NativeEndian.Uint64(data); typ != 0 {
			v[typ] = binary.NativeEndian.Uint64(data[8:])
		}
	}
	if v.PageSize() == 0 {
		return nil, fmt.Errorf("read auxiliary vector of process %d: no page size in it", pid)
	}
	return v, nil
}

// ProcStatus is what nopal needs of /proc/PID/status.
type ProcStatus struct {
	Name      string
	State     byte // 'R', 'S', 'D', 'T', 't', 'Z', 'X', 'I'
	Tgid      int
	Pid       int
	PPid      int
	TracerPid int // the tracing thread's id
	Uid, Gid  int // effective
	Threads   int
	Seccomp   int // 0 none, 1 strict, 2 filter
	SigBlk    uint64
	SigIgn    uint64
	SigCgt    uint64
}

// Status returns the state of a process, or of any one of its threads.
func Status(pid int) (ProcStatus, error) {
	data, err := os.ReadFile(procPath(pid, "status"))
	if err != nil {
		return ProcStatus{}, fmt.Errorf("read status of process %d: %w", pid, notThere(err))
	}
	return parseStatus(string(data)), nil
}

func parseStatus(data string) ProcStatus {
	var s ProcStatus
	for line := range strings.Lines(data) {
		key, val, _ := strings.Cut(line, ":")
		val = strings.TrimSpace(val)
		num := func() int { n, _ := strconv.Atoi(val); return n }
		set := func() uint64 { n, _ := strconv.ParseUint(val, 16, 64); return n }
		second := func() int {
			n := 0
			if f := strings.Fields(val); len(f) > 1 {
				n, _ = strconv.Atoi(f[1])
			}
			return n
		}
		switch key {
		case "Name":
			s.Name = val
		case "State":
			if val != "" {
				s.State = val[0]
			}
		case "Tgid":
			s.Tgid = num()
		case "Pid":
			s.Pid = num()
		case "PPid":
			s.PPid = num()
		case "TracerPid":
			s.TracerPid = num()
		case "Uid":
			s.Uid = second()
		case "Gid":
			s.Gid = second()
		case "Threads":
			s.Threads = num()
		case "Seccomp":
			s.Seccomp = num()
		case "SigBlk":
			s.SigBlk = set()
		case "SigIgn":
			s.SigIgn = set()
		case "SigCgt":
			s.SigCgt = set()
		}
	}
	return s
}

// Tasks returns the ids of the threads that a process has at this moment.
func Tasks(pid int) ([]int, error) {
	dir, err := os.Open(procPath(pid, "task"))
	if err != nil {
		return nil, fmt.Errorf("list threads of process %d: %w", pid, notThere(err))
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list threads of process %d: %w", pid, notThere(err))
	}
	tids := make([]int, 0, len(names))
	for _, n := range names {
		if tid, err := strconv.Atoi(n); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// Exe returns the path of the program that a process runs, as the kernel shows it.
func Exe(pid int) (string, error) {
	p, err := os.Readlink(procPath(withMemory(pid), "exe"))
	if err != nil {
		return "", fmt.Errorf("read executable of process %d: %w", pid, notThere(err))
	}
	return p, nil
}

// Comm returns the name of a process or thread.
func Comm(pid int) (string, error) {
	b, err := os.ReadFile(procPath(pid, "comm"))
	if err != nil {
		return "", fmt.Errorf("read name of process %d: %w", pid, notThere(err))
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// Cmdline returns the arguments of a process.
func Cmdline(pid int) ([]string, error) {
	b, err := os.ReadFile(procPath(pid, "cmdline"))
	if err != nil {
		return nil, fmt.Errorf("read command line of process %d: %w", pid, notThere(err))
	}
	if len(b) == 0 {
		return nil, nil
	}
	return strings.Split(string(bytes.TrimSuffix(b, []byte{0})), "\x00"), nil
}

// withMemory returns the id by which /proc shows a process's memory: the first thread's,
// unless that has ended, and given up its share, before the others.
func withMemory(pid int) int {
	if s := taskState(pid, pid); s != 'Z' && s != 'X' {
		return pid
	}
	tids, err := Tasks(pid)
	if err != nil {
		return pid
	}
	for _, tid := range tids {
		if s := taskState(pid, tid); s != 'Z' && s != 'X' && s != 0 {
			return tid
		}
	}
	return pid
}

// readOfMemory reads a file of /proc/PID that is empty for a thread without memory.
func readOfMemory(pid int, name string) ([]byte, error) {
	data, err := os.ReadFile(procPath(pid, name))
	if err != nil || len(data) > 0 {
		return data, err
	}
	return os.ReadFile(procPath(withMemory(pid), name))
}

// isTask reports whether tid is a thread of process pid.
func isTask(pid, tid int) bool {
	return syscall.Access(fmt.Sprintf("/proc/%d/task/%d", pid, tid), 0) == nil
}

// taskState returns the state letter of one thread, 0 if it is gone.
func taskState(pid, tid int) byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return 0
	}
	// The name is in parentheses and may itself contain some.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}

// kernelThread reports whether pid is a thread of the kernel: PF_KTHREAD in the flags,
// the ninth field of stat.
func kernelThread(pid int) bool {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 7 {
		return false
	}
	flags, _ := strconv.ParseUint(f[6], 10, 64)
	const pfKthread = 0x00200000
	return flags&pfKthread != 0
}

func procPath(pid int, name string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + name
}

// notThere turns the ways in which /proc says that a process is gone into one.
func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errESRCH) {
		return ErrNoProcess
	}
	return err
}
