package livepatch

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Patches that were built, not made by hand, do in a process what they say.
func TestBuiltPatches(t *testing.T) {
	dir := os.Getenv("NOPAL_FIXTURES")
	if dir == "" {
		t.Skip("NOPAL_FIXTURES is not set: run by make test-vm")
	}
	programs, err := filepath.Glob(filepath.Join(dir, "livepatch", "*.o"))
	if err != nil || len(programs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, object := range programs {
		path := strings.TrimSuffix(object, ".o")
		t.Run(filepath.Base(path), func(t *testing.T) {
			patch, _, err := Build(BuildOptions{Name: "fix", Target: path, Objects: []string{object}})
			if err != nil {
				t.Fatal(err)
			}
			data, err := patch.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if patch, err = Decode(data); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(path)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
			lines := make(chan string)
			go func() {
				for s := bufio.NewScanner(out); s.Scan(); {
					lines <- s.Text()
				}
				close(lines)
			}()
			wait := func(want string) {
				t.Helper()
				for limit := time.After(20 * time.Second); ; {
					select {
					case line, open := <-lines:
						switch {
						case strings.HasPrefix(line, want):
							return
						case !open || strings.Contains(line, "wrong"):
							t.Fatalf("it says %q, ended %v", line, !open)
						}
					case <-limit:
						t.Fatalf("it does not say %q", want)
					}
				}
			}
			wait("old right")
			done := make(chan error, 1)
			go func() {
				_, err := Apply(context.Background(), cmd.Process.Pid, patch, Options{Timeout: 30 * time.Second})
				done <- err
			}()
			for applied := false; !applied; {
				select {
				case err := <-done:
					if err != nil {
						t.Fatal(err)
					}
					applied = true
				case line, open := <-lines:
					if !open || strings.Contains(line, "wrong") {
						t.Fatalf("it says %q, ended %v", line, !open)
					}
				}
			}
			for range 5 {
				wait("new right")
			}
		})
	}
}
