package export

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the goldens anew")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		writeTestFile(t, path, got)
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, d)
	}
}

// needs skips a test where a tool is missing, but not unseen.
func needs(t testing.TB, tool, from string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no %s here (%s has it)", tool, from)
	}
}

func writeTestFile(t testing.TB, path string, content []byte) {
	t.Helper()
	check(t, os.WriteFile(path, content, 0o666))
}

// validate checks JSON against a schema in testdata.
func validate(t testing.TB, schema string, js []byte) {
	t.Helper()
	compiled, err := jsonschema.NewCompiler().Compile(filepath.Join("testdata", schema))
	check(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	check(t, err)
	check(t, compiled.Validate(value))
	if !json.Valid(js) {
		t.Error("no JSON")
	}
}

// span is the beginning or the end of a call, as some format has it.
type span struct {
	thread int
	at     int64
	name   string // "" at the end where the format does not repeat it
	end    bool
}

// balanced checks what all viewers need: that times of a thread ascend, that
// every call ends, after those in it and not before it began.
func balanced(t testing.TB, list []span) {
	t.Helper()
	open, last := map[int][]span{}, map[int]int64{}
	for _, s := range list {
		if s.at < last[s.thread] {
			t.Errorf("thread %d goes back from %d to %d (%s)", s.thread, last[s.thread], s.at, s.name)
		}
		last[s.thread] = s.at
		stack := open[s.thread]
		if !s.end {
			open[s.thread] = append(stack, s)
			continue
		}
		n := len(stack) - 1
		if n < 0 {
			t.Fatalf("thread %d: an end of %q without a beginning", s.thread, s.name)
		}
		if s.name != "" && s.name != stack[n].name {
			t.Errorf("thread %d: %q ends inside %q", s.thread, s.name, stack[n].name)
		}
		open[s.thread] = stack[:n]
	}
	for thread, stack := range open {
		if len(stack) > 0 {
			t.Errorf("thread %d: %d calls do not end", thread, len(stack))
		}
	}
	if len(list) == 0 {
		t.Error("no calls")
	}
}
