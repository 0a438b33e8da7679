package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// uftracePeers: records are 16 bytes each, in one file for each thread.
func uftracePeers() []peer {
	command := func(flags ...string) func(job) (argv, env []string) {
		return func(j job) (argv, env []string) {
			// What longjmp left stays on uftrace's stack of calls: with its 1024 levels it would warn and lose calls of Lua.
			base := []string{"uftrace", "record", "--no-libcall", "--max-stack=65535", "-d", j.path("uftrace.data")}
			return append(append(base, flags...), j.argv...), nil
		}
	}
	result := func(each int) func(context.Context, job) (recorded, error) {
		return func(_ context.Context, j job) (recorded, error) {
			bytes, err := j.size("uftrace.data/[0-9]*.dat")
			if err != nil {
				return recorded{}, err
			}
			events := uint64(bytes / 16)
			return recorded{events: events, bytes: bytes, lost: j.lostOf(events, each)}, nil
		}
	}
	return []peer{
		{name: "uftrace -P .", what: "same binary as nopal's; entries and exits", variant: "nops", events: 2,
			command: command("-P", "."), result: result(2)},
		{name: "uftrace -pg", what: "compiled with -pg; entries and exits", variant: "pg", events: 2, command: command(), result: result(2)},
		{name: "uftrace -P . -t 1ms", what: "same binary; only calls of 1 ms and more", variant: "nops",
			command: command("-P", ".", "-t", "1ms"), result: result(0)},
	}
}

// xrayPeers: events of 8 bytes in buffers (flight data recorder) or 32 bytes in a file (basic).
func xrayPeers() []peer {
	// XRay asks the kernel for the frequency of the counter and reads the clock instead where there is no answer, as in most
	// virtual machines. So it gets one, in a mount namespace of its own.
	const frequency = `f=$(awk '/^cpu MHz/ {printf "%d", $4 * 1000; exit}' /proc/cpuinfo)
d=/sys/devices/system/cpu/cpu0
if [ ! -e $d/tsc_freq_khz ]; then mount -t tmpfs tmpfs $d && echo "$f" >$d/tsc_freq_khz; fi
exec "$@"`
	command := func(mode, config string) func(job) (argv, env []string) {
		return func(j job) (argv, env []string) {
			argv = append([]string{"unshare", "-m", "sh", "-c", frequency, "sh"}, j.argv...)
			if os.Geteuid() != 0 {
				argv = j.argv
			}
			return argv, []string{"PEERS_XRAY=" + mode, "PEERS_XRAY_CONFIG=" + config, "XRAY_OPTIONS=xray_logfile_base=log."}
		}
	}
	count := func(parse func([]byte) uint64) func(context.Context, job) (recorded, error) {
		return func(_ context.Context, j job) (recorded, error) {
			names, err := filepath.Glob(j.path("log.*"))
			if err != nil {
				return recorded{}, err
			}
			var all recorded
			for _, name := range names {
				data, err := os.ReadFile(name)
				if err != nil {
					return recorded{}, err
				}
				all.bytes += int64(len(data))
				all.events += parse(data)
			}
			all.lost = j.lostOf(all.events, 2)
			return all, nil
		}
	}
	return []peer{
		{name: "XRay FDR", what: "clang's, flight data recorder, threshold 0, buffers for everything; entries and exits", variant: "xray", events: 2,
			command: command("xray-fdr", "func_duration_threshold_us=0:buffer_size=65536:buffer_max=8000"), result: count(fdrEvents)},
		{name: "XRay basic", what: "clang's, basic mode, threshold 0; entries and exits", variant: "xray", events: 2,
			command: command("xray-basic", "func_duration_threshold_us=0"), result: count(basicEvents)},
	}
}

var discarded = regexp.MustCompile(`(?i)discarded events:\s*(\d+)`)

