package session

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"nopal/internal/entry"
	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/inject"
	"nopal/internal/sys"
	"nopal/internal/tracee"
	"nopal/trace"
)

// Functions with rules of fault injection have code of their own in the island, which their sites call and which goes on
// to what they would call without. What the rules count is in memory that the processes of a recording share with nopal:
// a child of fork counts on where its parent was.

// Injection is what is to be injected.
type Injection struct {
	Rules  []*inject.Rule
	Seed   uint64 // of the rules with a probability
	Record bool   // write an event for each
}

// RuleCount is what has become of a rule.
type RuleCount struct {
	Rule         *inject.Rule
	Functions    int // that it is at
	Calls, Fired uint64
}

// MaxRules is how many rules there may be: each has a probe number.
const MaxRules = trace.MaxProbeNumber - trace.InjectedNumber + 1

// rulesName names the memory of the counters in the target.
const (
	rulesName   = memfdName + "-rules"
	rulesPrefix = memfdPrefix + "-rules"
)

func isRules(m tracee.Mapping) bool { return strings.HasPrefix(m.Path, rulesPrefix) }

// injection is what is common to the rules in one program.
type injection struct {
	addr, size uint64 // of the counters in the target
	mem        []byte // and here
	errno      int64  // from the thread pointer
	noErrno    error  // why that is not known
	told       bool   // the PROBE blocks are in the recording

	callers [][]inject.Range // by rule, as of the last plan; nil: not looked for yet
}

// ruleCode is the code of a function with rules.
type ruleCode struct {
	record   int // in the object's records
	site     inject.Site
	at, size uint32 // in the object's own code
	words    []uint32
}

// injectOps is the one ops of all rules: a function's pc is changed by one ops at most.
func (r *recorder) injectOps() []*ftrace.Ops {
	if r.o.Inject == nil {
		return nil
	}
	rules := r.o.Inject.Rules
	return []*ftrace.Ops{{Name: "inject", Flags: ftrace.FlagIPModify, Match: func(raw, demangled, object string) bool {
		wanted := false
		for _, rule := range rules {
			// Each is asked, so that all count what they have matched.
			if rule.Functions.Match(raw, demangled, object) {
				wanted = true
			}
		}
		return wanted
	}}}
}

// injectUnmatched are the patterns of rules that match nothing.
func (r *recorder) injectUnmatched() []*ftrace.Pattern {
	if r.o.Inject == nil {
		return nil
	}
	var list []*ftrace.Pattern
	for _, rule := range r.o.Inject.Rules {
		list = append(list, rule.Functions.Unmatched()...)
	}
	return list
}

// delays reports whether there are rules that let threads sleep.
func (r *recorder) delays() bool {
	if r.o.Inject == nil {
		return false
	}
	for _, rule := range r.o.Inject.Rules {
		if rule.Delay > 0 {
			return true
		}
	}
	return false
}

// planInject finds out what the rules do at the functions of o, and how much room it takes.
func (t *target) planInject(o *object) {
	plan := t.rec.o.Inject
	if plan == nil || o.rules != nil {
		return
	}
	if t.inject == nil {
		t.inject = &injection{}
		t.findErrno()
	}
	if t.inject.callers == nil {
		t.inject.callers = t.callers()
	}
	callers := t.inject.callers
	for i := range o.traced.Records {
		r := &o.traced.Records[i]
		if r.Reason != "" {
			continue
		}
		raw, demangled := o.SiteNames(r.Site)
		c := &ruleCode{record: i}
		for n, rule := range plan.Rules {
			if !rule.Functions.Match(raw, demangled, o.path) {
				continue
			}
			e, err := t.resolveRule(o, r, n, rule)
			if err == nil && rule.Caller != nil && len(callers[n]) == 0 {
				err = fmt.Errorf("rule %q: its caller is no function of the program", rule.Text)
			}
			if err == nil && len(callers[n]) > inject.MaxCallers {
				err = fmt.Errorf("rule %q: its caller is %d functions in different places: at most %d", rule.Text, len(callers[n]), inject.MaxCallers)
			}
			if err != nil {
				t.refuse(rule, err)
				continue
			}
			c.site.Effects = append(c.site.Effects, e)
			c.site.Callers = append(c.site.Callers, callers[n])
			t.rec.ruleSites(n)
			t.reads = t.reads || rule.Delay > 0
		}
		if len(c.site.Effects) == 0 {
			continue
		}
		size, err := c.site.Size(plan.Record)
		if err != nil {
			t.rec.warn("%s in %s: nothing is injected: %v", demangled, o.path, err)
			continue
		}
		c.at, c.size = o.ownSize, uint32(size)
		o.ownSize = (o.ownSize + c.size + ownAlign - 1) &^ (ownAlign - 1)
		o.rules = append(o.rules, c)
	}
}

