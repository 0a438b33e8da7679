//go:build linux && (arm64 || amd64)

package test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// roomyGraph is roomy for twice the events.
var roomyGraph = []string{"--graph", "--buffer", "96m"}

// entryOnly are the functions of a program whose exits are inferred, as nopal itself says.
func entryOnly(t *testing.T, prog string) map[string]bool {
	t.Helper()
	only, _ := provenExits(t, prog)
	return only
}

// provenExits says which of how many functions of a program have exits that are not proven.
func provenExits(t *testing.T, prog string) (unproven map[string]bool, functions int) {
	t.Helper()
	var sites []struct {
		Name      string `json:"name"`
		Traceable bool   `json:"traceable"`
		Reason    string `json:"exits_reason"`
	}
	text := nopalOK(t, "sites", "--format=json", prog).stdout
	if err := json.Unmarshal([]byte(text), &sites); err != nil {
		t.Fatalf("sites of %s: %v", prog, err)
	}
	unproven = make(map[string]bool)
	for _, s := range sites {
		if !s.Traceable {
			continue
		}
		functions++
		if s.Reason != "" {
			name, _, _ := strings.Cut(s.Name, "(")
			unproven[name] = true
		}
	}
	return unproven, functions
}

// Programs whose calls nest: all but those that change stacks.
var nesting = []string{
	"fib", "fib-static", "fib-n4", "fib-o0", "fib-clang", "fib-musl-static",
	"abi", "abi-clang", "abi-musl", "nested", "control", "control-static", "control-clang",
	"shapes", "shapes-o0", "shapes-os", "shapes-o3", "shapes-static", "shapes-clang", "shapes-musl",
	"virtuals", "virtuals-o0", "virtuals-os", "virtuals-o3", "virtuals-clang",
	"exceptions", "exceptions-clang", "exceptions-static", "exits", "unwind", "preserve",
	"threads", "threads-musl 2", "threads-nopie 1", "dl", "ctors", "nolibc", "sandbox", "mdwe again", "values",
	"tree", "ends exit 77", "ends signal 15", "ends segv", "busy 4 100", "busy 4 100 1", "brief", "many-10000 once",
	"sigprof 50000", "sigprof-clang 50000",
	"forks 5", "forks-static 2", "forks-musl 2", "forks chain 3",
}

// Programs that run on several stacks, or leave one by longjmp from another; or whose threads cannot be told apart.
var switching = []string{"coroutines", "rawclone 500", "altstack", "jumps", "jumps-clang", "jumps-musl-static", "storm 100", "storm-clang 50"}

// Each program runs as without nopal with its exits patched; the recording has each call, and each call's end.
func TestGraphPrograms(t *testing.T) {
	for _, lines := range [][]string{nesting, switching} {
		nest := &lines[0] == &nesting[0]
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				t.Parallel()
				notYetOf(t, line, "shapes", "unwind", "fib-n4", "rawclone", "storm")
				argv := strings.Fields(line)
				argv[0] = fixture(t, argv[0])
				got, file := recordSame(t, "a line\nand another\n", roomyGraph, argv...)
				r := count(t, file)
				sameCounts(t, r, truth(t, got.stdout))
				if nest {
					sameExits(t, r, got.stdout, argv[0])
					nested(t, r)
				} else {
					returned(t, r, got.stdout, argv[0])
				}
			})
		}
	}
}

// A child that is forked in the middle of calls returns through exits whose entries only its parent has.
func TestGraphForkInTheMiddle(t *testing.T) {
	prog := fixture(t, "forkmid")
	got, file := recordSame(t, "", roomyGraph, prog, "30", "5")
	r := count(t, file)
	sameCounts(t, r, truth(t, got.stdout))
	balanced(t, r)
	// Each child returns from meanwhile and 31 levels of down.
	if n := r.ends.orphans[who{"down", 0}]; n != 5*31 {
		t.Errorf("%d exits of down without an entry, want %d", n, 5*31)
	}
	if n := r.ends.orphans[who{"meanwhile", 0}]; n != 5 {
		t.Errorf("%d exits of meanwhile without an entry, want 5", n)
	}
	// Nobody records the children; their text has the exits all the same.
	got, file = recordSame(t, "", append([]string{"--no-follow"}, roomyGraph...), prog, "30", "5")
	if r := count(t, file); len(r.pids) != 1 || r.ends.exits[who{"down", 0}] != 5*31 {
		t.Errorf("%d processes, %d exits of down\n%s", len(r.pids), r.ends.exits[who{"down", 0}], got.stdout)
	}
}