// lttngPeers: the program writes to memory that LTTng's consumer daemon reads.
func lttngPeers() []peer {
	const session = "peers"
	lttng := func(ctx context.Context, args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "lttng", args...).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("run lttng %s: %w: %s", args[0], err, telling(string(out)))
		}
		return string(out), nil
	}
	setup := func(ctx context.Context, j job) error {
		for _, args := range [][]string{
			{"create", session, "--output=" + j.path("lttng")},
			{"enable-channel", "-u", "calls", "--subbuf-size=4M", "--num-subbuf=16"},
			{"enable-event", "-u", "-c", "calls", "lttng_ust_cyg_profile_fast:*"},
			{"start"},
		} {
			if _, err := lttng(ctx, args...); err != nil {
				return err
			}
		}
		return nil
	}
	return []peer{{
		name: "LTTng-UST", what: "-finstrument-functions and liblttng-ust-cyg-profile-fast; entries and exits", variant: "cyg", events: 2, daemon: true,
		setup: setup,
		command: func(j job) (argv, env []string) {
			return append([]string{"env", "LD_PRELOAD=liblttng-ust-cyg-profile-fast.so"}, j.argv...), nil
		},
		result: func(ctx context.Context, j job) (recorded, error) {
			if _, err := lttng(ctx, "stop"); err != nil {
				return recorded{}, err
			}
			list, err := lttng(ctx, "list", session)
			if err != nil {
				return recorded{}, err
			}
			var r recorded
			for _, m := range discarded.FindAllStringSubmatch(list, -1) {
				n, err := strconv.ParseUint(m[1], 10, 64)
				if err != nil {
					return recorded{}, fmt.Errorf("read lttng's count of discarded events: %w", err)
				}
				r.lost += n
			}
			r.bytes, err = j.size("lttng/ust/uid/*/*/calls_*")
			if want := 2 * j.calls; want > r.lost {
				r.events = want - r.lost
			} else if j.calls == 0 {
				// An event: a word of id and time stamp, then the two addresses (the exit has one).
				r.note = "number of events not told by lttng"
			}
			return r, err
		},
		teardown: func(ctx context.Context, _ job) error {
			_, err := lttng(ctx, "destroy", session)
			return err
		},
	}}
}

// profilerPeers count calls and sample.
func profilerPeers() []peer {
	return []peer{
		{name: "gprof", what: "compiled with -pg; calls counted by caller, 100 samples a second", variant: "pg", command: bare,
			result: func(_ context.Context, j job) (recorded, error) {
				bytes, err := j.size("gmon.out")
				return recorded{bytes: bytes, note: "counts"}, err
			}},
		{name: "callgrind", what: "valgrind's, emulates the program; all calls and instructions counted", variant: "plain", slow: 4,
			noStep: "emulates",
			command: func(j job) (argv, env []string) {
				return append([]string{"valgrind", "-q", "--tool=callgrind", "--callgrind-out-file=" + j.path("callgrind.out")}, j.argv...), nil
			},
			result: func(_ context.Context, j job) (recorded, error) {
				bytes, err := j.size("callgrind.out*")
				if err != nil {
					return recorded{}, err
				}
				data, err := os.ReadFile(j.path("callgrind.out"))
				if err != nil {
					return recorded{}, err
				}
				return recorded{bytes: bytes, note: callgrindNote(data, j.calls)}, nil
			}},
	}
}

// callgrindNote gives the instructions of a call of the loop, with the little that starting takes.
func callgrindNote(data []byte, calls uint64) string {
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte("summary: "))
		if !ok {
			rest, ok = bytes.CutPrefix(line, []byte("totals: "))
		}
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(string(bytes.TrimSpace(rest)), 64)
		if err != nil {
			break
		}
		if calls == 0 {
			return fmt.Sprintf("%.0f million instructions", n/1e6)
		}
		return fmt.Sprintf("%.1f instructions a call", n/float64(calls))
	}
	return ""
}

// telling returns the line of what a command said that tells most: nopal's own first, else the last.
func telling(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "nopal: ") {
			return line
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
