package tracee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"

	"nopal/internal/sys"
)

// Memory is the address space of a process, read and written through /proc/PID/mem. It
// goes past the protection of private pages (the kernel copies them) and keeps
// instruction caches coherent (arch/arm64/mm/flush.c, copy_to_user_page). Neither a
// stop nor an attachment is needed, only the permission to attach.
//
// Offsets are addresses. It may be used by several goroutines.
type Memory struct {
	pid int

	mu   sync.RWMutex
	file *os.File
	err  error

	poke func(b []byte, addr uint64) error // another way to write, or nil
}

// OpenMemory opens the memory of a process as it is now: after an execve it reads and
// writes nothing.
func OpenMemory(pid int) (*Memory, error) {
	m := &Memory{pid: pid}
	m.reopen(pid)
	return m, m.err
}

// reopen is for a process that has got a new address space.
func (m *Memory) reopen(pid int) {
	file, err := os.OpenFile(procPath(withMemory(pid), "mem"), os.O_RDWR, 0)
	if err != nil {
		err = fmt.Errorf("open memory of process %d: %w", pid, notThere(err))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != nil {
		m.file.Close()
	}
	m.file, m.err = file, err
}

// Close gives the descriptor back.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	err := m.file.Close()
	m.file, m.err = nil, fmt.Errorf("memory of process %d: %w", m.pid, ErrExited)
	return err
}

// ReadAt reads len(b) bytes at an address, all or, with an error, less.
func (m *Memory) ReadAt(b []byte, addr int64) (int, error) {
	n, err := m.access(func(f *os.File) (int, error) { return f.ReadAt(b, addr) })
	if err != nil {
		err = fmt.Errorf("read %d bytes at %#x in process %d: %w", len(b), addr, m.pid, err)
	}
	return n, err
}

// WriteAt writes b at an address, all or, with an error, less. Where the kernel refuses to
// write through /proc/PID/mem (proc_mem.force_override=never), the memory of a Process that
// is stopped is written by ptrace, word for word.
func (m *Memory) WriteAt(b []byte, addr int64) (int, error) {
	n, err := m.write(b, addr)
	if err == nil || errors.Is(err, ErrExited) || m.poke == nil {
		return n, err
	}
	if pokeErr := m.poke(b, uint64(addr)); pokeErr != nil {
		return n, errors.Join(err, pokeErr)
	}
	return len(b), nil
}

func (m *Memory) write(b []byte, addr int64) (int, error) {
	n, err := m.access(func(f *os.File) (int, error) { return f.WriteAt(b, addr) })
	if err != nil {
		err = fmt.Errorf("write %d bytes at %#x in process %d (%d done): %w", len(b), addr, m.pid, n, err)
	}
	return n, err
}

func (m *Memory) access(f func(*os.File) (int, error)) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.file == nil {
		return 0, m.err
	}
	n, err := f(m.file)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // reading, writing
		// The address space is gone: the process has ended or executed another program.
		err = ErrExited
	case errors.Is(err, syscall.EIO):
		err = syscall.EFAULT // what it means: not mapped, or not to be written
	}
	return n, err
}

// ReadUint64 reads a word.
func (m *Memory) ReadUint64(addr uint64) (uint64, error) {
	var b [8]byte
	if _, err := m.ReadAt(b[:], int64(addr)); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint64(b[:]), nil
}

// ReadUint32 reads an instruction or another half word.
func (m *Memory) ReadUint32(addr uint64) (uint32, error) {
	var b [4]byte
	if _, err := m.ReadAt(b[:], int64(addr)); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint32(b[:]), nil
}

// Memory returns the process's memory, for reading and writing without a stop. It
// follows the process through execve.
func (p *Process) Memory() *Memory { return p.mem }

// ReadAt reads the process's memory, running or stopped.
func (p *Process) ReadAt(b []byte, addr int64) (int, error) { return p.mem.ReadAt(b, addr) }

// WriteAt writes the process's memory, running or, for the kernels that Memory.WriteAt
// tells of, stopped.
func (p *Process) WriteAt(b []byte, addr int64) (int, error) { return p.mem.WriteAt(b, addr) }

// Poke writes the stopped process's memory by ptrace alone.
func (p *Process) Poke(b []byte, addr uint64) error {
	var err error
	if doErr := p.t.do(func() {
		if err = p.usable(); err != nil {
			return
		}
		for _, th := range p.threads {
			if th.state == threadHeld {
				err = th.ptraceError("write memory by way", poke(th.tid, b, addr))
				return
			}
		}
		err = fmt.Errorf("write memory of process %d: %w", p.pid, ErrNotStopped)
	}); doErr != nil {
		return doErr
	}
	return err
}

func poke(tid int, b []byte, addr uint64) error {
	for len(b) > 0 {
		base := addr &^ 7
		word, err := sys.PtracePeek(tid, base)
		if err != nil {
			return err
		}
		var w [8]byte
		binary.NativeEndian.PutUint64(w[:], word)
		n := copy(w[addr-base:], b)
		if err := sys.PtracePoke(tid, base, binary.NativeEndian.Uint64(w[:])); err != nil {
			return err
		}
		b, addr = b[n:], addr+uint64(n)
	}
	return nil
}
