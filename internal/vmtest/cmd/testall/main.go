// Testall runs the tests of all packages: on this machine, and, compiled for
// arm64, inside the VM.
//
// A test that lacks something where it runs (an arm64 kernel on the host, a C
// compiler in the VM) skips with a reason. It is this program that sees to it
// that nothing is skipped unseen: a test that was skipped wherever it was run is
// listed at the end, and with CI=true that is a failure. For the same reason
// the test processes themselves are not told about CI.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"nopal/internal/vmtest"
)

// vmDir is the tree of this repository in the VM's working directory.
const vmDir = vmtest.WorkDir + "/src"

// What the Makefile has built for arm64 before, and what for this machine if it is x86-64.
const (
	nopal          = "build/arm64/nopal"
	fixtures       = "build/fixtures"
	nativeNopal    = "build/nopal"
	nativeFixtures = "build/amd64/fixtures"
)

// boot is one start of the VM and what is run in it.
type boot struct {
	name, pages, cpu, run string
	// optional: the kernel is not in every machine's archives.
	optional bool
}

// Tests of features that only some CPUs or kernels have carry the feature in
// their name, and run again where it exists.
var boots = []boot{
	{name: "arm64", pages: "4k", cpu: "cortex-a72"},
	{name: "arm64-max-16k", pages: "16k", cpu: "max,pauth-impdef=on", run: "BTI|PAC|Page|Smoke", optional: true},
}

func bootNames() string {
	var names []string
	for _, b := range boots {
		names = append(names, b.name)
	}
	return strings.Join(names, ", ")
}

type options struct {
	host, vm bool
	run      string
	boot     string
	verbose  bool
	short    bool
	timeout  time.Duration
	args     string
	packages []string
}

func main() {
	var o options
	flag.BoolVar(&o.host, "host", true, "run the tests on this machine")
	flag.BoolVar(&o.vm, "vm", runtime.GOARCH != "arm64", "run the tests in the arm64 VM")
	flag.StringVar(&o.run, "run", "", "run only tests matching `regexp`; without -boot, in the first VM only")
	flag.StringVar(&o.boot, "boot", "", "boot only the VM of this `name`: "+bootNames())
	flag.BoolVar(&o.verbose, "v", false, "print the output of all tests, not only of failed ones")
	flag.BoolVar(&o.short, "short", false, "pass -short to the tests")
	flag.StringVar(&o.args, "args", "", "`flags` of the tests' own, separated by spaces")
	flag.DurationVar(&o.timeout, "timeout", 45*time.Minute, "`time` for each part: the host, each boot")
	flag.Parse()
	o.packages = flag.Args()
	if len(o.packages) == 0 {
		o.packages = []string{"./..."}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "testall:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	rep := newReport(os.Stdout, o.verbose)
	// Every part is run, whatever became of the one before it.
	var errs []error
	if o.host {
		errs = append(errs, runHost(ctx, o, rep))
	}
	if o.vm && ctx.Err() == nil {
		errs = append(errs, runVM(ctx, o, rep))
	}
	// Where only a part was run, the other part may be what runs the test.
	unseen := 0
	if o.run == "" && o.host && o.vm && !o.short {
		unseen = rep.neverRun()
	}
	failed := rep.summary()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("run tests: %d failed", failed)
	}
	if unseen > 0 && os.Getenv("CI") == "true" {
		return fmt.Errorf("run tests: %d were skipped everywhere", unseen)
	}
	return nil
}

func runHost(ctx context.Context, o options, rep *report) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	args := append([]string{"test", "-json"}, testFlags(o, "-")...)
	if o.run != "" {
		args = append(args, "-run", o.run)
	}
	args = append(args, o.packages...)
	if o.args != "" {
		args = append(append(args, "-args"), strings.Fields(o.args)...)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = withoutCI(os.Environ())
	bin, programs := nativeNopal, nativeFixtures
	if runtime.GOARCH == "arm64" {
		// This machine is what the VM is on others.
		bin, programs = nopal, fixtures
	}
	if exists(bin) && exists(programs) {
		root, err := os.Getwd()
		if err != nil {
			return err
		}
		cmd.Env = append(cmd.Env, "NOPAL_BIN="+filepath.Join(root, bin), "NOPAL_FIXTURES="+filepath.Join(root, programs))
	}
	cmd.Stderr = os.Stderr
	out := rep.writer(runtime.GOARCH)
	defer out.Close()
	cmd.Stdout = out
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && rep.sawFailure() {
		return nil // the report says which
	}
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	return nil
}

