// Package vmtest boots arm64 Linux in QEMU to run one command in it. nopal
// traces arm64 processes through ptrace, which user-mode emulation does not
// have, so on any other machine its tests need a whole arm64 kernel.
//
// The VM has no disk and no network. Its initramfs is written afresh for each
// job: our own init (package vmtest/init), a C library, busybox, and the job's
// files. Output and exit status come back on virtio serial ports, apart from
// the kernel's console.
package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// VM says what machine to boot and what to run in it.
type VM struct {
	Dir    string // where scripts/vm-base.sh put kernels and root, and init was built
	Pages  string // kernel: "4k" or "16k"
	CPU    string // QEMU's -cpu; with 16 KB pages only "max" and newer cores start
	SMP    int
	Memory int  // in MiB
	ICount bool // one guest instruction takes one nanosecond of guest time
	Share  string
	// Timeout bounds the whole run; 0 is no bound.
	Timeout time.Duration
	// Console receives what the kernel prints. When nil, it is shown on Stderr
	// only if the VM ends without giving the command's status.
	Console        io.Writer
	Stdout, Stderr io.Writer
}

// Job is what init reads from the initramfs.
type Job struct {
	Command string   `json:"command"` // for /bin/sh -c
	Env     []string `json:"env"`
	Share   bool     `json:"share"` // mount the 9p share at /share
	// Date is the host's time: a guest that counts instructions has no other.
	Date time.Time `json:"date"`
}

// Names inside the VM, shared by the host's side and init.
const (
	JobFile    = "/job.spec"
	WorkDir    = "/job"
	ModuleDir  = "/modules"
	ShareDir   = "/share"
	ShareTag   = "share"
	PortStdout = "nopal.stdout"
	PortStderr = "nopal.stderr"
	PortStatus = "nopal.status"
	// Ready is what init writes to the status port before the command starts.
	Ready = "ready"
)

// bootTime bounds the time until init answers. It takes three seconds on an idle
// machine; a kernel on a CPU that it does not support says nothing for ever.
const bootTime = 2 * time.Minute

// ErrBoot is returned when init did not answer.
var ErrBoot = errors.New("the kernel does not start on this CPU, or this machine is very slow")

// ErrTimeout is returned when the VM was killed because its time was up.
var ErrTimeout = errors.New("time is up")

// Run boots the VM, runs the job's command with files in its working directory,
// and returns the command's exit status (128+n when signal n killed it).
//
// A file is PATH, or PATH:NAME to give it another name in the working directory;
// directories are copied whole.
func (vm *VM) Run(ctx context.Context, job Job, files []string) (int, error) {
	if vm.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, vm.Timeout, ErrTimeout)
		defer cancel()
	}
	job.Share = vm.Share != ""
	job.Date = time.Now()
	initrd, err := vm.writeInitramfs(job, files)
	if err != nil {
		return 0, fmt.Errorf("write initramfs: %w", err)
	}
	defer os.Remove(initrd)

	ctx, kill := context.WithCancelCause(ctx)
	defer kill(nil)
	bootTimer := time.AfterFunc(bootTime, func() { kill(ErrBoot) })
	defer bootTimer.Stop()
	status := statusWriter{ready: bootTimer}
	var consoleText bytes.Buffer
	console := vm.Console
	if console == nil {
		console = &consoleText
	}
	ports := []struct {
		name string
		to   io.Writer
	}{
		{PortStdout, vm.Stdout}, {PortStderr, vm.Stderr}, {PortStatus, &status}, {"", console},
	}

	args := vm.qemuArgs(initrd)
	cmd := exec.CommandContext(ctx, "qemu-system-aarch64")
	copied := make(chan error, len(ports))
	var writers []*os.File
	for i, p := range ports {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, fmt.Errorf("make pipe: %w", err)
		}
		defer r.Close()
		defer w.Close()
		writers = append(writers, w)
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		go func() {
			_, err := io.Copy(p.to, r)
			copied <- err
		}()
		// Extra files begin at descriptor 3.
		args = append(args, "-chardev", fmt.Sprintf("file,id=port%d,path=/dev/fd/%d", i, 3+i))
		if p.name == "" {
			args = append(args, "-serial", fmt.Sprintf("chardev:port%d", i))
		} else {
			args = append(args, "-device", fmt.Sprintf("virtserialport,chardev=port%d,name=%s", i, p.name))
		}
	}
	cmd.Args = append(cmd.Args, args...)
	var qemuErr bytes.Buffer
	cmd.Stderr = &qemuErr
	// QEMU must not outlive us; the kernel sends this signal when the thread
	// that started it ends, so that thread has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	runErr := cmd.Run()
	for _, w := range writers {
		w.Close()
	}
	for range ports {
		if err := <-copied; err != nil {
			return 0, fmt.Errorf("copy output of the VM: %w", err)
		}
	}
	if code, ok := status.code(); ok {
		return code, nil
	}
	if consoleText.Len() > 0 {
		fmt.Fprintf(vm.Stderr, "--- console of the VM ---\n%s--- end of console ---\n", &consoleText)
	}
	if ctx.Err() != nil {
		return 0, fmt.Errorf("wait for the VM: %w", context.Cause(ctx))
	}
	if runErr != nil {
		return 0, fmt.Errorf("run qemu: %w: %s", runErr, strings.TrimSpace(qemuErr.String()))
	}
	return 0, fmt.Errorf("run command in the VM: it ended without giving a status")
}

