// Init is the first process of the test VM. It makes the machine usable, runs
// the job's command, gives its output and status to the host over virtio serial
// ports, and powers off. See package vmtest.
//
// It has two halves. Process 1 only reaps: a test that kills nopal leaves
// orphans, and they become process 1's children. Everything else is done by a
// second copy of the program.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nopal/internal/vmtest"
)

func main() {
	if os.Getpid() == 1 {
		reap()
	}
	if err := run(); err != nil {
		fmt.Println("init:", err) // on the kernel's console
		os.Exit(1)
	}
}

// reap starts the worker, waits for all children until the worker has ended,
// and powers off. It does not return.
func reap() {
	worker, err := syscall.ForkExec("/init", []string{"init"}, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		fmt.Println("init: start worker:", err)
	}
	for err == nil {
		var pid int
		pid, err = syscall.Wait4(-1, nil, 0, nil)
		if pid == worker {
			break
		}
		if err == syscall.EINTR {
			err = nil
		}
	}
	if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: power off:", err)
	}
	select {}
}

func run() error {
	if err := prepare(); err != nil {
		return err
	}
	var job vmtest.Job
	spec, err := os.ReadFile(vmtest.JobFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(spec, &job); err != nil {
		return err
	}
	if time.Now().Before(job.Date) {
		now := syscall.NsecToTimeval(job.Date.UnixNano())
		if err := syscall.Settimeofday(&now); err != nil {
			return fmt.Errorf("set time: %w", err)
		}
	}
	if job.Share {
		if err := syscall.Mount(vmtest.ShareTag, vmtest.ShareDir, "9p", 0, "trans=virtio,version=9p2000.L,msize=262144"); err != nil {
			return fmt.Errorf("mount share: %w", err)
		}
	}
	var ports [3]*os.File
	for i, name := range []string{vmtest.PortStdout, vmtest.PortStderr, vmtest.PortStatus} {
		if ports[i], err = openPort(name); err != nil {
			return err
		}
		defer ports[i].Close()
	}
	if _, err := fmt.Fprintln(ports[2], vmtest.Ready); err != nil {
		return err
	}
	status, err := command(job, ports[0], ports[1])
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(ports[2], status)
	return err
}

// command runs the job's command and returns its status as a shell would.
func command(job vmtest.Job, stdout, stderr io.Writer) (int, error) {
	cmd := exec.Command("/bin/sh", "-c", job.Command)
	cmd.Dir = vmtest.WorkDir
	cmd.Env = append([]string{
		"PATH=" + vmtest.WorkDir + ":/bin", "HOME=/root", "TMPDIR=/tmp", "LANG=C.UTF-8", "USER=root",
	}, job.Env...)
	// Only copies are handed out: a port can be opened once, and a command that
	// opens /dev/stdout opens it a second time.
	cmd.Stdout = struct{ io.Writer }{stdout}
	cmd.Stderr = struct{ io.Writer }{stderr}
	// A background process that keeps the pipe open does not hold up the VM.
	cmd.WaitDelay = 2 * time.Second
	// A session of its own, so that job control signals end here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return 0, fmt.Errorf("start command: %w", err)
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

func prepare() error {
	mounts := []struct{ kind, dir, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", ""},
		{"tmpfs", "/dev/shm", ""},
		{"tmpfs", "/tmp", ""},
		{"tmpfs", "/run", "mode=755"},
	}
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(m.kind, m.dir, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := syscall.Sethostname([]byte("nopal-vm")); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	for name, target := range map[string]string{"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink("/proc/self/"+target, "/dev/"+name); err != nil {
			return err
		}
	}
	modules, err := filepath.Glob(vmtest.ModuleDir + "/*.ko")
	if err != nil {
		return err
	}
	sort.Strings(modules) // their names begin with a number
	for _, file := range modules {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("load %s: %w", file, err)
		}
	}
	if err := exec.Command("/bin/busybox", "--install", "-s", "/bin").Run(); err != nil {
		return err
	}
	// busybox's xz only unpacks: a test that looks for xz to pack with must not
	// find it.
	return os.Remove("/bin/xz")
}

// openPort opens the virtio serial port with the given name. Ports appear some
// time after their driver was loaded.
func openPort(name string) (*os.File, error) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return nil, err
		}
		for _, file := range names {
			content, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(content)) != name {
				continue
			}
			f, err := os.OpenFile("/dev/"+filepath.Base(filepath.Dir(file)), os.O_WRONLY, 0)
			if errors.Is(err, os.ErrNotExist) {
				continue // sysfs comes before devtmpfs
			}
			return f, err
		}
	}
	return nil, fmt.Errorf("open port %s: it did not appear", strconv.Quote(name))
}
