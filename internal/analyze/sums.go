package analyze

import (
	"math/bits"
	"slices"

	"nopal/trace"
)

// sums holds the statistics of functions, threads or objects.
type sums struct {
	by      Grouping
	rec     *trace.Recording
	names   *names
	sites   []stats // by Site.ID
	unknown []stats // by ^Site.ID
	threads map[threadID]*group
	objects map[*trace.Object]*group
	last    *trace.Task
	lastSum *stats
}

// group is a row that is not a function's.
type group struct {
	stats
	row Row
}

// maxGroups bounds the threads that are told apart. Further ones are one row.
const maxGroups = 1 << 16

// site returns the statistics of a function.
func (s *sums) site(id int32) *stats {
	list, n := &s.sites, int(id)
	if id < 0 {
		list, n = &s.unknown, int(^id)
	}
	if n >= len(*list) {
		*list = slices.Grow(*list, n+1-len(*list))[:n+1]
	}
	return &(*list)[n]
}

// thread returns the statistics of a thread, under its last name.
func (s *sums) thread(t *trace.Task) *stats {
	if t == s.last {
		return s.lastSum
	}
	id := threadID{t.Program, t.TID}
	row := Row{Label: taskLabel(t), Name: t.Name, PID: t.Program.PID, TID: t.TID}
	g := s.threads[id]
	if g == nil {
		if len(s.threads) >= maxGroups {
			id, row = threadID{}, Row{Label: "other threads", Name: "other threads"}
		}
		if g = s.threads[id]; g == nil {
			if s.threads == nil {
				s.threads = map[threadID]*group{}
			}
			g = new(group)
			s.threads[id] = g
		}
	}
	g.row = row
	s.last, s.lastSum = t, &g.stats
	return s.lastSum
}

// object returns the statistics of the object that a function is in.
func (s *sums) object(site int32) *stats {
	o := s.rec.SiteByID(site).Object
	g := s.objects[o]
	if g == nil {
		if s.objects == nil {
			s.objects = map[*trace.Object]*group{}
		}
		g = &group{row: Row{Label: printable(o.Path), Name: o.Path}}
		s.objects[o] = g
	}
	return &g.stats
}

var headings = map[Grouping]string{ByFunction: "FUNCTION", ByThread: "THREAD", ByObject: "OBJECT"}

// table makes the rows. Sites of one function, as it has in several copies of
// its code, and functions of one name in one object are one row.
func (s *sums) table() Table {
	t := Table{Heading: headings[s.by]}
	for _, g := range s.threads {
		t.Rows = append(t.Rows, s.row(&g.stats, g.row))
	}
	for _, g := range s.objects {
		t.Rows = append(t.Rows, s.row(&g.stats, g.row))
	}
	type function struct{ name, object string }
	merged := map[function]*group{}
	var order []*group
	add := func(id int32, st *stats) {
		if st.calls() == 0 {
			return
		}
		site := s.rec.SiteByID(id)
		f := function{site.Name(), site.Object.Path}
		g := merged[f]
		if g == nil {
			g = &group{row: functionRow(s.names, site)}
			merged[f] = g
			order = append(order, g)
		}
		g.merge(st)
	}
	for i := range s.sites {
		add(int32(i), &s.sites[i])
	}
	for i := range s.unknown {
		add(^int32(i), &s.unknown[i])
	}
	for _, g := range order {
		t.Rows = append(t.Rows, s.row(&g.stats, g.row))
	}
	t.Sort([]Key{KeyTotal})
	return t
}

// row fills in the numbers.
func (s *sums) row(st *stats, named Row) Row {
	r := st.row(s.rec.NanosecondsOf)
	r.Label, r.Name, r.Object, r.PID, r.TID = named.Label, named.Name, named.Object, named.PID, named.TID
	return r
}

func functionRow(n *names, s *trace.Site) Row {
	return Row{Label: string(n.site(s).text), Name: Demangle(s.Name()), Object: s.Object.Path}
}

// ProfileTable makes a table of what the target has counted.
func ProfileTable(rec *trace.Recording, by Grouping) Table {
	sel := new(Selection)
	return profileTable(rec.Profiles(), &sums{by: by, rec: rec, names: newNames(sel)}, sel)
}

func profileTable(profiles []trace.FuncProfile, s *sums, sel *Selection) Table {
	for i := range profiles {
		f := &profiles[i]
		if f.Calls == 0 || sel.TID != 0 && f.Task.TID != sel.TID {
			continue
		}
		if v := s.names.site(f.Site).verdict; !v.only || v.not {
			continue
		}
		switch s.by {
		case ByThread:
			s.thread(f.Task).addProfile(f)
		case ByObject:
			s.object(int32(f.Site.ID)).addProfile(f)
		default:
			s.site(int32(f.Site.ID)).addProfile(f)
		}
	}
	t := s.table()
	if s.by != ByFunction {
		// The target does not know which calls are within one another, but nothing counts twice as a function's own time.
		for i := range t.Rows {
			t.Rows[i].Total = t.Rows[i].Self
		}
	}
	return t
}

// addProfile adds what was counted in the target, whose buckets are powers of
// two: the calls of each are spread over the buckets here that it covers.
func (s *stats) addProfile(f *trace.FuncProfile) {
	s.invMin = max(s.invMin, ^f.Min)
	s.max = max(s.max, f.Max)
	s.sum += f.Total
	s.self += f.Self
	counted := uint64(0)
	for i, n := range f.Hist {
		if n == 0 {
			continue
		}
		counted += n
		low, high := uint64(0), uint64(0)
		if i > 0 {
			low, high = uint64(1)<<(i-1), uint64(1)<<i-1
		}
		low, high = max(low, min(f.Min, high)), min(high, max(f.Max, low))
		first, last := bucketOf(low), bucketOf(high)
		if last >= len(s.hist) {
			s.grow(last)
		}
		count := uint64(last - first + 1)
		for b := first; b <= last; b++ {
			k := uint64(b - first)
			hi, lo := bits.Mul64(n, k+1)
			upto, _ := bits.Div64(hi, lo, count)
			hi, lo = bits.Mul64(n, k)
			before, _ := bits.Div64(hi, lo, count)
			s.hist[b] += upto - before
		}
	}
	// A thread may have been counting when its numbers were read.
	s.bare += f.Calls - min(counted, f.Calls)
}
