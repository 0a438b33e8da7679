package trace

// histBuckets is the number of buckets of a histogram of durations.
const histBuckets = 64

// FuncProfile is what the target has counted of one thread's calls to one
// function. Times are in ticks; Hist[i] counts the durations of i significant
// bits.
type FuncProfile struct {
	Site  *Site
	Task  *Task
	Calls uint64
	Total uint64
	Self  uint64
	Min   uint64
	Max   uint64
	Hist  [histBuckets]uint64
}

// profiles keeps the last profile of every function in every thread.
type profiles struct {
	list  []FuncProfile
	index map[profileKey]int
}

type profileKey struct {
	proc, tid uint32
	site      int
}

// profileCost is the memory of a FuncProfile.
const profileCost = 8*histBuckets + 160

// Profiles returns the profiles in the blocks read so far, in the order in
// which functions and threads first appeared. It is valid until the next block.
func (rec *Recording) Profiles() []FuncProfile { return rec.profiles.list }

func (rec *Recording) addProfile(b *Profile) error {
	p, err := rec.Program(b.Proc)
	if err != nil {
		return err
	}
	task, err := rec.taskOf(p, b.TID)
	if err != nil {
		return err
	}
	for i := range b.Funcs {
		f := &b.Funcs[i]
		o, err := rec.object(f.Image)
		if err != nil {
			return err
		}
		site, err := rec.site(o, f.VA)
		if err != nil {
			return err
		}
		fp := FuncProfile{Site: site, Task: task, Calls: f.Calls, Total: f.Total, Self: f.Self, Min: f.Min, Max: f.Max}
		for _, h := range f.Hist {
			if h.Bucket < histBuckets {
				fp.Hist[h.Bucket] = h.Count
			}
		}
		key := profileKey{b.Proc, b.TID, site.ID}
		if n, ok := rec.profiles.index[key]; ok {
			rec.profiles.list[n] = fp
			continue
		}
		if rec.profiles.index == nil {
			rec.profiles.index = map[profileKey]int{}
		}
		rec.profiles.index[key] = len(rec.profiles.list)
		rec.profiles.list = append(rec.profiles.list, fp)
		if err := rec.spend(2 * profileCost); err != nil {
			return err
		}
	}
	return nil
}
