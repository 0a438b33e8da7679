package analyze

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFormatDuration(t *testing.T) {
	for ns, want := range map[int64]string{
		Unknown: "-", 0: "0.000 us", 1: "0.001 us", 999_999: "999.999 us", 1_000_000: "1.000 ms", 12_345_678: "12.345 ms",
		999_999_999: "999.999 ms", 1_000_000_000: "1.000 s ", 3_600_000_000_000: "3600.000 s ", -1500: "-1.500 us",
	} {
		if got := FormatDuration(ns); got != want {
			t.Errorf("%d ns is %q, want %q", ns, got, want)
		}
	}
}

func testTable() *Table {
	return &Table{Heading: "FUNCTION", Rows: []Row{
		{Label: "a", Calls: 3, Total: 10, Self: 9, Avg: 3, Min: 1, Max: 5, P50: 3, P99: 5},
		{Label: "b", Calls: 3, Total: 2_000_000, Self: 9, Avg: 3, Min: 1, Max: 5, P50: 3, P99: 5},
		{Label: strings.Repeat("é", 100), Calls: 70, Total: Unknown, Self: Unknown, Avg: Unknown, Min: Unknown, Max: Unknown, P50: Unknown, P99: Unknown},
	}}
}

func TestTable(t *testing.T) {
	table := testTable()
	table.Rows[2].Label = "c"
	for keys, want := range map[string]string{"total": "bac", "calls": "cab", "self,name": "abc", "name": "abc", "self,total": "bac"} {
		k, err := ParseKeys(keys)
		check(t, err)
		table.Sort(k)
		got := ""
		for _, r := range table.Rows {
			got += r.Label
		}
		if got != want {
			t.Errorf("sorted by %s: %s, want %s", keys, got, want)
		}
	}
	table.Sort([]Key{KeyTotal})
	want := `       CALLS       TOTAL        SELF         AVG         MIN         MAX         P50         P99  FUNCTION
           3    2.000 ms    0.009 us    0.003 us    0.001 us    0.005 us    0.003 us    0.005 us  b
           3    0.010 us    0.009 us    0.003 us    0.001 us    0.005 us    0.003 us    0.005 us  a
          70           -           -           -           -           -           -           -  c`
	if got := strings.Join(table.Lines(0, 0), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if _, err := ParseKeys("total,size"); err == nil || !strings.Contains(err.Error(), `"size"`) {
		t.Errorf("error %v", err)
	}
}

// TestTableFits: whatever the terminal's size, no line is longer.
func TestTableFits(t *testing.T) {
	for width := 1; width < 200; width++ {
		for height := 1; height < 5; height++ {
			lines := testTable().Lines(width, height)
			if len(lines) != min(height, 4) {
				t.Fatalf("%d lines for a height of %d", len(lines), height)
			}
			for _, l := range lines {
				if n := utf8.RuneCountInString(l); n > width {
					t.Fatalf("a line of %d for a width of %d: %q", n, width, l)
				}
			}
		}
	}
	if l := testTable().Lines(80, 0); !strings.Contains(l[0], "TOTAL") || !strings.HasPrefix(strings.Fields(l[0])[0], "CALLS") {
		t.Errorf("a terminal of 80 columns shows %q", l[0])
	}
}

func TestBuckets(t *testing.T) {
	last := -1
	for d := uint64(0); d < 1<<20; d++ {
		b := bucketOf(d)
		if b != last && b != last+1 {
			t.Fatalf("the bucket of %d is %d, after %d", d, b, last)
		}
		if d < bucketStart(b) || d >= bucketStart(b+1) {
			t.Fatalf("%d is not in its bucket %d", d, b)
		}
		last = b
	}
	if b := bucketOf(1<<64 - 1); b >= 61*subBuckets {
		t.Errorf("the last bucket is %d", b)
	}
}

// TestQuantiles compares with the exact ones.
func TestQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		var parts [2]stats
		var all []uint64
		for range 1 + rng.IntN(5000) {
			d := rng.Uint64() >> rng.IntN(64)
			parts[rng.IntN(2)].add(d, 0, false)
			all = append(all, d)
		}
		s := parts[0]
		s.hist = slices.Clone(s.hist)
		s.merge(&parts[1])
		slices.Sort(all)
		if s.min() != all[0] || s.max != all[len(all)-1] || s.known() != uint64(len(all)) {
			t.Fatalf("round %d: %d calls of %d to %d", round, s.known(), s.min(), s.max)
		}
		for _, q := range []uint64{50, 99} {
			got, want := float64(s.quantile(q, 100)), float64(all[(uint64(len(all))*q+99)/100-1])
			if got < want*0.968-1 || got > want*1.032+1 {
				t.Errorf("round %d: p%d is %v, want %v", round, q, got, want)
			}
		}
	}
}