// statusWriter takes what init writes to the status port: that it is ready, and
// at the end the command's status.
type statusWriter struct {
	ready *time.Timer // stopped by the first word from init
	text  bytes.Buffer
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.ready.Stop()
	return w.text.Write(p)
}

func (w *statusWriter) code() (int, bool) {
	words := strings.Fields(w.text.String())
	if len(words) != 2 || words[0] != Ready {
		return 0, false
	}
	code, err := strconv.Atoi(words[1])
	return code, err == nil
}

func (vm *VM) qemuArgs(initrd string) []string {
	args := []string{
		"-M", "virt", "-cpu", vm.CPU, "-smp", strconv.Itoa(vm.SMP), "-m", strconv.Itoa(vm.Memory),
		"-nodefaults", "-nic", "none", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(vm.kernelDir(), "vmlinuz"), "-initrd", initrd,
		// The VM is thrown away: nothing to mitigate, nothing to wait for.
		"-append", "console=ttyAMA0 quiet loglevel=4 panic=-1 mitigations=off audit=0 nowatchdog",
		"-device", "virtio-serial-pci",
	}
	if vm.ICount {
		args = append(args, "-icount", "shift=0")
	}
	if vm.Share != "" {
		args = append(args, "-virtfs", "local,security_model=none,id=share,path="+vm.Share+",mount_tag="+ShareTag)
	}
	return args
}

func (vm *VM) kernelDir() string { return filepath.Join(vm.Dir, "kernel-"+vm.Pages) }

func (vm *VM) writeInitramfs(job Job, files []string) (name string, err error) {
	f, err := os.CreateTemp(vm.Dir, "initramfs-*.cpio")
	if err != nil {
		return "", err
	}
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	spec, err := json.Marshal(job)
	if err != nil {
		return "", err
	}
	w := newCPIOWriter(f)
	w.Dir("proc", "sys", "dev", "tmp", "run", "root", ShareDir, WorkDir)
	// init is started with the kernel's console as its output, when this exists.
	w.CharDevice("dev/console", 5, 1)
	w.Tree(filepath.Join(vm.Dir, "root"), "")
	w.Tree(filepath.Join(vm.kernelDir(), "modules"), ModuleDir)
	w.Tree(filepath.Join(vm.Dir, "init"), "init")
	w.File(JobFile, 0o644, spec)
	for _, file := range files {
		from, to, found := strings.Cut(file, ":")
		if !found {
			to = filepath.Base(from)
		}
		w.Tree(from, filepath.Join(WorkDir, to))
	}
	return f.Name(), w.Close()
}
