package main

import (
	"io/fs"
	"os"
	"strconv"

	"nopal/internal/session"
)

// outputGuard remembers the file that a recording is going to replace. A recording that failed before there was anything in it
// should not have cost the user the last good one.
type outputGuard struct {
	path   string
	before fs.FileInfo // nil: there was none
}

func lookAtOutput(path string) outputGuard {
	info, err := os.Lstat(path)
	if err != nil {
		return outputGuard{path: path}
	}
	return outputGuard{path, info}
}

// restore takes an empty new recording away and puts back the one that the session has moved. It is best effort: what it cannot
// do leaves the older file under its other name.
func (g outputGuard) restore() {
	now, err := os.Lstat(g.path)
	if err != nil || !now.Mode().IsRegular() || g.before != nil && os.SameFile(g.before, now) {
		return
	}
	old := g.path + ".old"
	if info, err := os.Lstat(old); g.before != nil && err == nil && os.SameFile(g.before, info) {
		_ = os.Rename(old, g.path)
		return
	}
	_ = os.Remove(g.path)
}

// callerOfSudo returns the user who called sudo, to whom the files that root makes shall belong, or nil.
func callerOfSudo() *session.Owner {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, err := strconv.ParseUint(os.Getenv("SUDO_UID"), 10, 31)
	if err != nil {
		return nil
	}
	gid, err := strconv.ParseUint(os.Getenv("SUDO_GID"), 10, 31)
	if err != nil {
		return nil
	}
	return &session.Owner{UID: int(uid), GID: int(gid)}
}
