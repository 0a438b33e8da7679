package main

import "fmt"

// A reach is a ratio that nopal is to keep.
type reach struct {
	what     string
	workload string
	peer, to string
	most     float64 // 0: least is meant
	least    float64
}

func reaches() []reach {
	var all []reach
	for _, w := range []string{"empty", "fib", "threads"} {
		for _, populate := range []string{"", " --populate"} {
			all = append(all,
				reach{what: "--graph" + populate + " against the floor", workload: w, peer: "nopal --graph" + populate, to: "floor 2 rdtsc", most: 1.15},
				reach{what: "entries" + populate + " against the floor", workload: w, peer: "nopal" + populate, to: "floor 1 rdtsc", most: 1.2},
			)
		}
		all = append(all,
			reach{what: "uftrace -P . against --graph", workload: w, peer: "uftrace -P .", to: "nopal --graph", least: 5},
			reach{what: "XRay FDR against --graph", workload: w, peer: "XRay FDR", to: "nopal --graph", least: 7},
		)
	}
	for _, w := range []string{"sqlite", "lua"} {
		for _, p := range []string{"never attached", "nopal disarmed"} {
			all = append(all, reach{what: p + " against untraced", workload: w, peer: p, to: "untraced", most: 1.02})
		}
		most := map[string]float64{"sqlite": 4, "lua": 7}[w]
		for _, populate := range []string{"", " --populate"} {
			all = append(all, reach{what: "--graph" + populate + " against untraced", workload: w, peer: "nopal --graph" + populate, to: "untraced", most: most})
		}
		all = append(all, reach{what: "uftrace -P . against untraced", workload: w, peer: "uftrace -P .", to: "untraced"})
	}
	return all
}

// reached compares what was measured with what was to be reached.
func (r *results) reached() [][]string {
	rows := [][]string{{"", "workload", "reach", "measured", ""}}
	for _, c := range reaches() {
		row := []string{c.what, c.workload, c.bound(), "not measured", ""}
		if x, ok := r.of(c.workload, c.peer).ratio(r.of(c.workload, c.to)); ok {
			row[3] = fmt.Sprintf("%.2f x", x)
			row[4] = c.verdict(x)
		}
		rows = append(rows, row)
	}
	return append(rows, r.absolute()...)
}

func (c reach) bound() string {
	switch {
	case c.most > 0:
		return fmt.Sprintf("<= %v x", c.most)
	case c.least > 0:
		return fmt.Sprintf(">= %v x", c.least)
	}
	return ""
}

func (c reach) verdict(x float64) string {
	return verdict(c.most > 0 || c.least > 0, (c.most == 0 || x <= c.most) && x >= c.least)
}

func verdict(bound, kept bool) string {
	switch {
	case !bound:
		return ""
	case kept:
		return "yes"
	}
	return "NO"
}

// absolute gives the figures that are no ratio of two costs.
func (r *results) absolute() [][]string {
	var rows [][]string
	add := func(what, workload, bound string, value float64, unit string, most float64, ok bool) {
		row := []string{what, workload, bound, "not measured", ""}
		if ok {
			row[3], row[4] = figure(value)+unit, verdict(true, value <= most)
		}
		rows = append(rows, row)
	}
	plain := r.of("empty", "untraced")
	clockless := r.of("empty", "nopal --graph --clock=none")
	cost, ok := clockless.cost()
	add("--graph --clock=none", "empty", "<= 8 ns", cost.median, " ns", 8, ok)
	added, ok := clockless.added(plain)
	add("instructions added, --clock=none", "empty", "<= 60", added, "", 60, ok)
	profile, ok := r.of("empty", "nopal --profile").cost()
	base, ok2 := r.of("empty", "never attached").cost()
	add("--profile, added", "empty", "<= 1 ns", profile.median-base.median, " ns", 1, ok && ok2)
	one, ok := r.of("empty", "nopal --graph").cost()
	two, ok2 := r.of("threads", "nopal --graph").cost()
	if ok2 = ok && ok2; !ok2 {
		one.median = 1
	}
	add("two threads against one, --graph", "threads", "<= 1.1 x", two.median/one.median, " x", 1.1, ok2)
	for _, w := range []string{"sqlite", "lua"} {
		m := r.of(w, "nopal --graph")
		ok := m != nil && m.Error == "" && m.Events > 0
		var size, lost float64
		if ok {
			size = float64(m.Bytes) / float64(m.Events)
			for _, n := range m.Lost {
				lost += float64(n)
			}
		}
		add("bytes per event on disk", w, "<= 3", size, "", 3, ok)
		add("events lost", w, "0", lost, "", 0, ok)
	}
	return rows
}

// added returns the instructions that m's call takes more than another's.
func (m *measurement) added(to *measurement) (float64, bool) {
	if m == nil || to == nil || m.Instructions.Median == 0 || to.Instructions.Median == 0 {
		return 0, false
	}
	return m.Instructions.Median - to.Instructions.Median, true
}
