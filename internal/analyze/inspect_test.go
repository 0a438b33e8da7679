package analyze

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	"nopal/trace"
)

func TestInspect(t *testing.T) {
	file := sample(t)
	info, err := Inspect(bytes.NewReader(file))
	check(t, err)
	if info.Events != 8 || info.Lost != 16 || info.Size != int64(len(file)) || info.Truncated || info.Damage != nil {
		t.Errorf("%+v", info)
	}
	var out strings.Builder
	check(t, info.WriteText(&out))
	want := `command   nopal record -- prog 'a b'
nopal     1.0
host      box: Linux 6.1, aarch64, 4 CPUs, pages of 4096 bytes
started   2023-11-14 22:13:20 UTC
clock     cntvct, 62.5 MHz
options   regs=true
lasted    1.12s; ended because the command ended
events    8
lost      16
file      1504 bytes, complete

CALLS  FUNCTIONS  CALLED  BUILD-ID  OBJECT
6      6          6       0123abcd  /bin/prog
2      1          2       -         /lib/libx.so.1

PID  TID  EVENTS  LOST  NAME
100       8       16    /bin/prog 'a b' (exit status 1)
     100  7       0     prog
     101  1       7     -
     102  0       9     -

CALLS  FUNCTION (of 8 called)
1      f<int>
1      foo::bar
1      foo::bar(int)
1      libx.so.1+0x1e8
1      lua_call
1      main
1      tail\x1b[31m"q"
1      xcall

BLOCKS  BYTES  TYPE
1       32     header
1       136    META
1       64     CLOCK
1       64     PROCESS
1       32     THREAD
2       96     IMAGE
2       256    FUNCS
2       112    RANGE
3       512    CHUNK
2       48     ROUND
1       40     LOST
1       40     EXIT
1       72     END
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestInspectIncomplete: what a killed recorder leaves is described, and so is
// what a bad disk leaves.
func TestInspectIncomplete(t *testing.T) {
	file := sample(t)
	info, err := Inspect(bytes.NewReader(file[:len(file)-100]))
	check(t, err)
	if !info.Truncated || info.Damage != nil || info.Events != 8 || info.End != nil {
		t.Errorf("%+v", info)
	}
	var out strings.Builder
	check(t, info.WriteText(&out))
	if !strings.Contains(out.String(), "INCOMPLETE") {
		t.Error(out.String())
	}
	bad := bytes.Clone(file)
	bad[len(bad)-400] ^= 1
	info, err = Inspect(bytes.NewReader(bad))
	check(t, err)
	if info.Truncated || info.Damage == nil || info.Events != 7 {
		t.Errorf("%+v", info)
	}
	if _, err = Inspect(strings.NewReader("ELF")); !errors.Is(err, trace.ErrNotRecording) {
		t.Errorf("error %v", err)
	}
}

func BenchmarkInspect(b *testing.B) {
	path := benchFile(b)
	events := uint64(0)
	start := cpuTime(b, 0)
	for b.Loop() {
		f, err := os.Open(path)
		check(b, err)
		info, err := Inspect(f)
		check(b, err, f.Close())
		events += info.Events
	}
	b.ReportMetric(float64(events)/cpuTime(b, start).Seconds()/1e6, "Mevents/cpu-s")
}

// TestInspectGraph: exits are events, but no calls.
func TestInspectGraph(t *testing.T) {
	info, err := Inspect(bytes.NewReader(graphSample(t)))
	check(t, err)
	calls := map[string]uint64{}
	for _, f := range info.Functions {
		calls[f.Name] = f.Calls
	}
	want := map[string]uint64{"main": 2, "foo::bar(int)": 4, "foo::bar": 1, "tail\x1b[31m\"q\"": 1, "lua_call": 1, "f<int>": 1}
	if info.Events != 19 || info.Exits != 9 || !maps.Equal(calls, want) {
		t.Errorf("%d events, %d of them exits, of %v", info.Events, info.Exits, calls)
	}
	var out strings.Builder
	check(t, info.WriteText(&out))
	if !strings.Contains(out.String(), "events    19: 10 entries and 9 exits\n") {
		t.Error(out.String())
	}
}
