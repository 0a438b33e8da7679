// Package image reads a loaded object, a program or a shared library, from its
// ELF file: what it is, which functions it has, and where their sites are.
//
// It exists because the file, named by its build-id, is what can be trusted:
// the table of sites lies in writable data in the target's memory, while the
// instructions at the sites may already be changed there. Everything here is in
// link-time addresses and reads nothing but files, so an object is read the same on
// any machine: what depends on the machine that it is for stands behind isa. The files are other people's: sizes are capped, and
// what is malformed is an error or left out, never a panic.
package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Options says where to look besides the object itself.
type Options struct {
	// DebugDirs are the roots of separate debug files. Nil means
	// /usr/lib/debug; empty means none.
	DebugDirs []string
	// Sysroot is put before every path that is opened, the object's own
	// included. A process in a mount namespace of its own has one:
	// /proc/PID/root.
	Sysroot string
}

// Segment is one PT_LOAD program header.
type Segment struct {
	Off, VA, Filesz, Memsz uint64
	Flags                  elf.ProgFlag
}

// Image is an object. It does not change after Open or New, and can be used by
// several goroutines at once, but for Exits.
type Image struct {
	Path    string      // as given, without the sysroot
	BuildID string      // hexadecimal; empty where there is none
	Machine elf.Machine // EM_AARCH64 or EM_X86_64
	Type    elf.Type
	PIE     bool // a position-independent program, static or not
	Shared  bool // a shared library
	Static  bool // a program without an interpreter
	BTI     bool // marked as having landing pads everywhere
	Interp  string
	EntryVA uint64
	// Dynamic and DynamicSize are where the dynamic section is loaded; both 0
	// where there is none.
	Dynamic, DynamicSize uint64
	Segments             []Segment
	// DebugFile is the separate debug file that names were read from, if any.
	DebugFile string

	file        io.ReaderAt
	closer      io.Closer
	funcs       []Func
	sites       []Site
	untraceable []Untraceable
	tables      []symbolTable
	exits       *exitIndex        // of Exits; nil before it is first asked
	known       map[uint64]string // of Exits on x86-64: entries, and why they are entry only
	debug       debugInfo         // of Signature
}

// ErrNotELF is returned for a file that is no ELF file at all.
var ErrNotELF = errors.New("not an ELF file")

// MachineError says that an object is for a machine that nopal does not trace.
type MachineError struct {
	Machine elf.Machine
	Class   elf.Class
	Data    elf.Data
}

func (e *MachineError) Error() string {
	const supported = "nopal traces arm64 (aarch64, 64-bit, little-endian) and x86-64 programs"
	switch {
	case e.Machine == elf.EM_X86_64:
		return "x32 programs are not supported: " + supported
	case e.Machine == elf.EM_AARCH64 && e.Class != elf.ELFCLASS64:
		return "ILP32 programs are not supported: " + supported
	case e.Machine == elf.EM_AARCH64:
		return "big-endian programs are not supported: " + supported
	}
	return fmt.Sprintf("programs for machine %v are not supported: %s", e.Machine, supported)
}

// Open reads the object at path. The caller has to Close it.
func Open(path string, o Options) (*Image, error) {
	file := filepath.Join(o.Sysroot, path)
	// Looked at before it is opened: processes map devices too, and to open one
	// may wait or do something.
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open image %s: %w", path, ErrNotELF)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	im, err := New(f, path, o)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	im.closer = f
	return im, nil
}

// New reads an object from r, which has to stay readable as long as the image
// is used. The name serves messages and the search for a debug file.
func New(r io.ReaderAt, name string, o Options) (*Image, error) {
	im := &Image{Path: name, file: r, debug: debugInfo{options: o}}
	if err := im.load(o); err != nil {
		return nil, fmt.Errorf("open image %s: %w", name, err)
	}
	return im, nil
}

// Close closes the file, after which ReadVA fails. What was read stays.
func (im *Image) Close() error {
	if im.closer == nil {
		return nil
	}
	return im.closer.Close()
}