// Exits and the rest of what records: registers and stacks at the entries.
func TestGraphRegsStack(t *testing.T) {
	notYet(t, "registers in graphs")
	for _, line := range []string{"abi 20", "virtuals 20", "exceptions 10", "nested 20", "tree 500", "sigprof 10000 2000"} {
		for _, options := range [][]string{{"--regs"}, {"--stack"}} {
			t.Run(line+strings.Join(options, ""), func(t *testing.T) {
				t.Parallel()
				argv := strings.Fields(line)
				argv[0] = fixture(t, argv[0])
				got, file := recordSame(t, "", append(options, "--graph", "--buffer", "128m"), argv...)
				r := count(t, file)
				sameCounts(t, r, truth(t, got.stdout))
				sameExits(t, r, got.stdout, argv[0])
			})
		}
	}
}

// Programs that know nothing of nopal, with all entries and exits patched.
func TestGraphWorkloads(t *testing.T) {
	for _, c := range []struct {
		argv     []string
		unproven int // at most so many functions in a thousand
	}{
		{[]string{"demo/lua", "../demo/workload.lua"}, 30},
		{[]string{"demo/sqlite3", "-batch", "-init", "../demo/workload.sql", ":memory:", ""}, 30},
	} {
		prog := append([]string{fixture(t, c.argv[0])}, c.argv[1:]...)
		for _, options := range [][]string{{"--buffer", "256m"}, {"--overwrite", "--buffer", "1m"}, {"--buffer", "64k"}} {
			t.Run(c.argv[0]+strings.Join(options, ""), func(t *testing.T) {
				_, file := recordSame(t, "", append([]string{"--graph"}, options...), prog...)
				r := count(t, file)
				if r.events < 1000 {
					t.Errorf("%d events and %d lost", r.events, r.lost)
				}
				if r.lost == 0 {
					balanced(t, r)
				}
			})
		}
		t.Run(c.argv[0]+" sites", func(t *testing.T) {
			unproven, all := provenExits(t, prog[0])
			if len(unproven)*1000 > all*c.unproven {
				t.Errorf("the exits of %d functions of %d are not proven", len(unproven), all)
			}
			t.Logf("%d functions, %d unproven", all, len(unproven))
		})
	}
}

// Recorded and lost are together what happened, entries and exits alike.
func TestGraphSmallBuffer(t *testing.T) {
	notYet(t, "counts of lost exits")
	for _, line := range []string{"fib 21", "threads 4 64 40"} {
		for _, mode := range []string{"", "--overwrite"} {
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			options := []string{"--graph", "--buffer", "128k"}
			if mode != "" {
				options = append(options, mode)
			}
			o, file := recordSame(t, "", options, argv...)
			r := count(t, file)
			var exits uint64
			want := uint64(2) // main, of which not all programs speak
			for w, n := range truth(t, o.stdout) {
				if w.tid == 0 && w.name != "main" {
					want += 2 * n
				}
			}
			for w, n := range r.ends.exits {
				if w.tid == 0 {
					exits += n
				}
			}
			for w, n := range r.ends.orphans {
				if w.tid == 0 {
					exits += n
				}
			}
			if r.events+exits+r.lost != want {
				t.Errorf("%s %s: %d entries + %d exits + %d lost = %d, happened %d", line, mode, r.events, exits, r.lost, r.events+exits+r.lost, want)
			}
			t.Logf("%d entries, %d exits, %d lost", r.events, exits, r.lost)
		}
	}
}

// On a CPU with BTI and PAC, where functions return by retaa and exits are landed on from stubs.
func TestBTIGraph(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(info), " bti") || !strings.Contains(string(info), " paca") {
		t.Skip("this CPU has no BTI and PAC; the VM with -cpu max has")
	}
	for _, line := range []string{
		"fib-bti 15", "abi-bti 20", "control-bti", "jumps-bti", "threads-bti 2", "sigprof-bti 20000", "values-bti", "exceptions-bti 10",
		"shapes-bti 20", "virtuals-bti 50", "tree-bti 500",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			got, file := recordSame(t, "", roomyGraph, argv...)
			r := count(t, file)
			sameCounts(t, r, truth(t, got.stdout))
			sameExits(t, r, got.stdout, argv[0])
		})
	}
}