// resolveRule says what a rule does at a function.
func (t *target) resolveRule(o *object, r *ftrace.Record, n int, rule *inject.Rule) (*inject.Effect, error) {
	if rule.Errno != 0 && t.inject.noErrno != nil {
		return nil, fmt.Errorf("rule %q: %w", rule.Text, t.inject.noErrno)
	}
	sig, err := o.im.Signature(o.im.Sites()[r.Site])
	if err != nil {
		sig = nil
	}
	return rule.Resolve(n, o.traced.Name(r), sig, err)
}

// refuse says that a rule cannot be at a function. One that names the function is a mistake; of many functions some are
// left out.
func (t *target) refuse(rule *inject.Rule, err error) {
	if rule.Where != "" {
		err = fmt.Errorf("%s: %w", rule.Where, err)
	}
	one := true
	for _, p := range rule.Functions.Patterns() {
		one = one && !strings.ContainsAny(p.String(), "*?[")
	}
	switch {
	case !one || t.rec.begun:
		t.rec.warn("not injected: %v", err)
	case t.rec.refused == nil:
		t.rec.refused = err
	}
}

// callers are the functions, by rule, that calls may come from.
func (t *target) callers() [][]inject.Range {
	rules := t.rec.o.Inject.Rules
	list := make([][]inject.Range, len(rules))
	any := false
	for _, rule := range rules {
		any = any || rule.Caller != nil
	}
	if !any {
		return list
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return list
	}
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		funcs := o.im.Funcs()
		for i, f := range funcs {
			size := f.Size
			if size == 0 && i+1 < len(funcs) {
				size = funcs[i+1].Addr - f.Addr
			}
			demangled := image.Demangle(f.Name)
			for n, rule := range rules {
				if rule.Caller != nil && size > 0 && rule.Caller.Match(f.Name, demangled, o.path) {
					list[n] = append(list[n], inject.Range{Start: f.Addr + o.bias, End: f.Addr + o.bias + size})
				}
			}
		}
	}
	for n := range list {
		list[n] = inject.Merge(list[n])
	}
	return list
}

// findErrno finds where the C library keeps errno.
func (t *target) findErrno() {
	wanted := false
	for _, rule := range t.rec.o.Inject.Rules {
		wanted = wanted || rule.Errno != 0
	}
	if !wanted {
		return
	}
	t.inject.noErrno = fmt.Errorf("where errno is is not known: no object has %s", inject.ErrnoSymbol)
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		t.inject.noErrno = err
		return
	}
	for _, o := range t.rec.cache.scan(t.pid, maps) {
		va, ok := o.im.Symbol(inject.ErrnoSymbol)
		if !ok {
			continue
		}
		offset, err := inject.ErrnoOffset(t.mem, va+o.bias)
		if err == nil && offset >= 0 && offset < threadHead {
			// The loader has not filled in its place yet.
			err = errors.New("the program is not ready to tell where errno is")
		}
		if t.inject.errno, t.inject.noErrno = offset, err; err == nil {
			return
		}
	}
}

// threadHead is how many bytes at the thread pointer are the C library's own (ELF TLS for AArch64: the TCB of variant 1).
const threadHead = 16

// mapInject maps the counters of the rules into the stopped target.
func (t *target) mapInject(ctx context.Context) error {
	plan := t.rec.o.Inject
	if plan == nil {
		return nil
	}
	if t.inject == nil { // no function of the program has a rule; one that is loaded later may
		t.inject = &injection{}
	}
	maps, err := tracee.Maps(t.pid)
	if err != nil {
		return err
	}
	const align = 64 << 10
	i := t.inject
	i.size = (uint64(len(plan.Rules))*inject.CountersSize + align - 1) &^ (align - 1)
	if i.addr, err = tracee.FindRoom(maps, i.size); err != nil {
		return err
	}
	file, fd, err := t.makeMemfd(ctx, rulesName)
	if err != nil {
		return err
	}
	defer file.Close()
	if err = file.Truncate(int64(i.size)); err == nil {
		i.mem, err = sys.MapSharedFile(int(file.Fd()), 0, int(i.size))
	}
	if err == nil {
		err = t.ring.AddIsland(i.addr, i.size)
	}
	if err == nil {
		err = t.mmapStopped(ctx)(i.addr, i.size, sys.ProtRead|sys.ProtWrite, sys.MapShared|sys.MapFixedNoReplace, fd)
	}
	if err = errors.Join(err, t.p.CloseFD(ctx, fd)); err != nil {
		return fmt.Errorf("map memory for the rules: %w", err)
	}
	t.rec.counters = append(t.rec.counters, i.mem)
	return nil
}

// inheritInject gives a forked child what its parent has: the code and the counters are the same.
func (t *target) inheritInject(parent *target) {
	if parent.inject != nil {
		inherited := *parent.inject
		inherited.told = false
		t.inject = &inherited
	}
}

