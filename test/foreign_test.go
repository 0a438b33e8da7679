//go:build linux && !arm64

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nopal/internal/vmtest"
)

// readers are the commands that must say the same of a recording on every machine.
var readers = []string{
	"info", "replay", "replay --flat", "replay --format=jsonl", "report", "report --format=json", "graph", "graph fib",
	"export --format=chrome", "export --format=folded", "export --format=perfetto", "export --format=speedscope",
}

// A recording that was made on arm64 is read here, and shows what it shows there.
func TestReadForeignRecording(t *testing.T) {
	if _, err := exec.LookPath("qemu-system-aarch64"); err != nil {
		t.Skip("no qemu-system-aarch64")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	build := filepath.Join(root, "build")
	needed := []string{"arm64/nopal", "fixtures/test/fib", "fixtures/test/exceptions"}
	for _, file := range append([]string{"vm/init", "vm/kernel-4k/vmlinuz"}, needed...) {
		if _, err := os.Stat(filepath.Join(build, file)); err != nil {
			t.Skipf("build/%s is not there: make test builds it", file)
		}
	}
	nopal := filepath.Join(t.TempDir(), "nopal")
	if out, err := exec.Command("go", "build", "-o", nopal, "../cmd/nopal").CombinedOutput(); err != nil {
		t.Fatalf("build nopal: %v\n%s", err, out)
	}

	var script strings.Builder
	script.WriteString("set -e\n" +
		"./nopal record -q --graph --buffer 64m -o /share/data -- sh -c './fib 20; ./exceptions 10' >/share/output\n")
	for _, command := range readers {
		script.WriteString("./nopal " + command + " -i /share/data >'/share/" + command + "'\n")
	}
	var files []string
	for _, file := range needed {
		files = append(files, filepath.Join(build, file))
	}
	var output bytes.Buffer
	vm := vmtest.VM{
		Dir: filepath.Join(build, "vm"), Pages: "4k", CPU: "cortex-a72", SMP: 2, Memory: 2048, Timeout: 3 * time.Minute,
		Share: t.TempDir(), Stdout: &output, Stderr: &output,
	}
	status, err := vm.Run(context.Background(), vmtest.Job{Command: script.String()}, files)
	if err != nil || status != 0 {
		t.Fatalf("record and read in the VM: status %d, %v\n%s", status, err, output.String())
	}

	for _, command := range readers {
		there, err := os.ReadFile(filepath.Join(vm.Share, command))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(nopal, append(strings.Fields(command), "-i", "/share/data")...)
		cmd.Args[len(cmd.Args)-1] = filepath.Join(vm.Share, "data")
		var here, complaint bytes.Buffer
		cmd.Stdout, cmd.Stderr = &here, &complaint
		if err := cmd.Run(); err != nil {
			t.Errorf("nopal %s: %v\n%s", command, err, complaint.String())
			continue
		}
		is := bytes.ReplaceAll(here.Bytes(), []byte(filepath.Join(vm.Share, "data")), []byte("/share/data"))
		if !bytes.Equal(is, there) {
			t.Errorf("nopal %s says something else here: %d bytes, there %d", command, len(is), len(there))
		}
		if command == "report --format=json" {
			checkReport(t, is)
		}
	}
}

// checkReport looks for what fib says of itself.
func checkReport(t *testing.T, text []byte) {
	t.Helper()
	if !json.Valid(text) {
		t.Errorf("the report is no JSON: %.200s", text)
	}
	if !bytes.Contains(text, []byte("21891")) {
		t.Errorf("the report has no 21891 calls of fib: %.2000s", text)
	}
}
