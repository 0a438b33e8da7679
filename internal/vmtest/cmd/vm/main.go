// Vm runs a command in the arm64 test VM: the developer's `make vm`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"nopal/internal/vmtest"
)

func main() {
	os.Exit(run())
}

func run() int {
	vm := vmtest.VM{Stdout: os.Stdout, Stderr: os.Stderr}
	flag.StringVar(&vm.Dir, "dir", "build/vm", "`directory` with kernels, root and init")
	flag.StringVar(&vm.Pages, "pages", "4k", "page `size` of the kernel: 4k or 16k")
	flag.StringVar(&vm.CPU, "cpu", "", "QEMU's `CPU`; max has PAC, BTI and MTE (default cortex-a72; with pages of 16k max)")
	flag.IntVar(&vm.SMP, "smp", 2, "`number` of CPUs")
	flag.IntVar(&vm.Memory, "mem", 2048, "memory in `MiB`")
	flag.BoolVar(&vm.ICount, "icount", false, "one guest instruction is one nanosecond; implies -smp 1")
	flag.StringVar(&vm.Share, "share", "", "host `directory` to mount at "+vmtest.ShareDir)
	flag.DurationVar(&vm.Timeout, "timeout", 0, "kill the VM after this `time` (exit status 124)")
	console := flag.Bool("console", false, "show what the kernel prints")
	var env []string
	flag.Func("env", "`NAME=VALUE` for the command's environment (may be repeated)", func(s string) error {
		env = append(env, s)
		return nil
	})
	flag.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: vm [flags] COMMAND [FILE[:NAME]]...\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || flag.Arg(0) == "" {
		flag.Usage()
		return 2
	}
	if vm.CPU == "" && vm.Pages == "4k" {
		vm.CPU = "cortex-a72"
	} else if vm.CPU == "" {
		vm.CPU = "max" // a cortex-a72 has no pages of 16 KB
	}
	if vm.CPU == "max" {
		// QEMU's default, QARMA5 in software, makes a boot five seconds longer.
		vm.CPU = "max,pauth-impdef=on"
	}
	if vm.ICount {
		vm.SMP = 1
	}
	if *console {
		vm.Console = os.Stderr
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	status, err := vm.Run(ctx, vmtest.Job{Command: flag.Arg(0), Env: env}, flag.Args()[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		if errors.Is(err, vmtest.ErrTimeout) {
			return 124
		}
		return 125
	}
	return status
}
