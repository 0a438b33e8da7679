package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

const defaultDebugDir = "/usr/lib/debug"

// debugFile is a separate file with the symbols and the DWARF of an object.
type debugFile struct {
	path string
	file *os.File
	elf  *elf.File
}

// Close closes the file, which was only read.
func (d *debugFile) Close() { _ = d.file.Close() }

// openDebugFile finds the debug file of an object that has no .symtab of its
// own.
func openDebugFile(f *elf.File, im *Image, o Options) *debugFile {
	if f.SectionByType(elf.SHT_SYMTAB) != nil {
		return nil
	}
	return searchDebugFile(f, im, o)
}

// searchDebugFile finds the debug file of an object: by its build-id, or by
// .gnu_debuglink (GDB manual, "Separate Debug Files"). It gives nil where there
// is none that fits.
func searchDebugFile(f *elf.File, im *Image, o Options) *debugFile {
	dirs := o.DebugDirs
	if dirs == nil {
		dirs = []string{defaultDebugDir}
	}
	id, err := hex.DecodeString(im.BuildID)
	if err == nil && len(id) > 1 {
		for _, dir := range dirs {
			name := path.Join(dir, ".build-id", im.BuildID[:2], im.BuildID[2:]+".debug")
			if d := tryDebugFile(o.Sysroot, name, im.BuildID, nil); d != nil {
				return d
			}
		}
	}
	link, sum := debugLink(f)
	if link == "" {
		return nil
	}
	home := path.Dir(im.Path)
	names := []string{path.Join(home, link), path.Join(home, ".debug", link)}
	for _, dir := range dirs {
		names = append(names, path.Join(dir, home, link))
	}
	for _, name := range names {
		if name == im.Path {
			continue
		}
		if d := tryDebugFile(o.Sysroot, name, im.BuildID, &sum); d != nil {
			return d
		}
	}
	return nil
}

// debugLink reads the name of the debug file and the checksum of its contents.
func debugLink(f *elf.File) (name string, sum uint32) {
	s := f.Section(".gnu_debuglink")
	const maxLink = 1 << 12
	if s == nil || s.FileSize > maxLink {
		return "", 0
	}
	data, err := readSection(s)
	if err != nil {
		return "", 0
	}
	text, _, ok := bytes.Cut(data, []byte{0})
	at := (len(text) + 4) / 4 * 4
	if !ok || at+4 > len(data) || len(text) == 0 || strings.Contains(string(text), "/") {
		return "", 0
	}
	return string(text), binary.LittleEndian.Uint32(data[at:])
}

// tryDebugFile opens a debug file if it is the right one: the same build-id, or,
// where there are none to compare, the checksum.
func tryDebugFile(sysroot, name, buildID string, sum *uint32) *debugFile {
	at := filepath.Join(sysroot, name)
	if info, err := os.Stat(at); err != nil || !info.Mode().IsRegular() {
		return nil
	}
	file, err := os.Open(at)
	if err != nil {
		return nil
	}
	d := &debugFile{path: name, file: file}
	if d.elf, err = newELF(file); err == nil {
		if id := sectionBuildID(d.elf); id != "" && buildID != "" {
			if id == buildID {
				return d
			}
		} else if sum != nil && checksum(file) == *sum {
			return d
		}
	}
	d.Close()
	return nil
}

// sectionBuildID reads the build-id by its section: program headers of a debug
// file describe the object that it belongs to.
func sectionBuildID(f *elf.File) string {
	s := f.Section(".note.gnu.build-id")
	if s == nil || s.FileSize > maxNotes {
		return ""
	}
	data, err := readSection(s)
	if err != nil {
		return ""
	}
	var im Image
	im.readNotes(data, s.Addralign)
	return im.BuildID
}

func checksum(file *os.File) uint32 {
	sum := crc32.NewIEEE()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, 1<<62)); err != nil {
		return 0
	}
	return sum.Sum32()
}
