//go:build linux && (arm64 || amd64)

package test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// mapping is a line of /proc/PID/maps.
type mapping struct {
	start, end, offset uint64
	perms, path        string
}

func mappings(t *testing.T, pid string) []mapping {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	var all []mapping
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		var m mapping
		if _, err := fmt.Sscanf(f[0]+" "+f[2], "%x-%x %x", &m.start, &m.end, &m.offset); err != nil {
			t.Fatalf("maps line %q: %v", line, err)
		}
		m.perms = f[1]
		if len(f) > 5 {
			m.path = strings.Join(f[5:], " ")
		}
		all = append(all, m)
	}
	return all
}

// textIntact compares a process's text with the files it was mapped from, byte by byte.
func textIntact(t *testing.T, pid string) {
	t.Helper()
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	for _, m := range mappings(t, pid) {
		if !strings.Contains(m.perms, "x") || !strings.HasPrefix(m.path, "/") || strings.HasPrefix(m.path, "/memfd:") {
			continue
		}
		file, err := os.ReadFile(m.path)
		if err != nil {
			t.Fatal(err)
		}
		// The loader's first mapping of a library is longer than the file; nothing can be read there.
		is := make([]byte, min(m.end-m.start, uint64(len(file))-min(m.offset, uint64(len(file)))))
		if _, err := mem.ReadAt(is, int64(m.start)); err != nil {
			t.Fatalf("read text of %s: %v", m.path, err)
		}
		was := make([]byte, len(is))
		copy(was, file[min(m.offset, uint64(len(file))):])
		if !bytes.Equal(is, was) {
			n := 0
			for i := 0; i < len(is); i += 4 {
				if !bytes.Equal(is[i:i+4], was[i:i+4]) {
					if n < 4 {
						t.Errorf("%s: text at %#x is % x, in the file % x", m.path, m.start+uint64(i), is[i:i+4], was[i:i+4])
					}
					n++
				}
			}
			t.Errorf("%s: %d instructions differ from the file", m.path, n)
		}
	}
}

// residue lists what does not belong into a process that nobody traces.
func residue(t *testing.T, pid string) []string {
	t.Helper()
	var left []string
	for _, m := range mappings(t, pid) {
		foreign := strings.Contains(m.path, "nopal") && !strings.Contains(m.path, "/fixtures/") || strings.Contains(m.path, "memfd:")
		if foreign || strings.Contains(m.perms, "x") && !strings.HasPrefix(m.path, "/") && !strings.HasPrefix(m.path, "[") {
			left = append(left, fmt.Sprintf("mapping %#x-%#x %s %s", m.start, m.end, m.perms, m.path))
		}
		if strings.HasPrefix(m.perms, "rwx") {
			left = append(left, fmt.Sprintf("writable code at %#x", m.start))
		}
	}
	fds, err := os.ReadDir("/proc/" + pid + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/" + pid + "/fd/" + fd.Name()); err == nil && strings.Contains(to, "memfd:") {
			left = append(left, "descriptor "+fd.Name()+" of "+to)
		}
	}
	if by := tracer(t, pid); by != 0 {
		left = append(left, fmt.Sprintf("traced by %d", by))
	}
	return left
}

// clean wants a process to be as if nopal had never been there.
func clean(t *testing.T, pid string) {
	t.Helper()
	textIntact(t, pid)
	for _, what := range residue(t, pid) {
		t.Errorf("left in process %s: %s", pid, what)
	}
}

// status is a field of /proc/PID/status.
func status(t *testing.T, pid, field string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%s/status has no %s", pid, field)
	return ""
}

func tracer(t *testing.T, pid string) int {
	t.Helper()
	n, err := strconv.Atoi(status(t, pid, "TracerPid"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// armed says whether anything in the process's own text differs from its file, that is, whether nopal has got to it.
func armed(t *testing.T, pid, path string) bool {
	t.Helper()
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		return false
	}
	defer mem.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mappings(t, pid) {
		if m.path != path || !strings.Contains(m.perms, "x") {
			continue
		}
		is := make([]byte, min(m.end-m.start, uint64(len(file))-m.offset))
		if _, err := mem.ReadAt(is, int64(m.start)); err != nil {
			return false
		}
		if !bytes.Equal(is, file[m.offset:m.offset+uint64(len(is))]) {
			return true
		}
	}
	return false
}
