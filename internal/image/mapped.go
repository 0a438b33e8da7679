package image

import (
	"debug/elf"
	"fmt"
	"strings"
)

// OpenMapped reads the object that a process has mapped from path at [start, end), as
// /proc/PID/maps names it.
func OpenMapped(pid int, path string, start, end uint64) (*Image, error) {
	im, err := Open(path, Options{Sysroot: fmt.Sprintf("/proc/%d/root", pid)})
	if err == nil {
		return im, nil
	}
	// Deleted or replaced since it was mapped: the kernel still has it.
	if im, err = Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, start, end), Options{}); err != nil {
		return nil, err
	}
	im.Path = strings.TrimSuffix(path, " (deleted)")
	return im, nil
}

// Bias is the difference between where an executable mapping of the object is, made from
// offset in its file, and where its segment was linked.
func (im *Image) Bias(start, end, offset uint64) (uint64, bool) {
	for _, s := range im.Segments {
		if s.Flags&elf.PF_X == 0 || offset+(end-start) <= s.Off || offset >= s.Off+s.Filesz {
			continue
		}
		return start - (s.VA - s.Off + offset), true
	}
	return 0, false
}