func (im *Image) load(o Options) error {
	f, err := newELF(im.file)
	if err != nil {
		return err
	}
	if err := im.readHeaders(f); err != nil {
		return err
	}
	if im.tables, err = readSymbolTables(f); err != nil {
		return err
	}
	im.tables = append(im.tables, readMiniDebug(f)...)
	dwarf := f
	if debug := openDebugFile(f, im, o); debug != nil {
		defer debug.Close()
		im.DebugFile = debug.path
		dwarf = debug.elf
		tables, err := readSymbolTables(debug.elf)
		if err != nil {
			return fmt.Errorf("read debug file %s: %w", debug.path, err)
		}
		im.tables = append(im.tables, tables...)
	}
	im.funcs = chooseFuncs(im.tables)
	return im.findSites(f, dwarf)
}

// newELF parses the headers and accepts what nopal can trace.
func newELF(r io.ReaderAt) (*elf.File, error) {
	var ident [elf.EI_NIDENT]byte
	if _, err := r.ReadAt(ident[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if string(ident[:4]) != elf.ELFMAG {
		return nil, ErrNotELF
	}
	f, err := elf.NewFile(r)
	if err != nil {
		return nil, fmt.Errorf("read ELF headers: %w", err)
	}
	if f.Machine != elf.EM_AARCH64 && f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, &MachineError{f.Machine, f.Class, f.Data}
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return nil, fmt.Errorf("%v is neither a program nor a shared library", f.Type)
	}
	return f, nil
}

// ReadVA reads what the file holds for the address va, zeros where memory is
// larger than the file. It reads less than asked for, with an error, where the
// segment ends.
func (im *Image) ReadVA(p []byte, va uint64) (int, error) {
	for _, s := range im.Segments {
		at := va - s.VA
		if va < s.VA || at >= s.Memsz {
			continue
		}
		n := int(min(uint64(len(p)), s.Memsz-at))
		stored := 0
		if at < s.Filesz {
			stored = int(min(uint64(n), s.Filesz-at))
			got, err := im.file.ReadAt(p[:stored], int64(s.Off+at))
			if got < stored {
				return got, fmt.Errorf("read %s at %#x: %w", im.Path, va+uint64(got), err)
			}
		}
		clear(p[stored:n])
		if n < len(p) {
			return n, fmt.Errorf("read %s at %#x: %w", im.Path, va+uint64(n), io.ErrUnexpectedEOF)
		}
		return n, nil
	}
	return 0, fmt.Errorf("read %s at %#x: no such address in its segments", im.Path, va)
}

// maxRange is the largest piece of a file that is held in memory: four times
// the text of the largest browsers.
const maxRange = 1 << 30

// readRange reads a piece of a file whose size the file itself claims, and takes
// no memory before its last byte is found to be there.
func readRange(r io.ReaderAt, off, size uint64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	if size > maxRange || off > 1<<62 {
		return nil, fmt.Errorf("read %d bytes at offset %#x: more than a file may have", size, off)
	}
	var last [1]byte
	if n, err := r.ReadAt(last[:], int64(off+size-1)); n == 0 {
		return nil, fmt.Errorf("read %d bytes at offset %#x: %w", size, off, unexpected(err))
	}
	data := make([]byte, size)
	if n, err := r.ReadAt(data, int64(off)); uint64(n) < size {
		return nil, fmt.Errorf("read %d bytes at offset %#x: %w", size, off, unexpected(err))
	}
	return data, nil
}

// unexpected names the end of a file for what it is in the middle of a piece.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSection reads a section as it stands in the file.
func readSection(s *elf.Section) ([]byte, error) {
	if s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	if s.ReaderAt == nil { // debug/elf gives none for what is compressed
		return nil, fmt.Errorf("section %s: compressed", s.Name)
	}
	data, err := readRange(s.ReaderAt, 0, s.FileSize)
	if err != nil {
		return nil, fmt.Errorf("section %s: %w", s.Name, err)
	}
	return data, nil
}
