package tracee

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// NSTid returns the id of a thread as it sees it itself, in the innermost of its pid
// namespaces: the last of NSpid in its status (proc(5)).
func NSTid(pid, tid int) (uint32, error) {
	data, err := os.ReadFile(procPath(pid, fmt.Sprintf("task/%d/status", tid)))
	if err != nil {
		return 0, fmt.Errorf("read status of thread %d: %w", tid, notThere(err))
	}
	for line := range strings.Lines(string(data)) {
		ids, ok := strings.CutPrefix(line, "NSpid:")
		if !ok {
			continue
		}
		if f := strings.Fields(ids); len(f) > 0 {
			id, err := strconv.ParseUint(f[len(f)-1], 10, 32)
			return uint32(id), err
		}
	}
	return uint32(tid), nil // a kernel without namespaces
}
