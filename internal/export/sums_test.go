package export

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/pprof/profile"

	"nopal/internal/analyze"
)

func TestFolded(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		o    Options
		want string
	}{
		{"time", sample(t), Options{}, `main 450
main;foo::bar(int) 400
main;foo::bar(int);leaf 100
main;foo::bar 100
main;tail 50
main;foo::bar(int);odd:"` + "\uFFFD\uFFFD" + ` 100
main;foo::bar(int);odd:"` + "\uFFFD\uFFFD" + `;leaf 800
foo::bar(int) 2850
foo::bar(int);foo::bar(int) 90
foo::bar(int);foo::bar(int);leaf 10
`},
		{"calls", sample(t), Options{Weight: Calls, Selection: analyze.Selection{TID: 101}}, `foo::bar(int) 1
foo::bar(int);foo::bar(int) 1
foo::bar(int);foo::bar(int);leaf 1
`},
		{"left out", sample(t), Options{Selection: analyze.Selection{TID: 100, Not: only{"foo::bar(int)"}}}, `main 1850
main;foo::bar 100
main;tail 50
`},
		{"asked for", sample(t), Options{Selection: analyze.Selection{TID: 100, Only: only{"foo::bar(int)"}}}, `foo::bar(int) 400
foo::bar(int);leaf 100
foo::bar(int);odd:"` + "\uFFFD\uFFFD" + ` 100
foo::bar(int);odd:"` + "\uFFFD\uFFFD" + `;leaf 800
`},
		{"depth", sample(t), Options{Selection: analyze.Selection{TID: 100, Depth: 1}}, `main 2000
`},
		// The first foo::bar is long enough, the calls in it, foo::bar and tail are not.
		{"minimum", sample(t), Options{Selection: analyze.Selection{TID: 100, MinTime: 101}}, `main 600
main;foo::bar(int) 500
main;foo::bar(int);odd:"` + "\uFFFD\uFFFD" + ` 100
main;foo::bar(int);odd:"` + "\uFFFD\uFFFD" + `;leaf 800
`},
		{"range", sample(t), Options{First: 5_000_001_000, Selection: analyze.Selection{TID: 100, Range: elapsed(600, 701)}}, `main;foo::bar 100
main;tail 50
`},
		{"entries left out", entries(t), Options{Selection: analyze.Selection{Not: only{"foo::bar(int)"}}}, `main 1
main;leaf 3
`},
		{"profile", profiled(t), Options{}, `main 1000
leaf 4000
`},
		{"entries", entries(t), Options{}, `main 1
main;foo::bar(int) 3
main;foo::bar(int);leaf 3
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.o.Format = Folded
			got, _ := export(t, c.file, c.o)
			if d := cmp.Diff(sorted(c.want), sorted(string(got))); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// elapsed is a range in nanoseconds since the first event.
func elapsed(from, to int64) analyze.Range {
	return analyze.Range{From: analyze.Bound{Set: true, Elapsed: true, Time: from}, To: analyze.Bound{Set: true, Elapsed: true, Time: to}}
}

func sorted(s string) []string {
	list := strings.SplitAfter(s, "\n")
	for i := range list {
		for j := i; j > 0 && list[j] < list[j-1]; j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return list
}

// TestDeepStack: stacks are cut in the middle, and say so.
func TestDeepStack(t *testing.T) {
	var file bytes.Buffer
	s := begin(t, &file, true)
	s.thread(100)
	const depth = 3000
	for i := range depth {
		s.enter(fnBar, i, uint64(1000+i))
	}
	for i := range depth {
		s.leave(fnBar, depth-1-i, uint64(5000+i))
	}
	s.close()
	got, _ := export(t, file.Bytes(), Options{Format: Folded, Weight: Calls})
	list := strings.Split(strings.TrimSpace(string(got)), "\n")
	if len(list) != maxStack+1 {
		t.Fatalf("%d stacks, want %d", len(list), maxStack+1)
	}
	last := list[maxStack]
	if n := strings.Count(last, ";") + 1; n != maxStack || !strings.Contains(last, ";...;") || !strings.HasSuffix(last, fmt.Sprint(" ", depth-maxStack)) {
		t.Errorf("the last stack has %d functions: %s", n, last)
	}
	for _, line := range list[:maxStack] {
		if strings.Contains(line, "...") {
			t.Errorf("cut without need: %s", line)
		}
	}
}

func TestPprof(t *testing.T) {
	pb, _ := export(t, sample(t), Options{Format: Pprof})
	p, err := profile.ParseData(pb)
	check(t, err, p.CheckValid())
	if len(p.SampleType) != 2 || p.DefaultSampleType != "time" || p.DurationNanos != 10_000 {
		t.Errorf("%+v", p)
	}
	calls, time := map[string]int64{}, int64(0)
	for _, s := range p.Sample {
		l := s.Location[0]
		calls[l.Line[0].Function.Name+" "+s.Label["thread"][0]] += s.Value[0]
		time += s.Value[1]
		if l.Mapping.BuildID != "0123abcd" || l.Mapping.File != "/bin/prog" || l.Address-l.Mapping.Start < 0x1000 {
			t.Errorf("location %+v of %+v", l, l.Mapping)
		}
	}
	want := map[string]int64{
		"main prog": 1, "foo::bar(int) prog": 2, "leaf prog": 3, "foo::bar prog": 1, "tail prog": 1, "odd;\"\uFFFD\uFFFD prog": 1,
		"foo::bar(int) worker": 2, "leaf worker": 1,
	}
	if d := cmp.Diff(want, calls); d != "" {
		t.Errorf("calls (-want +got)\n%s", d)
	}
	// What both threads spent in traced functions: 1000 to 3000, and 1050 to the end.
	if time != 2000+2950 {
		t.Errorf("%d ns, want 4950", time)
	}
}

// TestGoToolPprof: the tool itself reads it.
func TestGoToolPprof(t *testing.T) {
	needs(t, "go", "go.dev/dl")
	for name, c := range map[string]struct {
		file []byte
		args []string
		want []string
	}{
		"time":    {sample(t), nil, []string{"Type: time", "4950ns total", "910ns 18.38%", " foo::bar(int)"}},
		"calls":   {sample(t), []string{"-sample_index=calls"}, []string{"Type: calls", "of 12 total", " leaf"}},
		"thread":  {sample(t), []string{"-tagfocus=thread=worker"}, []string{" foo::bar(int)"}},
		"entries": {entries(t), nil, []string{"Type: calls", "of 7 total"}},
		"profile": {profiled(t), nil, []string{"Type: time", "5us total"}},
	} {
		t.Run(name, func(t *testing.T) {
			pb, _ := export(t, c.file, Options{Format: Pprof})
			path := t.TempDir() + "/prof.pb.gz"
			writeTestFile(t, path, pb)
			out, err := exec.Command("go", append(append([]string{"tool", "pprof", "-top"}, c.args...), path)...).CombinedOutput()
			check(t, err)
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
		})
	}
}
