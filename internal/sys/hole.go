package sys

import "golang.org/x/sys/unix"

// PunchHole makes [off, off+size) of a file read as zeros and gives its memory back.
func PunchHole(fd int, off, size int64) error {
	for {
		err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size)
		if err != unix.EINTR {
			return err
		}
	}
}

// What to look for in a file from an offset on, as whence of Seek: bytes that exist, and
// the end of these.
const (
	SeekData = unix.SEEK_DATA
	SeekHole = unix.SEEK_HOLE
)
