package test

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// machineName is what uname calls this machine.
const machineName = "x86_64"

// Programs that only this machine has: sites of other kinds, functions without room between them,
// and what can be harmed here only.
var machinePrograms = []string{
	"fib-cet", "abi-cet", "control-cet", "jumps-cet", "threads-cet 1", "sigprof-cet 50000", "shapes-cet", "tree-cet", "exceptions-cet", "virtuals-cet",
	"fib-area", "abi-area", "control-area", "jumps-area", "threads-area 1", "sigprof-area 50000", "shapes-area", "tree-area", "exceptions-area", "virtuals-area",
	"fib-mfentry", "abi-mfentry", "control-mfentry", "jumps-mfentry", "threads-mfentry 1", "shapes-mfentry", "tree-mfentry", "exceptions-mfentry", "virtuals-mfentry",
	"fib-os", "control-os", "shapes-os", "storm-os 100",
	"state", "state-static", "state-clang", "returns", "returns-static", "returns-clang",
	"tight", "tight-os", "tight-clang", "redzone", "redzone-static", "redzone-clang",
	"single count", "single nested", "single-static nested", "single-clang nested",
}

// The registers of a record are those at the function's entry: rip behind the NOPs, rsp where the return address lies.
func TestRegs(t *testing.T) {
	o, file := record(t, "", []string{"--regs"}, fixture(t, "values"))
	r := replay(t, file, func(e event) bool { return e.Name == "known" || e.Name == "probe" })
	var i uint64
	for _, e := range r.all {
		if e.Regs == nil {
			t.Fatalf("no registers: %+v", e)
		}
		if e.Name == "known" {
			for reg, want := range map[string]uint64{
				"rdi": i, "rsi": 0x1111111111111111, "rdx": 0xfffffffffffffffd, "rcx": 0x7fffffffffffffff, "r8": 0x8000000000000000, "r9": 0x5555,
			} {
				if got := number(t, e.Regs[reg]); got != want {
					t.Errorf("call %d: %s is %#x, want %#x", i, reg, got, want)
				}
			}
			i++
			continue
		}
		var sp, flags, ret uint64
		_, probe, _ := strings.Cut(o.stdout, "~probe ")
		if _, err := fmt.Sscanf(probe, "rsp 0x%x flags 0x%x ret 0x%x", &sp, &flags, &ret); err != nil {
			t.Fatal(err)
		}
		want := map[string]uint64{"rsp": sp, "eflags": flags, "rip": number(t, e.Addr) + 5}
		for n, reg := range []string{"rax", "rcx", "rdx", "rbx", "", "rbp", "rsi", "rdi"} {
			want[reg] = 0xa500 + uint64(n)
		}
		delete(want, "")
		for n := 8; n < 16; n++ {
			want["r"+strconv.Itoa(n)] = 0xa500 + uint64(n)
		}
		for reg, w := range want {
			if got := number(t, e.Regs[reg]); got != w {
				t.Errorf("probe: %s is %#x, want %#x", reg, got, w)
			}
		}
	}
	if i != 10 {
		t.Errorf("%d calls of known with registers, want 10", i)
	}
}

// Threads that the C library knows nothing of share their creator's thread pointer, and so its place
// in the ring, where events of two processors can take each other's place. The program is unharmed, and no event is made up.
func TestRawClone(t *testing.T) {
	got, file := recordSame(t, "", roomy, fixture(t, "rawclone"))
	r := count(t, file)
	for w, n := range truth(t, got.stdout) {
		if r.calls[w] > n {
			t.Errorf("%s: %d events, %d calls", w.name, r.calls[w], n)
		}
	}
}

// A thread that stands in a site, or in our code, while nopal comes or goes: a signal handler waits at
// one instruction after the other, at first while the program is not traced yet, then while it is. Code
// that a thread will return to stays until it has left.
func TestParkedInSite(t *testing.T) {
	for _, prog := range []string{"single", "single-clang"} {
		for _, options := range [][]string{nil, {"--graph"}} {
			t.Run(fmt.Sprint(prog, options), func(t *testing.T) {
				p := startReady(t, fixture(t, prog), "park", "1", "400")
				resume := func() {
					if _, err := p.stdin.Write([]byte("\n")); err != nil {
						t.Fatal(err)
					}
				}
				// parked waits for the n-th instruction, and says whether the program came to it.
				parked := func(n int) bool {
					eventually(t, "the next instruction", func() bool {
						return strings.Contains(p.out.String(), "parked "+strconv.Itoa(n)+"\n") || strings.Contains(p.out.String(), "done")
					})
					return !strings.Contains(p.out.String(), "done")
				}
				resume()
				n := 1
				for ; n <= 16; n++ {
					parked(n)
					attachFor(t, p.pid(), time.Millisecond, options...)
					clean(t, p.pid())
					resume()
				}
				// Attached between two instructions, detached between two others.
				for ends := time.Now().Add(2 * time.Second); parked(n); n++ {
					if n%3 == 0 && time.Now().Before(ends) {
						r := startRecorder(t, p.pid(), options...)
						resume()
						n++
						parked(n)
						r.signal(t, syscall.SIGINT)
						if o := r.wait(t); !o.ok() {
							t.Errorf("the recording ends with status %#x\n%s", o.status, o.stderr)
						}
						// While our code has frames, the unwinder has to know them.
						if options == nil {
							textIntact(t, p.pid())
						}
					}
					resume()
				}
				// Out of our code at last.
				nopalOK(t, "detach", "-p", p.pid())
				clean(t, p.pid())
				if o := p.finish(t); !o.ok() || !strings.Contains(o.stdout, "single wrong 0") {
					t.Errorf("the program was harmed: status %#x\n%s%s", o.status, o.stdout, o.stderr)
				}
			})
		}
	}
}

// A thread that is in the unwinder, which has been told of calls that return to us, while nopal leaves: what
// it holds stays until it is out of it.
func TestDetachWhileThrowing(t *testing.T) {
	for prog, times := range map[string]int{"throwing": 4, "throwing-static": 1} {
		p := startReady(t, fixture(t, prog))
		for range times {
			attachFor(t, p.pid(), 20*time.Millisecond, "--graph")
		}
		if o := p.finish(t); !o.ok() || !strings.Contains(o.stdout, "throwing wrong 0, some caught: yes") {
			t.Errorf("%s: the program was harmed: status %#x\n%s%s", prog, o.status, o.stdout, o.stderr)
		}
	}
}

// Threads that are in sites most of the time, while nopal comes and goes and switches functions on and off.
func TestTight(t *testing.T) {
	for _, prog := range []string{"tight-os", "tight-clang", "tight"} {
		t.Run(prog, func(t *testing.T) {
			p := startReady(t, fixture(t, prog), "3")
			for i := range 4 {
				options := []string{"--overwrite", "--buffer", "256k"}
				if i%2 == 1 {
					options = append(options, "--graph")
				}
				r := startRecorder(t, p.pid(), options...)
				for range 10 {
					r.ctl(t, "off")
					r.ctl(t, "on")
				}
				r.stop(t)
			}
			if o := p.finish(t); !o.ok() || !strings.Contains(o.stdout, "tight right") {
				t.Errorf("the program was harmed: status %#x\n%s%s", o.status, o.stdout, o.stderr)
			}
		})
	}
}
