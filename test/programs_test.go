//go:build linux && (arm64 || amd64)

package test

import (
	"maps"
	"os"
	"strings"
	"testing"
)

// Room enough that nothing is lost by programs that outrun the drainer under emulation.
var roomy = []string{"--buffer", "64m"}

// Each program runs as without nopal, and the recording has each of its calls.
func TestPrograms(t *testing.T) {
	for _, line := range append([]string{
		"fib", "fib-static", "fib-staticpie", "fib-nopie", "fib-o0", "fib-clang", "fib-relr", "fib-musl", "fib-musl-static",
		"abi", "abi-static", "abi-staticpie", "abi-nopie", "abi-clang", "abi-musl", "abi-musl-static", "nested",
		"control", "control-static", "control-clang",
		"jumps", "jumps-static", "jumps-clang", "jumps-musl", "jumps-musl-static", "exits", "coroutines", "altstack",
		"exceptions", "exceptions-clang", "exceptions-static", "unwind", "preserve",
		"sigprof", "sigprof-clang 50000",
		"threads", "threads-nopie 1", "threads-clang 1", "threads-musl 2",
		"dl", "ctors", "ctors-static", "nolibc", "sandbox", "mdwe", "mdwe again", "values",
		"ends exit 0", "ends exit 77", "ends signal 15", "ends signal 9", "ends signal 6", "ends segv",
		"busy 4 100", "busy 4 100 1", "busy-musl 4 100 1", "brief",
		"many-10000 once",
		"forks", "forks-static 3", "forks-musl 3", "forks chain 3",
		"shapes", "shapes-clang", "shapes-musl", "virtuals", "virtuals-clang", "tree", "storm 100", "storm-clang 100", "forkmid",
	}, machinePrograms...) {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			got, file := recordSame(t, "a line\nand another\n", roomy, argv...)
			sameCounts(t, count(t, file), truth(t, got.stdout))
		})
	}
}

// Programs that know nothing of nopal, on workloads of their own, with all functions armed.
func TestWorkloads(t *testing.T) {
	for _, argv := range [][]string{
		{"demo/lua", "../demo/workload.lua"},
		{"demo/sqlite3", "-batch", "-init", "../demo/workload.sql", ":memory:", ""},
	} {
		for _, options := range [][]string{{"--buffer", "128m"}, {"--regs"}, {"--stack"}, {"--overwrite", "--buffer", "1m"}} {
			t.Run(argv[0]+strings.Join(options, ""), func(t *testing.T) {
				t.Parallel()
				prog := append([]string{fixture(t, argv[0])}, argv[1:]...)
				_, file := recordSame(t, "", options, prog...)
				if r := count(t, file); r.events < 1000 {
					t.Errorf("%d events and %d lost", r.events, r.lost)
				}
			})
		}
	}
}

// The same with registers and stacks recorded: the other trampoline, larger records.
func TestProgramsRegsStack(t *testing.T) {
	for _, line := range []string{
		"fib 15", "abi 20", "nested 20", "control 20", "jumps 50", "exits 10", "coroutines 30", "altstack",
		"exceptions 10", "unwind", "sigprof 20000 2000", "threads 4 32 2", "rawclone 300", "dl 5", "nolibc", "values", "forks 3",
		"abi-musl 20", "exceptions-clang 10",
	} {
		for _, options := range [][]string{{"--regs"}, {"--stack"}, {"--regs", "--stack"}} {
			t.Run(line+strings.Join(options, ""), func(t *testing.T) {
				t.Parallel()
				argv := strings.Fields(line)
				argv[0] = fixture(t, argv[0])
				got, file := recordSame(t, "", append(options, "--buffer", "128m"), argv...)
				sameCounts(t, count(t, file), truth(t, got.stdout))
			})
		}
	}
}

// On a CPU with BTI and PAC, in text that is mapped with PROT_BTI.
func TestBTIPrograms(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(info), " bti") || !strings.Contains(string(info), " paca") {
		t.Skip("this CPU has no BTI and PAC; the VM with -cpu max has")
	}
	for _, line := range []string{
		"fib-bti", "abi-bti", "control-bti", "jumps-bti", "threads-bti 2", "sigprof-bti 50000", "values-bti", "exceptions-bti",
		"fib-bti 15 --regs", "exceptions-bti 10 --stack", "abi-bti 20 --regs", "values-bti --regs --stack",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			plain, flags, _ := strings.Cut(line, " --")
			options := roomy
			if flags != "" {
				options = append(strings.Fields("--"+flags), "--buffer", "64m")
			}
			argv := strings.Fields(plain)
			argv[0] = fixture(t, argv[0])
			got, file := recordSame(t, "", options, argv...)
			sameCounts(t, count(t, file), truth(t, got.stdout))
		})
	}
}

// A few programs on every kernel and CPU there is.
func TestSmokePrograms(t *testing.T) {
	for _, line := range []string{"fib 15", "fib-static 15", "threads 1", "dl", "exceptions 5", "forks 2", "sigprof 5000", "ctors", "mdwe again"} {
		t.Run(line, func(t *testing.T) {
			argv := strings.Fields(line)
			argv[0] = fixture(t, argv[0])
			got, file := recordSame(t, "", roomy, argv...)
			r := count(t, file)
			sameCounts(t, r, truth(t, got.stdout))
			// What nopal itself shows is the same.
			if shown := replay(t, file, nil); !maps.Equal(shown.calls, r.calls) {
				t.Errorf("replay shows %v, the file has %v", shown.calls, r.calls)
			}
		})
	}
}

// Thousands of threads alive at once within the default buffer: what there is no room for is counted.
func TestCrowd(t *testing.T) {
	for _, c := range []struct{ threads, option string }{{"3000", "--no-follow"}, {"400", "-q"}} {
		got, file := recordSame(t, "", []string{c.option}, fixture(t, "crowd"), c.threads)
		r := count(t, file)
		var want uint64
		for _, n := range truth(t, got.stdout) {
			want += n
		}
		if got := r.events - r.calls[who{"main", 0}] + r.lost; got != want {
			t.Errorf("%s threads: %d recorded + %d lost = %d, happened %d", c.threads, got-r.lost, r.lost, got, want)
		}
	}
}

// A stripped program has no names: its functions are object+offset, and all are there.
func TestStripped(t *testing.T) {
	prog := fixture(t, "fib-stripped")
	_, file := recordSame(t, "", roomy, prog)
	r := count(t, file)
	var most uint64
	for w, n := range r.calls {
		if w.tid == 0 && n > most {
			most = n
			if !strings.HasPrefix(w.name, "fib-stripped+0x") {
				t.Errorf("name of a function without symbol: %q", w.name)
			}
		}
	}
	if most != 21891 {
		t.Errorf("%d calls of fib, want 21891", most)
	}
}

// Every function of a large program is armed and called once.
func TestManyFunctions(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	prog := fixture(t, "many-100000")
	_, file := recordSame(t, "", roomy, prog, "once")
	r := count(t, file)
	var calls uint64
	for w, n := range r.calls {
		if w.tid == 0 && w.name != "main" {
			calls += n
		}
	}
	if calls < 10*mostOfMany || machineName == "aarch64" && calls != 100000 || r.lost != 0 {
		t.Errorf("%d calls and %d lost, want 100000", calls, r.lost)
	}
}
