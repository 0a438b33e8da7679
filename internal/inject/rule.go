package inject

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"nopal/internal/args"
	"nopal/internal/ftrace"
)

// Rule is one rule: what happens at the calls of some functions, and at which of them.
type Rule struct {
	Text      string // as it was written
	Action    string // only what happens: "return -1 errno EIO"
	Where     string // file:line, or empty
	Functions *ftrace.Filter

	Return Value // Kind None: the function is called
	Errno  int   // 0: stays as it is
	Delay  time.Duration
	Set    []Assignment

	Every uint64  // fires at every so many calls; 0 and 1: at all
	After uint64  // not at the first so many
	Count uint64  // so many times at most; 0: without end
	Prob  float64 // and then with this probability; NaN: always
	If    *args.Condition
	// Caller selects the functions that the call has to come from.
	Caller *ftrace.Filter
}

// ValueKind is what a value was written as.
type ValueKind uint8

// The kinds of values.
const (
	None    ValueKind = iota
	Nothing           // `return` without a value
	Zero              // `zero`: whatever the type is, all of it
	Integer
	Float
)

// Value is a value to return or to pass.
type Value struct {
	Kind  ValueKind
	Bits  uint64 // of an Integer, in two's complement
	Below bool   // it is negative
	Float float64
	Text  string
}

// Assignment is one `set arg1=5`.
type Assignment struct {
	Name  string // arg1, fparg1, or a parameter's name
	Value Value
}

// maxDelay bounds a delay: a thread that waits cannot be detached from.
const maxDelay = time.Hour

// ruleError points at a place in a rule.
func ruleError(text string, offset int, format string, a ...any) error {
	return &args.SyntaxError{What: "rule", Text: text, Offset: offset, Problem: fmt.Sprintf(format, a...)}
}

const syntax = "write FUNCTIONS: return VALUE [errno E], delay TIME or set argN=VALUE"

// ParseRule reads `glob: action... [modifier...]`.
func ParseRule(text string) (*Rule, error) {
	text = strings.TrimSpace(text)
	colon := actionColon(text)
	if colon < 0 {
		return nil, ruleError(text, len(text), "nothing is said to happen: "+syntax)
	}
	r := &Rule{Text: text, Prob: math.NaN()}
	var err error
	if r.Functions, err = functions("-r", strings.TrimSpace(text[:colon])); err != nil {
		return nil, err
	}
	p := &ruleParser{rule: r, text: text, pos: colon + 1}
	if err := p.words(); err != nil {
		return nil, err
	}
	return r, p.check(colon + 1)
}

func functions(flag, glob string) (*ftrace.Filter, error) {
	f, err := ftrace.NewFilter([]string{glob}, nil)
	var bad *ftrace.PatternError
	switch {
	case errors.As(err, &bad):
		bad.Flag = flag
	case err == nil && !f.Positive():
		err = fmt.Errorf("read %s %q: ! leaves functions out, and has nothing to say here", flag, glob)
	case err == nil:
		f.From(flag)
	}
	return f, err
}

// actionColon finds the colon that ends the functions: the first that is followed by a blank. Names have none such.
func actionColon(text string) int {
	for i := range len(text) {
		if text[i] == ':' && (i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\t') {
			return i
		}
	}
	return -1
}

// ruleParser reads the words behind the colon.
type ruleParser struct {
	rule   *Rule
	text   string
	pos    int
	start  int // of the last word
	seen   []string
	action []string
}

// next reads a word, "" at the end.
func (p *ruleParser) next() string {
	for p.pos < len(p.text) && strings.IndexByte(" \t,", p.text[p.pos]) >= 0 {
		p.pos++
	}
	p.start = p.pos
	for p.pos < len(p.text) && strings.IndexByte(" \t,", p.text[p.pos]) < 0 {
		p.pos++
	}
	return p.text[p.start:p.pos]
}

// peek is next without going there.
func (p *ruleParser) peek() string {
	q := *p
	return q.next()
}

func (p *ruleParser) fail(format string, a ...any) error {
	return ruleError(p.text, p.start, format, a...)
}

// keywords begin an action or a modifier.
var keywords = []string{"return", "errno", "delay", "set", "every", "after", "count", "prob", "if", "caller"}

// one reads what a keyword begins.
func (p *ruleParser) one(keyword string) error {
	switch keyword {
	case "return":
		return p.returns()
	case "errno":
		return p.errno()
	case "delay":
		return p.delay()
	case "set":
		return p.set()
	case "every":
		return p.number(&p.rule.Every)
	case "after":
		return p.number(&p.rule.After)
	case "count":
		return p.number(&p.rule.Count)
	case "prob":
		return p.prob()
	case "if":
		return p.condition()
	}
	return p.caller()
}

func (p *ruleParser) words() error {
	for {
		word := p.next()
		if word == "" {
			break
		}
		if !slices.Contains(keywords, word) {
			return p.fail("%q is none of %s", word, strings.Join(keywords, ", "))
		}
		if word != "set" && slices.Contains(p.seen, word) {
			return p.fail("%s is there twice", word)
		}
		p.seen = append(p.seen, word)
		at := p.start
		if err := p.one(word); err != nil {
			return err
		}
		switch word {
		case "return", "errno", "delay", "set":
			p.action = append(p.action, strings.TrimSpace(p.text[at:p.pos]))
		}
	}
	p.rule.Action = strings.Join(p.action, " ")
	return nil
}