// tellInject introduces the records of rules, once for each process.
func (t *target) tellInject() error {
	plan := t.rec.o.Inject
	if plan == nil || !plan.Record || t.inject == nil || t.inject.told {
		return nil
	}
	t.inject.told = true
	for n, rule := range plan.Rules {
		err := t.rec.w.WriteProbe(trace.Probe{
			Proc: t.proc, Number: ruleNumber(n), Kind: trace.ProbeInjected, Text: rule.Action,
			Fields: []trace.ProbeField{{Name: "rule"}},
			Types:  []trace.ValueType{{Kind: trace.KindUint, Size: 4}},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func ruleNumber(n int) uint32 { return trace.InjectedNumber + uint32(n) }

// compileRules makes the code of a function's rules, as things are now.
func (t *target) compileRules(o *object, c *ruleCode) ([]uint32, error) {
	plan := t.rec.o.Inject
	env := inject.Env{
		At:        o.island + t.ownOffset(o) + uint64(c.at),
		Table:     t.control + entry.ControlSize,
		NoSystem:  t.control + noSyscallsAt,
		Counters:  t.inject.addr,
		Frequency: entry.CounterFrequency(),
		Seed:      plan.Seed,
		Errno:     t.inject.errno,
		Shared:    t.sharedProbe(o),
		Next:      t.table.Beside(o.traced, &o.traced.Records[c.record], ftrace.FlagTrigger|ftrace.FlagIPModify),
	}
	if plan.Record {
		env.Record = ruleNumber
	}
	return c.site.Code(env)
}

// writeInject puts the code of rules into the island of o. Nothing leads there yet.
func (t *target) writeInject(o *object) error {
	if o.island == 0 || len(o.rules) == 0 {
		return nil
	}
	if err := t.tellInject(); err != nil {
		return err
	}
	for _, c := range o.rules {
		if c.words != nil {
			continue
		}
		words, err := t.compileRules(o, c)
		if err != nil {
			t.rec.warn("%s in %s: nothing is injected: %v", o.traced.Name(&o.traced.Records[c.record]), o.path, err)
			continue
		}
		if err := t.writeWords(o.island+t.ownOffset(o)+uint64(c.at), words); err != nil {
			return err
		}
		c.words = words
	}
	t.setInject(o)
	if t.reads {
		return t.forbidSyscalls()
	}
	return nil
}

// setInject says where the sites of functions with rules lead to.
func (t *target) setInject(o *object) {
	for _, c := range o.rules {
		if c.words != nil {
			o.traced.Records[c.record].SetInject(o.island + t.ownOffset(o) + uint64(c.at))
		}
	}
}

// linkInject makes the code of rules go on to what there is now. Only a NOP or branch changes, and others may be running it.
func (t *target) linkInject(o *object) error {
	text := &ftrace.LiveBatch{Memory: t.text()}
	for _, c := range o.rules {
		if c.words == nil {
			continue
		}
		words, err := t.compileRules(o, c)
		if err != nil {
			return err
		}
		if err := exchange(text, o.island+t.ownOffset(o)+uint64(c.at), c.words, words); err != nil {
			return fmt.Errorf("link rules of %s: %w", o.traced.Name(&o.traced.Records[c.record]), err)
		}
		c.words = words
	}
	return text.Flush(nil)
}

// inheritRules gives the objects of a forked child what is its own about the code of rules.
func inheritRules(rules []*ruleCode) []*ruleCode {
	list := make([]*ruleCode, len(rules))
	for i, c := range rules {
		copied := *c
		list[i] = &copied
	}
	return list
}

// ruleSites counts a function that a rule is at.
func (r *recorder) ruleSites(n int) {
	if r.ruleAt == nil {
		r.ruleAt = make([]int, len(r.o.Inject.Rules))
	}
	r.ruleAt[n]++
}

// ruleCounts says what has become of the rules in all processes.
func (r *recorder) ruleCounts() []RuleCount {
	if r.o.Inject == nil {
		return nil
	}
	list := make([]RuleCount, len(r.o.Inject.Rules))
	for n, rule := range r.o.Inject.Rules {
		list[n].Rule = rule
		if r.ruleAt != nil {
			list[n].Functions = r.ruleAt[n]
		}
		for _, mem := range r.counters {
			at := mem[n*inject.CountersSize:]
			list[n].Calls += binary.LittleEndian.Uint64(at)
			list[n].Fired += binary.LittleEndian.Uint64(at[8:])
		}
	}
	return list
}

// closeInject lets go of the counters.
func (r *recorder) closeInject() error {
	var errs []error
	for _, mem := range r.counters {
		errs = append(errs, sys.Unmap(mem))
	}
	r.counters = nil
	return errors.Join(errs...)
}
