package vmtest

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// cpioWriter writes the "newc" archive that the kernel unpacks as an initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst). The first error
// sticks and is returned by Close.
type cpioWriter struct {
	w       *bufio.Writer
	written int64
	inode   int
	dirs    map[string]bool
	err     error
}

func newCPIOWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: bufio.NewWriterSize(w, 1<<20), dirs: make(map[string]bool)}
}

// File types of st_mode, which the archive uses as they are.
const (
	modeChar    = 0o020000
	modeDir     = 0o040000
	modeRegular = 0o100000
	modeSymlink = 0o120000
)

// Dir adds directories.
func (c *cpioWriter) Dir(names ...string) {
	for _, name := range names {
		name = cleanName(name)
		if name == "" || c.dirs[name] {
			continue
		}
		// The kernel creates no missing parents.
		c.Dir(path.Dir("/" + name))
		c.dirs[name] = true
		c.entry(name, modeDir|0o755, 0, 0, 0, strings.NewReader(""))
	}
}

// CharDevice adds a character device.
func (c *cpioWriter) CharDevice(name string, major, minor int) {
	c.entry(cleanName(name), modeChar|0o600, major, minor, 0, strings.NewReader(""))
}

// File adds a regular file.
func (c *cpioWriter) File(name string, perm fs.FileMode, content []byte) {
	c.entry(cleanName(name), modeRegular|int(perm.Perm()), 0, 0, int64(len(content)), strings.NewReader(string(content)))
}

// Tree adds the file, or the directory with all that is in it, as name.
func (c *cpioWriter) Tree(from, name string) {
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		to := cleanName(path.Join(name, filepath.ToSlash(rel)))
		// What the caller names may be a symbolic link to a file; links inside
		// a tree stay links.
		info, err := entry.Info()
		if err == nil && file == from {
			info, err = os.Stat(file)
		}
		if err != nil {
			return err
		}
		c.Dir(path.Dir("/" + to))
		switch {
		case info.IsDir():
			c.Dir(to)
		case info.Mode().IsRegular():
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			c.entry(to, modeRegular|int(info.Mode().Perm()), 0, 0, info.Size(), f)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(file)
			if err != nil {
				return err
			}
			c.entry(to, modeSymlink|0o777, 0, 0, int64(len(target)), strings.NewReader(target))
		default:
			return fmt.Errorf("add %s: neither file, directory nor link", file)
		}
		return c.err
	})
	if c.err == nil {
		c.err = err
	}
}

// Close ends the archive.
func (c *cpioWriter) Close() error {
	c.entry("TRAILER!!!", 0, 0, 0, 0, strings.NewReader(""))
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}

func (c *cpioWriter) entry(name string, mode, major, minor int, size int64, content io.Reader) {
	if c.err != nil {
		return
	}
	c.inode++
	// magic, then 13 fields: ino mode uid gid nlink mtime filesize devmajor
	// devminor rdevmajor rdevminor namesize check
	fields := []int{c.inode, mode, 0, 0, 1, 0, int(size), 0, 0, major, minor, len(name) + 1, 0}
	header := "070701"
	for _, f := range fields {
		header += fmt.Sprintf("%08X", f)
	}
	c.copy(strings.NewReader(header+name+"\x00"), int64(len(header)+len(name)+1))
	c.pad()
	c.copy(content, size)
	c.pad()
}

func (c *cpioWriter) copy(r io.Reader, n int64) {
	if c.err != nil {
		return
	}
	copied, err := io.CopyN(c.w, r, n)
	c.written += copied
	c.err = err
}

// pad fills up to the multiple of four at which headers and contents begin.
func (c *cpioWriter) pad() {
	if n := -c.written & 3; n > 0 {
		c.copy(strings.NewReader("\x00\x00\x00"), n)
	}
}

func cleanName(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
