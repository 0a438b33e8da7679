//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// injected counts the injections of a recording by function and rule.
func injected(t *testing.T, file string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for line := range strings.Lines(nopalOK(t, "replay", "-i", file, "--format=jsonl").stdout) {
		var e struct{ Type, Name, Rule string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Type == "inject" {
			counts[e.Name+": "+e.Rule]++
		}
	}
	return counts
}

// faultPrograms are the builds of faults: C libraries that keep errno in different places, compilers, landing pads.
var faultPrograms = []string{"faults", "faults-static", "faults-clang", "faults-musl", "faults-musl-static", "faults-bti"}

var faultRules = []struct{ rule, action string }{
	{"allocate: return NULL errno ENOMEM every 3", "allocate: return NULL errno ENOMEM"},
	{"put: return -1 errno EIO if size > 450 && arg1 == 2", "put: return -1 errno EIO"},
	{"direct: return 100 caller by_two count 4", "direct: return 100"},
	{"real: set fparg1=10", "real: set fparg1=10"},
	{"small: return 0.25", "small: return 0.25"},
	{"pair: return zero", "pair: return zero"},
	{"large: return zero", "large: return zero"},
	{"hfa: return zero", "hfa: return zero"},
	{"many: set arg9=0 set arg10=-1 set a=1000", "many: set arg9=0 set arg10=-1 set a=1000"},
	{"nothing: return every 2", "nothing: return"},
}

// Every kind of effect in every kind of program: what the program sees, what is recorded, and what is counted.
func TestInjectBTI(t *testing.T) {
	notYet(t, "faults")
	const plain = "allocate 0 errno 0\nput 0 errno 0\ndirect 0\nreal 4\nsmall 1.5\npair 4 5\nlarge 4440\nhfa 1 2 3\nmany 1126\nnothing 10\nby_one 0 by_two 0\n"
	const want = "allocate 3 errno 36\nput 2 errno 10\ndirect 0\nreal 21\nsmall 0.25\npair 0 0\nlarge 0\nhfa 0 0 0\nmany 935\nnothing 5\nby_one 0 by_two 4\n"
	fired := []int{3, 2, 4, 1, 1, 1, 1, 1, 1, 5}
	for _, name := range faultPrograms {
		t.Run(name, func(t *testing.T) {
			program := fixture(t, name)
			if got := run(t, "", program, "10").stdout; got != plain {
				t.Fatalf("without rules: %q", got)
			}
			file := filepath.Join(t.TempDir(), "data")
			argv := []string{"inject", "-o", file}
			for _, r := range faultRules {
				argv = append(argv, "-r", r.rule)
			}
			o := nopalOK(t, append(argv, program, "10")...)
			if o.stdout != want {
				t.Errorf("the program says\n%swant\n%s%s", o.stdout, want, o.stderr)
			}
			counts := injected(t, file)
			for i, r := range faultRules {
				if counts[r.action] != fired[i] {
					t.Errorf("%s: %d recorded, want %d", r.rule, counts[r.action], fired[i])
				}
				times := map[int]string{1: "once"}[fired[i]]
				if times == "" {
					times = fmt.Sprintf("%d times", fired[i])
				}
				if !strings.Contains(o.stderr, r.rule+": ") || !strings.Contains(o.stderr, "fired "+times+"\n") {
					t.Errorf("%s: the summary is %q", r.rule, o.stderr)
				}
			}
		})
	}
}

// With calls recorded beside: what returns at once has no entry, what waits or is changed has.
func TestInjectInGraph(t *testing.T) {
	notYet(t, "faults")
	file := filepath.Join(t.TempDir(), "data")
	nopalOK(t, "inject", "-o", file, "--graph", "-r", "direct: return 100 every 2", "-r", "put: set size=7", fixture(t, "faults"), "10")
	calls, _ := callsAndMarks(t, file)
	counts := injected(t, file)
	if calls["direct"] != 15 || calls["put"] != 10 || calls["by_one"] != 10 || calls["main"] != 1 {
		t.Errorf("calls %v", calls)
	}
	if counts["direct: return 100"] != 15 || counts["put: set size=7"] != 10 {
		t.Errorf("injected %v", counts)
	}
}

// Arguments and conditions of calls that are recorded beside: what a rule has changed is seen, what it has returned is not.
func TestInjectWithArguments(t *testing.T) {
	notYet(t, "faults")
	file := filepath.Join(t.TempDir(), "data")
	for _, mode := range [][]string{nil, {"--graph"}} {
		argv := append([]string{"inject", "-o", file, "-a", "-F", "put@size==7 && arg1==1", "-F", "direct", "-r", "put: set size=7 every 2", "-r", "direct: return 3 every 2"}, mode...)
		nopalOK(t, append(argv, fixture(t, "faults"), "12")...)
		puts, directs := 0, 0
		for line := range strings.Lines(nopalOK(t, "replay", "-i", file, "--format=jsonl").stdout) {
			var e struct {
				Type, Name string
				Args       []struct {
					Name  string
					Value any
				}
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			switch {
			case e.Type != "entry":
			case e.Name == "put":
				puts++
				if len(e.Args) != 3 || e.Args[0].Value != 1.0 || e.Args[1].Value != "text" || e.Args[2].Name != "size" || e.Args[2].Value != 7.0 {
					t.Errorf("%v: %s", mode, line)
				}
			case e.Name == "direct":
				directs++
			}
		}
		// Calls 1, 3, ... (from 0) get the size 7; of these 1 and 7 have fd 1. Of 36 calls of direct every other is made.
		if puts != 2 || directs != 18 {
			t.Errorf("%v: %d calls of put, %d of direct", mode, puts, directs)
		}
	}
}

// The choice by chance is the same with the same seed, whichever threads call.
func TestInjectSeed(t *testing.T) {
	notYet(t, "faults")
	program := fixture(t, "faults")
	said := map[string]bool{}
	for _, seed := range []string{"5", "5", "6"} {
		o := nopalOK(t, "inject", "-o", "none", "-r", "direct: return 7 prob 25%", "--seed", seed, program, "2000", "threads")
		var failed, all int
		if _, err := fmt.Sscanf(o.stdout, "direct %d of %d", &failed, &all); err != nil || all != 8000 || failed < 1800 || failed > 2200 {
			t.Errorf("seed %s: %q", seed, o.stdout)
		}
		if !strings.Contains(o.stderr, "8,000 calls, fired "+grouped(failed)+" times") || !strings.Contains(o.stderr, "--seed "+seed) {
			t.Errorf("seed %s: %q", seed, o.stderr)
		}
		said[o.stdout] = true
	}
	if len(said) != 2 {
		t.Errorf("of seeds 5, 5 and 6: %v", said)
	}
}

func grouped(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// Delays with signal handlers that run meanwhile, and where a system call would kill.
func TestInjectDelay(t *testing.T) {
	notYet(t, "faults")
	for _, name := range []string{"faults", "faults-musl-static"} {
		o := nopalOK(t, "inject", "-o", "none", "-r", "put: delay 50ms", fixture(t, name), "4", "signals")
		if !strings.Contains(o.stdout, "put 0 of 4, waited long, alarms many") {
			t.Errorf("%s: %q\n%s", name, o.stdout, o.stderr)
		}
		o = nopalOK(t, "inject", "-o", "none", "-r", "put: delay 10ms return 3 every 2", fixture(t, name), "20", "seccomp")
		if !strings.Contains(o.stdout, "put 10 of 20, ") {
			t.Errorf("%s with seccomp: %q\n%s", name, o.stdout, o.stderr)
		}
		o = nopalOK(t, "inject", "-o", "none", "-r", "put: delay 20ms", fixture(t, name), "10", "seccomp")
		if !strings.Contains(o.stdout, "put 0 of 10, waited long") {
			t.Errorf("%s with seccomp: %q\n%s", name, o.stdout, o.stderr)
		}
	}
}

// A child that is followed counts on; one that is not is left alone.
func TestInjectFork(t *testing.T) {
	notYet(t, "faults")
	program := fixture(t, "faults")
	o := nopalOK(t, "inject", "-o", "none", "-r", "direct: return 7 count 15", program, "10", "fork")
	var parent, child int
	if _, err := fmt.Sscanf(o.stdout, "parent %d, child %d", &parent, &child); err != nil || parent+child != 25 || child < 10 {
		t.Errorf("followed: %q\n%s", o.stdout, o.stderr)
	}
	o = nopalOK(t, "inject", "-o", "none", "--no-follow", "-r", "direct: return 7 every 2", program, "10", "fork")
	if o.stdout != "parent 10, child 5\n" {
		t.Errorf("not followed: %q\n%s", o.stdout, o.stderr)
	}
}

// Programs that are executed later, and libraries that are loaded later, have their rules as well.
func TestInjectLater(t *testing.T) {
	notYet(t, "faults")
	program := fixture(t, "faults")
	o := nopalOK(t, "inject", "-o", "none", "-r", "allocate: return NULL errno 12 every 5", "/bin/sh", "-c", program+" 10; exec "+program+" 10")
	if n := strings.Count(o.stdout, "allocate 2 errno 24\n"); n != 2 || !strings.Contains(o.stderr, "20 calls, fired 4 times") {
		t.Errorf("executed: %q\n%s", o.stdout, o.stderr)
	}
	o = nopalOK(t, "inject", "-o", "none", "-r", "libplug.so:plug_leaf: return 5 every 2", fixture(t, "dl"), "20")
	if !strings.Contains(o.stderr, "100 calls, fired 50 times") {
		t.Errorf("loaded: %q\n%s", o.stdout, o.stderr)
	}
}

// A running process: rules come, and go again with every byte put back.
func TestInjectRunning(t *testing.T) {
	notYet(t, "faults")
	for _, name := range []string{"faults", "faults-static"} {
		p := startReady(t, fixture(t, name), "100", "wait")
		text := textOf(t, p)
		say := func(want string) {
			t.Helper()
			if _, err := p.stdin.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			p.waitFor(t, want)
		}
		say("direct 0 of 100.")
		n := start(t, nopalBin(t), "inject", "-o", "none", "-r", "direct: return 7 errno 5 every 4", "-p", p.pid())
		eventually(t, "the rule in the process", func() bool { return textOf(t, p) != text })
		say("direct 25 of 100.")
		n.signal(t, syscall.SIGINT)
		if o := n.wait(t); !o.ok() || !strings.Contains(o.stderr, "100 calls, fired 25 times") {
			t.Errorf("%s: nopal ended with %#x: %s", name, o.status, o.stderr)
		}
		clean := func() {
			t.Helper()
			if textOf(t, p) != text {
				t.Errorf("%s: the text is not what it was", name)
			}
			if maps, err := os.ReadFile("/proc/" + p.pid() + "/maps"); err != nil || strings.Contains(string(maps), "memfd:") {
				t.Errorf("%s: left in memory: %v\n%s", name, err, maps)
			}
		}
		clean()

		// One that is killed leaves rules that go on, until somebody takes them away.
		n = start(t, nopalBin(t), "inject", "-o", filepath.Join(t.TempDir(), "data"), "-r", "direct: return 7 every 2", "-p", p.pid())
		eventually(t, "the rule in the process", func() bool { return textOf(t, p) != text })
		say("direct 50 of 100.")
		n.signal(t, syscall.SIGKILL)
		n.wait(t)
		say("direct 50 of 100.")
		nopalOK(t, "detach", "-p", p.pid())
		clean()
		if o := p.finish(t); !o.ok() {
			t.Errorf("%s: %#x %s", name, o.status, o.stderr)
		}
	}
}

// textOf is the text of a process's program.
func textOf(t *testing.T, p *process) string {
	t.Helper()
	mem, err := os.Open("/proc/" + p.pid() + "/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	maps, err := os.ReadFile("/proc/" + p.pid() + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var flags string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &flags); err != nil || !strings.Contains(flags, "x") || !strings.Contains(line, "/faults") {
			continue
		}
		text := make([]byte, to-from)
		if _, err := mem.ReadAt(text, from); err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Fatalf("no text of %s in\n%s", p.Path, maps)
	return ""
}

// What makes no sense is refused before anything runs.
func TestInjectRefused(t *testing.T) {
	notYet(t, "faults")
	program := fixture(t, "faults")
	for rule, says := range map[string]string{
		"large: return 1":                  "only `return zero` can be done",
		"dies: return":                     "never returns",
		"direct: set arg2=1":               "no such argument",
		"direct: set y=1":                  "no such argument",
		"direct: return 1 if y == 2":       "no parameter y: there are x",
		"direct: return 1 if arg2 == 2":    "asks for arg2",
		"nothing: return 1":                "returns nothing",
		"direct: return 1.5":               "no floating-point number",
		"direkt: return 1":                 "did you mean direct",
		"direct: return 1 caller nobody":   "its caller is no function",
		"pair: return 1":                   "only zero fits",
		"direct: return 99999999999999999": "does not fit int",
	} {
		o := nopal(t, "inject", "-o", "none", "-r", rule, program, "10")
		if o.status.ExitStatus() != 125 || !strings.Contains(o.stderr, says) || o.stdout != "" {
			t.Errorf("%s: status %#x, stdout %q, stderr %q", rule, o.status, o.stdout, o.stderr)
		}
	}
	// Of many functions, those are left out where it makes none.
	o := nopalOK(t, "inject", "-o", "none", "-r", "*: return 1 if arg1 == 99", program, "10")
	if !strings.Contains(o.stderr, "not injected: ") {
		t.Errorf("stderr %q", o.stderr)
	}
}

const injectSQL = `CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
BEGIN;
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 300) INSERT INTO t SELECT x, hex(randomblob(40)) FROM c;
COMMIT;
CREATE INDEX i ON t(b);
SELECT count(*) FROM t WHERE b > '8' ORDER BY b;
UPDATE t SET b = b || 'x' WHERE a % 3 = 0;
DELETE FROM t WHERE a % 7 = 0;
SELECT count(*), sum(length(b)) > 0 FROM t;
PRAGMA integrity_check;
`

// SQLite's shell with memory and writes that fail at every N-th call: its own handling of errors runs. It ends, with an error or
// without, and the file is a good database or none.
func TestInjectSQLite(t *testing.T) {
	notYet(t, "faults")
	shell := fixture(t, "demo/sqlite3")
	dir := t.TempDir()
	errors := 0
	for _, rule := range []string{
		"sqlite3MemMalloc: return NULL after 200 every 17", "sqlite3MemRealloc: return NULL every 5", "unixWrite: return 778 every 4",
		"unixRead: return 266 every 2", "sqlite3MemMalloc: return NULL prob 1%",
	} {
		db := filepath.Join(dir, "db")
		os.Remove(db)
		os.Remove(db + "-journal")
		file := filepath.Join(dir, "data")
		o := run(t, injectSQL, nopalBin(t), "inject", "-o", file, "--seed", "3", "-r", rule, shell, "-batch", db)
		if !o.status.Exited() || o.status.ExitStatus() >= 125 {
			t.Errorf("%s: status %#x\n%s%s", rule, o.status, o.stdout, o.stderr)
			continue
		}
		if o.stdout != "" && strings.Contains(o.stderr, "rror") {
			errors++
		}
		fired := 0
		for _, n := range injected(t, file) {
			fired += n
		}
		if fired == 0 || !strings.Contains(o.stderr, "fired "+grouped(fired)+" times") && !strings.Contains(o.stderr, "fired once") {
			t.Errorf("%s: %d recorded, and it says\n%s", rule, fired, o.stderr)
		}
		if o := run(t, "PRAGMA integrity_check;", shell, "-batch", db); strings.TrimSpace(o.stdout) != "ok" {
			t.Errorf("%s: the database is broken: %s%s", rule, o.stdout, o.stderr)
		}
	}
	if errors == 0 {
		t.Error("SQLite has told of no error")
	}
}