func runVM(ctx context.Context, o options, rep *report) error {
	stage, err := filepath.Abs("build/vmtests")
	if err != nil {
		return err
	}
	packages, err := buildStage(ctx, stage, o.packages)
	if err != nil {
		return fmt.Errorf("build tests for arm64: %w", err)
	}
	var errs []error
	if o.boot == "" && o.run != "" {
		o.boot = boots[0].name
	}
	for _, b := range boots {
		if o.boot != "" && b.name != o.boot {
			continue
		}
		if o.run != "" {
			b.run = o.run
		}
		if err := runBoot(ctx, o, b, stage, packages, rep); err != nil {
			errs = append(errs, fmt.Errorf("run tests in VM %q: %w", b.name, err))
		}
	}
	return errors.Join(errs...)
}

func runBoot(ctx context.Context, o options, b boot, stage string, packages []string, rep *report) error {
	base := exec.CommandContext(ctx, "scripts/vm-base.sh", b.pages)
	base.Stderr = os.Stderr
	if err := base.Run(); err != nil {
		if b.optional {
			fmt.Printf("skip\t%s: no kernel\n", b.name)
			return nil
		}
		return fmt.Errorf("fetch kernel: %w", err)
	}
	flags := strings.Join(testFlags(o, "-test."), " ")
	if b.run != "" {
		flags += " -test.run '" + b.run + "'"
	}
	flags += " " + o.args
	var script bytes.Buffer
	for _, p := range packages {
		dir, binary, _ := strings.Cut(p, " ")
		// test2json could start the test itself, but it ignores SIGINT, and what
		// it starts would begin like that.
		fmt.Fprintf(&script, "cd %s/%s && %s/bin/%s -test.v=test2json %s 2>&1 | %s/bin/test2json -t -p nopal/%s\n",
			vmDir, dir, vmtest.WorkDir, binary, flags, vmtest.WorkDir, dir)
	}
	files := []string{stage + "/src:src", stage + "/bin:bin"}
	env := []string{"GOTRACEBACK=all"}
	if exists(nopal) {
		files = append(files, nopal)
		env = append(env, "NOPAL_BIN="+vmtest.WorkDir+"/nopal")
	}
	if exists(fixtures) {
		files = append(files, fixtures+":fixtures")
		env = append(env, "NOPAL_FIXTURES="+vmtest.WorkDir+"/fixtures")
	}
	out := rep.writer(b.name)
	defer out.Close()
	vm := vmtest.VM{
		Dir: "build/vm", Pages: b.pages, CPU: b.cpu, SMP: 2, Memory: 3072, Timeout: o.timeout,
		Stdout: out, Stderr: os.Stderr,
	}
	// The status is that of the last package; the report knows them all.
	_, err := vm.Run(ctx, vmtest.Job{Command: script.String(), Env: env}, files)
	return err
}

// buildStage compiles the packages' tests for arm64 into stage/bin, puts the
// repository's files, of which tests read some, into stage/src, and returns
// "directory binary" for each package that has tests.
func buildStage(ctx context.Context, stage string, patterns []string) ([]string, error) {
	bin, src := filepath.Join(stage, "bin"), filepath.Join(stage, "src")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return nil, err
	}
	list, err := goArm64(ctx, append([]string{"list", "-f",
		`{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}`}, patterns...)...)
	if err != nil {
		return nil, err
	}
	paths := strings.Fields(list)
	if len(paths) == 0 {
		return nil, errors.New("no package has tests")
	}
	if _, err := goArm64(ctx, append([]string{"test", "-c", "-o", bin + "/"}, paths...)...); err != nil {
		return nil, err
	}
	if _, err := goArm64(ctx, "build", "-o", filepath.Join(bin, "test2json"), "cmd/test2json"); err != nil {
		return nil, err
	}
	// Binaries of packages that are not asked for need not be carried along.
	wanted := map[string]bool{"test2json": true}
	var packages []string
	for _, p := range paths {
		binary := filepath.Base(p) + ".test"
		wanted[binary] = true
		packages = append(packages, strings.TrimPrefix(p, "nopal/")+" "+binary)
	}
	entries, err := os.ReadDir(bin)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(bin, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	return packages, copySources(ctx, src)
}

func copySources(ctx context.Context, src string) error {
	if err := os.RemoveAll(src); err != nil {
		return err
	}
	list, err := exec.CommandContext(ctx, "git", "ls-files", "-co", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list source files: %w", err)
	}
	for _, name := range strings.Split(strings.TrimSpace(string(list)), "\n") {
		content, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not yet committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func goArm64(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = io.Writer(os.Stderr)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("run go %s: %w", args[0], err)
	}
	return out.String(), nil
}

func testFlags(o options, prefix string) []string {
	flags := []string{prefix + "timeout=" + o.timeout.String()}
	if o.short {
		flags = append(flags, prefix+"short")
	}
	return flags
}

func withoutCI(env []string) []string {
	var kept []string
	for _, v := range env {
		if !strings.HasPrefix(v, "CI=") {
			kept = append(kept, v)
		}
	}
	return kept
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
