package livepatch

import (
	"os"
	"strconv"
	"syscall"
)

// hurry gives nopal's threads priority where it may (root may): a thread that nopal has
// stopped must not wait until those that run leave nopal a processor. Threads that come
// inherit it.
func hurry() {
	const nice = -15
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, e := range tasks {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice)
		}
	}
}
