package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// outputFile is the place of a new recording. It is made before the recording begins, so that a directory that cannot be written
// to is known before anybody's process is touched, and it belongs to the user who called sudo from the first byte on.
type outputFile struct {
	path  string
	saved bool // an older file was moved to path.old
	made  bool
}

func prepareOutput(path string) (*outputFile, error) {
	o := &outputFile{path: path}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("look at output file: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("write %s: it is a directory; name a file with -o", path)
	case info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0:
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, fmt.Errorf("keep the last recording: %w", err)
		}
		o.saved = true
	default:
		// A device such as /dev/null: nothing to keep, nothing to own.
		return o, nil
	}
	// O_EXCL: under sudo, a link that somebody puts here in the meantime must not lead elsewhere.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		o.discard()
		return nil, fmt.Errorf("create output file: %w (name another one with -o)", err)
	}
	o.made = true
	err = giveToCaller(f)
	if err = errors.Join(err, f.Close()); err != nil {
		o.discard()
		return nil, err
	}
	return o, nil
}

// discard takes the file away again and puts the older one back, when nothing was recorded.
func (o *outputFile) discard() {
	if o.made {
		if info, err := os.Lstat(o.path); err != nil || info.Size() > 0 || os.Remove(o.path) != nil {
			return
		}
	}
	if o.saved {
		// Failing here leaves the older recording under its other name, which does no harm.
		_ = os.Rename(o.path+".old", o.path)
	}
}

// giveToCaller makes a file that root creates under sudo the property of the user who called it.
func giveToCaller(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, errUID := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 31)
	gid, errGID := strconv.ParseUint(os.Getenv("SUDO_GID"), 10, 31)
	if errUID != nil || errGID != nil {
		return nil
	}
	if err := f.Chown(int(uid), int(gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("give output file to the user of sudo: %w", err)
	}
	return nil
}
