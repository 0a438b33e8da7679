package unwind

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"sort"

	"nopal/internal/tracee"
)

// Regs are the general registers of a stopped thread.
type Regs struct {
	X      [31]uint64
	SP, PC uint64
}

// Memory is the memory of the process. Offsets are addresses.
type Memory interface {
	ReadAt(p []byte, off int64) (int, error)
}

// FrameKind says how a frame came to be left.
type FrameKind uint8

// The kinds of frames.
const (
	// Normal is a frame that has called the one before it, or the first.
	Normal FrameKind = iota
	// Signal is a frame that a signal has interrupted: the next instruction that it
	// executes is the one at PC.
	Signal
	// Trampoline is code of nopal's own.
	Trampoline
)

// Frame is a call that is open.
type Frame struct {
	PC uint64 // where it goes on
	// CFA is the stack pointer as it was before the call (DWARF 5, 6.4): what the
	// frame has on the stack lies below it.
	CFA  uint64
	Kind FrameKind
	// Exact says that the instruction at PC is the next one of the frame for any
	// reason but a call's return: PC is then what the frame is to be looked up by.
	// Otherwise it is PC-4, as a call may be a function's last instruction.
	Exact  bool
	Object string // path of the object, or what the kernel calls the mapping; "" for memory without a name
}

// Lookup is the address that tells which function the frame belongs to.
func (f Frame) Lookup() uint64 {
	if f.Exact {
		return f.PC
	}
	return f.PC - insnSize
}

const insnSize = 4

// UnknownError says where a stack is not known any further, and why.
type UnknownError struct {
	PC     uint64 // of the frame whose caller is not known
	Object string
	Reason string
	// Passing says that the thread is at a place that it leaves by itself soon, so
	// that it is worth while to let it run a little and to try again.
	Passing bool
}

func (e *UnknownError) Error() string {
	in := ""
	if e.Object != "" {
		in = " in " + e.Object
	}
	return fmt.Sprintf("unwind from %#x%s: %s", e.PC, in, e.Reason)
}

// Options are what New may be told.
type Options struct {
	// PACMask are the bits of a return address that are its signature, as
	// NT_ARM_PAC_MASK gives them. 0: bits 63 to 48.
	PACMask uint64
	// Sysroot is put before the paths of objects: /proc/PID/root for a process in
	// a mount namespace of its own.
	Sysroot string
	// Site tells whether the instruction at pc belongs to a site (its landing pad
	// included), where a function's return address is in x30 and nothing is on its stack yet.
	// Nil: what the objects' own tables of sites say.
	Site func(pc uint64) bool
	// Own tells nopal's own code in the process: trampolines, stubs, what is made for
	// a function. It is followed to where it goes on in the program. Nil: there is none.
	Own func(pc uint64) bool
}

// Unwinder makes stacks of one process. It is to be used by one goroutine at a
// time.
type Unwinder struct {
	pid      int
	mem      Memory
	o        Options
	maps     []tracee.Mapping
	mapsText []byte                     // what they were made of
	objects  map[tracee.Mapping]*object // by executable mapping; nil: it has none
	tables   []table
	pages    map[uint64][]byte // memory that the stack at hand was read from
	// Return addresses that were found to be behind a call, and in an ordinary function.
	// They stay that as long as the same is mapped: nopal changes no call.
	plain map[uint64]bool
}

// table is what AddTable was told of.
type table struct {
	name       string
	start, end uint64
	all        []fde
}

// New makes an unwinder for a process. The objects of the process are read when
// they are first met.
func New(pid int, mem Memory, o Options) *Unwinder {
	if o.PACMask == 0 {
		o.PACMask = 0xffff << 48
	}
	return &Unwinder{pid: pid, mem: mem, o: o, objects: map[tracee.Mapping]*object{}, pages: map[uint64][]byte{}, plain: map[uint64]bool{}}
}

// AddTable adds the call frame information of code that no loader has mapped: the
// .eh_frame of size bytes at an address in the process, for code in [start, end).
func (u *Unwinder) AddTable(name string, start, end, frames, size uint64) {
	u.tables = append(u.tables, table{name, start, end, u.readFrames(frames, size)})
}

// Refresh looks again at what the process has mapped, and forgets the objects that
// are gone. It is to be called when objects may have been loaded or unloaded since.
func (u *Unwinder) Refresh() error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", u.pid))
	if err == nil && len(text) > 0 && bytes.Equal(text, u.mapsText) {
		return nil
	}
	u.mapsText = text
	clear(u.plain)
	maps, err := tracee.Maps(u.pid)
	if err != nil {
		return err
	}
	u.maps = maps
	there := make(map[tracee.Mapping]bool, len(maps))
	for _, m := range maps {
		there[m] = true
	}
	for m := range u.objects {
		if !there[m] {
			delete(u.objects, m)
		}
	}
	return nil
}

// mapping gives the index of the mapping that holds an address.
func (u *Unwinder) mapping(addr uint64) (int, bool) {
	i := sort.Search(len(u.maps), func(i int) bool { return u.maps[i].End > addr })
	return i, i < len(u.maps) && u.maps[i].Start <= addr
}

// codeAt gives the mapping that holds an instruction.
func (u *Unwinder) codeAt(pc uint64) (int, bool) {
	i, ok := u.mapping(pc)
	if !ok || !u.maps[i].Executable() {
		// Something new?
		if err := u.Refresh(); err != nil {
			return 0, false
		}
		i, ok = u.mapping(pc)
	}
	return i, ok && u.maps[i].Executable()
}

// object gives the object that a mapping is of; nil: none.
func (u *Unwinder) object(i int) *object {
	m := u.maps[i]
	o, known := u.objects[m]
	if known {
		return o
	}
	if base, ok := u.baseOf(i); ok {
		// What cannot be read has no call frame information, which is said there.
		o, _ = u.openObject(m, base)
	}
	u.objects[m] = o
	return o
}

// baseOf finds where the ELF header of a mapping's object lies.
func (u *Unwinder) baseOf(i int) (uint64, bool) {
	m := u.maps[i]
	if m.Inode == 0 {
		return m.Start, m.Path == "[vdso]"
	}
	for j := i; j >= 0; j-- {
		if b := u.maps[j]; b.Offset == 0 && b.Inode == m.Inode && b.Dev == m.Dev {
			return b.Start, true
		}
	}
	return 0, false
}

const pageSize = 1 << 12

// read reads memory, which stands still while a stack is made.
func (u *Unwinder) read(p []byte, at uint64) bool {
	for len(p) > 0 {
		page := at &^ (pageSize - 1)
		b, known := u.pages[page]
		if !known {
			b = make([]byte, pageSize)
			if _, err := u.mem.ReadAt(b, int64(page)); err != nil {
				b = nil
			}
			u.pages[page] = b
		}
		if b == nil {
			return false
		}
		n := copy(p, b[at-page:])
		p, at = p[n:], at+uint64(n)
	}
	return true
}

func (u *Unwinder) word(at uint64) (uint64, bool) {
	var b [8]byte
	ok := u.read(b[:], at)
	return binary.LittleEndian.Uint64(b[:]), ok
}

func (u *Unwinder) insn(at uint64) (uint32, bool) {
	var b [4]byte
	ok := at%insnSize == 0 && u.read(b[:], at)
	return binary.LittleEndian.Uint32(b[:]), ok
}
