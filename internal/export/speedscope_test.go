package export

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

type speedscopeFile struct {
	Shared struct {
		Frames []struct{ Name, File string }
	}
	Profiles []struct {
		Type, Name, Unit     string
		StartValue, EndValue int64
		Events               []struct {
			Type      string
			Frame, At int64
		}
		Samples [][]int
		Weights []int64
	}
}

func parseSpeedscope(t testing.TB, js []byte) *speedscopeFile {
	t.Helper()
	validate(t, "speedscope.schema.json", js)
	f := new(speedscopeFile)
	check(t, json.Unmarshal(js, f))
	for _, p := range f.Profiles {
		if len(p.Samples) != len(p.Weights) || p.StartValue > p.EndValue {
			t.Errorf("profile %s: %d samples, %d weights, from %d to %d", p.Name, len(p.Samples), len(p.Weights), p.StartValue, p.EndValue)
		}
	}
	return f
}

func TestSpeedscopeEvented(t *testing.T) {
	js, sum := export(t, sample(t), Options{Format: Speedscope})
	if sum.Summed || sum.Lost != 7 {
		t.Errorf("%+v", sum)
	}
	golden(t, "sample.speedscope.json", js)
	f := parseSpeedscope(t, js)
	if len(f.Profiles) != 2 || f.Profiles[0].Type != "evented" || f.Profiles[1].Name != "worker (101)" {
		t.Errorf("profiles %+v", f.Profiles)
	}
	var list []span
	for i, p := range f.Profiles {
		for _, e := range p.Events {
			if e.At < p.StartValue || e.At > p.EndValue {
				t.Errorf("event at %d in a profile from %d to %d", e.At, p.StartValue, p.EndValue)
			}
			list = append(list, span{i, e.At, f.Shared.Frames[e.Frame].Name, e.Type == "C"})
		}
	}
	balanced(t, list)
}

// TestSpeedscopeSampled: from a pipe, from a recording without durations and
// from one of sums, there are weighed stacks.
func TestSpeedscopeSampled(t *testing.T) {
	for name, c := range map[string]struct {
		in      io.Reader
		unit    string
		weights int64
	}{
		"pipe":    {io.MultiReader(bytes.NewReader(sample(t))), "nanoseconds", 4950},
		"entries": {bytes.NewReader(entries(t)), "none", 7},
		"profile": {bytes.NewReader(profiled(t)), "nanoseconds", 5000},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			sum, err := Write(c.in, &out, Options{Format: Speedscope})
			check(t, err)
			if !sum.Summed {
				t.Errorf("%+v", sum)
			}
			total := int64(0)
			for _, p := range parseSpeedscope(t, out.Bytes()).Profiles {
				if p.Type != "sampled" || p.Unit != c.unit {
					t.Errorf("profile of type %s in %s", p.Type, p.Unit)
				}
				sum := int64(0)
				for _, w := range p.Weights {
					sum += w
				}
				if p.EndValue-p.StartValue != sum {
					t.Errorf("from %d to %d, with weights of %d", p.StartValue, p.EndValue, sum)
				}
				total += sum
			}
			if total != c.weights {
				t.Errorf("weights of %d, want %d", total, c.weights)
			}
		})
	}
}

// TestSpeedscopeOrder: stacks begin at the outermost function.
func TestSpeedscopeOrder(t *testing.T) {
	var out strings.Builder
	_, err := Write(bytes.NewReader(entries(t)), &out, Options{Format: Speedscope})
	check(t, err)
	f := parseSpeedscope(t, []byte(out.String()))
	for _, s := range f.Profiles[0].Samples {
		if name := f.Shared.Frames[s[0]].Name; name != "main" {
			t.Errorf("a stack begins at %s", name)
		}
	}
}