// check looks at the rule as a whole.
func (p *ruleParser) check(colon int) error {
	r := p.rule
	switch {
	case len(p.action) == 0:
		return ruleError(p.text, colon, "nothing is said to happen: "+syntax)
	case r.Errno != 0 && r.Return.Kind == None:
		return ruleError(p.text, colon, "errno goes with return: a function that runs sets its own")
	case len(r.Set) > 0 && r.Return.Kind != None:
		return ruleError(p.text, colon, "return and set exclude each other: a function that does not run takes no arguments")
	case r.If != nil && r.If.UsesResult():
		return ruleError(p.text, colon, "a rule acts before the function runs: there is no result to look at")
	}
	return nil
}

func (p *ruleParser) returns() error {
	word := p.peek()
	if word == "" || slices.Contains(keywords, word) {
		p.rule.Return = Value{Kind: Nothing}
		return nil
	}
	p.next()
	v, ok := readValue(word)
	if !ok {
		return p.fail("%q is no value: write a number, NULL or zero", word)
	}
	p.rule.Return = v
	return nil
}

func (p *ruleParser) errno() error {
	word := p.next()
	n, ok := errnoNumber(word)
	if !ok {
		return p.fail("%q is no error: write its name, as EIO, or a number from 1 to %d", word, maxErrno)
	}
	p.rule.Errno = n
	return nil
}

func (p *ruleParser) delay() error {
	word := p.next()
	d, err := time.ParseDuration(word)
	if err != nil || d <= 0 || d > maxDelay {
		return p.fail("%q is no time: write 10us, 5ms or 2s, %v at most", word, maxDelay)
	}
	p.rule.Delay = d
	return nil
}

func (p *ruleParser) set() error {
	word := p.next()
	name, value, ok := strings.Cut(word, "=")
	switch {
	case ok && value == "":
		value = p.next()
	case !ok && strings.HasPrefix(p.peek(), "="):
		at := p.start
		if value = p.next()[1:]; value == "" {
			value = p.next()
		}
		p.start, ok = at, true
	}
	if !ok || name == "" {
		return p.fail("write set arg1=VALUE")
	}
	v, ok := readValue(value)
	if !ok {
		return p.fail("%q is no value: write a number, NULL or zero", value)
	}
	for _, other := range p.rule.Set {
		if other.Name == name {
			return p.fail("%s is set twice", name)
		}
	}
	p.rule.Set = append(p.rule.Set, Assignment{name, v})
	return nil
}

func (p *ruleParser) number(to *uint64) error {
	word := p.next()
	n, err := strconv.ParseUint(word, 0, 62)
	if err != nil || n == 0 {
		return p.fail("%q is no number from 1 up", word)
	}
	*to = n
	return nil
}

func (p *ruleParser) prob() error {
	word := p.next()
	number, percent := strings.CutSuffix(word, "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return p.fail("%q is no probability: write 0.01 or 1%%", word)
	}
	p.rule.Prob = f
	return nil
}

func (p *ruleParser) condition() error {
	c, rest, err := args.ParseConditionPrefix(p.text[p.pos:])
	var bad *args.SyntaxError
	if errors.As(err, &bad) {
		return ruleError(p.text, p.pos+bad.Offset, "%s", bad.Problem)
	}
	if err != nil {
		return err
	}
	p.rule.If = c
	p.pos = len(p.text) - len(rest)
	return nil
}

func (p *ruleParser) caller() error {
	word := p.next()
	if word == "" {
		return p.fail("caller of which function?")
	}
	f, err := functions("caller", word)
	p.rule.Caller = f
	return err
}

// readValue reads a number, NULL, zero, true or false.
func readValue(text string) (Value, bool) {
	v := Value{Kind: Integer, Text: text}
	switch text {
	case "NULL", "nullptr", "false":
		return v, true
	case "true":
		v.Bits, v.Float = 1, 1
		return v, true
	case "zero":
		v.Kind = Zero
		return v, true
	}
	number, below := strings.CutPrefix(text, "-")
	if number == "" || number[0] != '.' && (number[0] < '0' || number[0] > '9') {
		return v, false
	}
	if bits, err := strconv.ParseUint(number, 0, 64); err == nil {
		if below && bits > 1<<63 {
			return v, false
		}
		v.Bits, v.Float = bits, float64(bits)
		if below && bits != 0 {
			v.Bits, v.Below, v.Float = -bits, true, -v.Float
		}
		return v, true
	}
	f, err := strconv.ParseFloat(text, 64)
	v.Kind, v.Float = Float, f
	return v, err == nil && strings.ContainsAny(number, ".eE") && !strings.HasPrefix(number, "0x")
}

// maxRuleLine bounds a line of a file of rules.
const maxRuleLine = 64 << 10

// ReadRules reads rules, one a line; # begins a comment where a line begins or behind a blank.
func ReadRules(r io.Reader, name string) ([]*Rule, error) {
	var list []*Rule
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxRuleLine)
	n := 0
	for lines.Scan() {
		n++
		where := fmt.Sprintf("%s:%d", name, n)
		line := withoutComment(lines.Text())
		if line == "" {
			continue
		}
		rule, err := ParseRule(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		rule.Where = where
		list = append(list, rule)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read rules %s: line %d: %w", name, n+1, err)
	}
	return list, nil
}

func withoutComment(line string) string {
	quoted := byte(0)
	for i := range len(line) {
		switch c := line[i]; {
		case c == '#' && quoted == 0 && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return strings.TrimSpace(line[:i])
		case quoted != 0 && c == quoted:
			quoted = 0
		case quoted == 0 && c == '\'':
			quoted = c
		}
	}
	return strings.TrimSpace(line)
}

// Chance reports whether the rule acts by chance.
func (r *Rule) Chance() bool { return !math.IsNaN(r.Prob) && r.Prob > 0 && r.Prob < 1 }
