package session

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// runtimeDir is where a user's recordings are found. In it are the sockets of
// recordings, named by the nopal's pid, and a link to one of them for each process
// that is recorded, named by that one's.
type runtimeDir struct{ path string }

const socketPrefix = "nopal-"

// runtimeDirs are the places where this user's directory may be, the best first.
func runtimeDirs() []string {
	uid := os.Geteuid()
	if uid == 0 {
		return []string{"/run/nopal"}
	}
	var dirs []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		dirs = append(dirs, filepath.Join(dir, "nopal"))
	}
	return append(dirs, fmt.Sprintf("/run/user/%d/nopal", uid))
}

// makeRuntimeDir returns the first of the directories that can be made, and is nobody
// else's.
func makeRuntimeDir(paths []string) (*runtimeDir, error) {
	var errs []error
	for _, path := range paths {
		err := os.Mkdir(path, 0o700)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = checkPrivate(path)
		}
		if err == nil {
			return &runtimeDir{path}, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// checkPrivate returns an error for what is not a directory of this user's that
// nobody else can look into.
func checkPrivate(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at runtime directory: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("runtime directory %s: it is none", path)
	case !ok || stat.Uid != uint32(os.Geteuid()):
		return fmt.Errorf("runtime directory %s: it belongs to somebody else", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("runtime directory %s: it is open to others (mode %o)", path, info.Mode().Perm())
	}
	return nil
}

func (d *runtimeDir) socket(nopal int) string {
	return filepath.Join(d.path, fmt.Sprintf("%s%d.sock", socketPrefix, nopal))
}

func (d *runtimeDir) link(pid int) string { return filepath.Join(d.path, fmt.Sprintf("%d.sock", pid)) }

// listen makes this nopal's socket.
func (d *runtimeDir) listen() (*net.UnixListener, error) {
	d.sweep()
	path := d.socket(os.Getpid())
	// One that is there is of an earlier process with our pid.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for control: %w", err), l.Close())
	}
	return l, nil
}

// name makes this nopal's socket known as that of a process. A name that leads to a
// nopal which answers is left alone.
func (d *runtimeDir) name(pid int) {
	link, mine := d.link(pid), filepath.Base(d.socket(os.Getpid()))
	if err := os.Symlink(mine, link); !errors.Is(err, fs.ErrExist) || answers(link) {
		return
	}
	// Renamed, not removed and made, so that there is always one.
	fresh := link + ".new"
	_ = os.Remove(fresh)
	if os.Symlink(mine, fresh) == nil {
		_ = os.Rename(fresh, link)
	}
}

// unname takes a name away that leads to us.
func (d *runtimeDir) unname(pid int) {
	if to, err := os.Readlink(d.link(pid)); err == nil && to == filepath.Base(d.socket(os.Getpid())) {
		_ = os.Remove(d.link(pid))
	}
}

// sweep removes what nopals that were killed have left.
func (d *runtimeDir) sweep() {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return
	}
	for _, e := range entries {
		path, of := filepath.Join(d.path, e.Name()), e.Name()
		if e.Type()&fs.ModeSymlink != 0 {
			if of, err = os.Readlink(path); err != nil {
				continue
			}
		}
		number, found := strings.CutPrefix(strings.TrimSuffix(of, ".sock"), socketPrefix)
		nopal, err := strconv.Atoi(number)
		if !found || err != nil || nopal <= 0 || !errors.Is(syscall.Kill(nopal, 0), syscall.ESRCH) {
			continue
		}
		// Nobody has that pid here; it may be one of another pid namespace.
		if !answers(path) {
			_ = os.Remove(path)
		}
	}
}

// answers reports whether somebody listens on a socket.
func answers(path string) bool {
	conn, err := net.DialTimeout("unix", path, staleCheckTime)
	if err != nil {
		// Anything else than nobody there is no reason to take it away.
		return !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist)
	}
	_ = conn.Close()
	return true
}

// foreignDirs are the runtime directories of all users in which a nopal listens now.
func foreignDirs() []string {
	list, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil
	}
	var dirs []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		// Num RefCount Protocol Flags Type St Inode Path
		fields := strings.Fields(line)
		if len(fields) < 8 {
			continue
		}
		path := fields[7]
		dir := filepath.Dir(path)
		if filepath.IsAbs(path) && filepath.Base(dir) == "nopal" && strings.HasPrefix(filepath.Base(path), socketPrefix) && !seen[dir] {
			seen[dir] = true
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
