package args

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Condition is what `glob@condition` says about a call: which of the calls are wanted.
//
// `arg1==2 && arg3>4096`, `ret<0`, `!(flags & 0x40)`, `fparg1 >= 0.5`, `arg2/u8 == 'x'`. Operators bind as in C, but for & (a mask),
// which binds closer than a comparison.
type Condition struct {
	text string
	root node
}

// String returns the condition as it was written.
func (c *Condition) String() string { return c.text }

// node is an expression of a condition: a truth (and, or, not, compare) or a value (operand, number).
type node interface{ at() int }

type (
	andNode struct{ a, b node }
	orNode  struct{ a, b node }
	notNode struct {
		pos int
		a   node
	}
	compareNode struct {
		pos  int // of the operator
		op   string
		x, y node
	}
	operandNode struct {
		spec
		masked bool
		mask   uint64
	}
	numberNode struct {
		pos     int
		integer bool
		bits    uint64 // an integer in two's complement
		below   bool   // it is negative
		float   float64
	}
)

func (n *andNode) at() int     { return n.a.at() }
func (n *orNode) at() int      { return n.a.at() }
func (n *notNode) at() int     { return n.pos }
func (n *compareNode) at() int { return n.x.at() }
func (n *operandNode) at() int { return n.offset }
func (n *numberNode) at() int  { return n.pos }

func isTruth(n node) bool {
	switch n.(type) {
	case *operandNode, *numberNode:
		return false
	}
	return true
}

// maxDepth bounds how deep a condition is nested, maxTerms how many comparisons it has.
const (
	maxDepth = 32
	maxTerms = 64
)

// ParseCondition reads a condition.
func ParseCondition(text string) (*Condition, error) {
	c, rest, err := ParseConditionPrefix(text)
	if err == nil && rest != "" {
		p := &parser{text: text, end: len(text) - len(rest)}
		p.next()
		err = p.fail(p.pos, "%q is not expected here", p.token)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// ParseConditionPrefix reads a condition at the beginning of a text and returns what follows it.
func ParseConditionPrefix(text string) (c *Condition, rest string, err error) {
	p := &parser{text: text}
	p.next()
	n, err := p.or()
	if err == nil {
		n, err = p.truth(n)
	}
	if err != nil {
		return nil, text, err
	}
	return &Condition{text: text, root: n}, text[p.pos:], nil
}

// parser reads one condition by recursive descent. The current token is text[pos:end]; at the end it is empty.
type parser struct {
	text     string
	pos, end int
	token    string
	depth    int
	terms    int
}

func (p *parser) fail(pos int, format string, args ...any) error {
	return &SyntaxError{What: "condition", Text: p.text, Offset: pos, Problem: fmt.Sprintf(format, args...)}
}

// operators, the longer before the shorter that they begin with.
var operators = []string{"||", "&&", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "&", "-"}

func (p *parser) next() {
	i := p.end
	for i < len(p.text) && strings.IndexByte(" \t", p.text[i]) >= 0 {
		i++
	}
	p.pos = i
	p.end = p.tokenEnd(i)
	p.token = p.text[p.pos:p.end]
}

func (p *parser) tokenEnd(i int) int {
	if i == len(p.text) {
		return i
	}
	for _, op := range operators {
		if strings.HasPrefix(p.text[i:], op) {
			return i + len(op)
		}
	}
	if quote := p.text[i]; quote == '\'' || quote == '"' {
		for j := i + 1; j < len(p.text); j++ {
			switch p.text[j] {
			case '\\':
				j++
			case quote:
				return j + 1
			}
		}
		return len(p.text)
	}
	j := i
	for j < len(p.text) && p.inWord(i, j) {
		j++
	}
	return max(j, i+1)
}

// inWord reports whether the character at j goes on with the word that begins at i: names with a format (arg1/i32%x3, arg2/s[8]),
// numbers with an exponent.
func (p *parser) inWord(i, j int) bool {
	c := p.text[j]
	if isWord(c) || c == '.' {
		return true
	}
	digits := p.text[i] >= '0' && p.text[i] <= '9' || p.text[i] == '.'
	if digits {
		hex := strings.HasPrefix(p.text[i:], "0x") || strings.HasPrefix(p.text[i:], "0X")
		return (c == '+' || c == '-') && !hex && (p.text[j-1] == 'e' || p.text[j-1] == 'E')
	}
	plus := c == '+' && strings.HasSuffix(p.text[i:j], "%stack")
	return j > i && (c == '/' || c == '%' || c == '[' || c == ']' || plus)
}

// enter counts a level of nesting; the caller leaves it by p.depth--.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxDepth {
		return p.fail(p.pos, "nested too deep")
	}
	return nil
}

func (p *parser) or() (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer func() { p.depth-- }()
	return p.chain("||", p.and, func(a, b node) node { return &orNode{a, b} })
}

func (p *parser) and() (node, error) {
	return p.chain("&&", p.comparison, func(a, b node) node { return &andNode{a, b} })
}

// chain reads operands with an operator of truths between them.
func (p *parser) chain(op string, operand func() (node, error), join func(a, b node) node) (node, error) {
	a, err := operand()
	for err == nil && p.token == op {
		p.next()
		var b node
		if a, err = p.truth(a); err != nil {
			break
		}
		if b, err = operand(); err != nil {
			break
		}
		if b, err = p.truth(b); err == nil {
			a = join(a, b)
		}
	}
	return a, err
}

// truth makes a truth of a value: it is not 0.
func (p *parser) truth(n node) (node, error) {
	if p.terms++; p.terms > maxTerms {
		return nil, p.fail(n.at(), "more than %d comparisons", maxTerms)
	}
	if isTruth(n) {
		return n, nil
	}
	if _, ok := n.(*numberNode); ok {
		return nil, p.fail(n.at(), "a number alone is no condition")
	}
	return &compareNode{n.at(), "!=", n, &numberNode{pos: n.at(), integer: true}}, nil
}

func (p *parser) comparison() (node, error) {
	x, err := p.masked()
	if err != nil {
		return nil, err
	}
	op, pos := p.token, p.pos
	switch op {
	case "==", "!=", "<", "<=", ">", ">=":
	default:
		return x, nil
	}
	p.next()
	y, err := p.masked()
	if err != nil {
		return nil, err
	}
	for _, n := range []node{x, y} {
		if isTruth(n) {
			return nil, p.fail(pos, "%s compares values, and one of these is a condition", op)
		}
	}
	if _, ok := x.(*numberNode); ok {
		if _, ok := y.(*numberNode); ok {
			return nil, p.fail(pos, "this compares two numbers: write argN, fpargN or ret")
		}
		x, y, op = y, x, turned(op)
	}
	switch p.token {
	case "==", "!=", "<", "<=", ">", ">=":
		return nil, p.fail(p.pos, "comparisons do not chain: write a < b && b < c")
	}
	return &compareNode{pos, op, x, y}, nil
}

// turned is the operator with its operands exchanged.
func turned(op string) string {
	switch op[0] {
	case '<':
		return ">" + op[1:]
	case '>':
		return "<" + op[1:]
	}
	return op
}

// masked reads a value with at most one mask.
func (p *parser) masked() (node, error) {
	x, err := p.primary()
	if err != nil || p.token != "&" {
		return x, err
	}
	pos := p.pos
	p.next()
	y, err := p.primary()
	if err != nil {
		return nil, err
	}
	if _, ok := x.(*numberNode); ok {
		x, y = y, x
	}
	value, isOperand := x.(*operandNode)
	mask, isNumber := y.(*numberNode)
	if !isOperand || !isNumber || !mask.integer || value.masked {
		return nil, p.fail(pos, "& takes a value and a number")
	}
	if p.token == "&" {
		return nil, p.fail(p.pos, "one mask is enough: combine the numbers")
	}
	value.masked, value.mask = true, mask.bits
	return value, nil
}

func (p *parser) primary() (node, error) {
	pos, token := p.pos, p.token
	switch {
	case token == "":
		return nil, p.fail(pos, "something is missing here: argN, fpargN, ret, a parameter's name or a number")
	case token == "!":
		if err := p.enter(); err != nil {
			return nil, err
		}
		defer func() { p.depth-- }()
		p.next()
		a, err := p.primary()
		if err == nil {
			a, err = p.truth(a)
		}
		return &notNode{pos, a}, err
	case token == "(":
		p.next()
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if p.token != ")" {
			return nil, p.fail(p.pos, "the ( at column %d has no )", pos+1)
		}
		p.next()
		return n, nil
	case token == "-":
		p.next()
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		if n == nil {
			return nil, p.fail(pos, "- is for numbers only")
		}
		if n.integer && n.bits > 1<<63 {
			return nil, p.fail(pos, "the number does not fit 64 bits")
		}
		n.pos, n.bits, n.below, n.float = pos, -n.bits, n.bits != 0, -n.float
		return n, nil
	case token[0] == '"':
		return nil, p.fail(pos, "strings cannot be compared, only numbers and characters can")
	}
	if n, err := p.number(); n != nil || err != nil {
		return n, err
	}
	if !isWord(token[0]) {
		return nil, p.fail(pos, "%q is not expected here", token)
	}
	s, err := readSpec("condition", p.text, p.pos, p.end)
	if err != nil {
		return nil, err
	}
	if k := s.format.kind; k == 's' || k == 'S' {
		return nil, p.fail(pos, "strings cannot be compared, only numbers and characters can")
	}
	p.next()
	return &operandNode{spec: s}, nil
}

// number reads a number or a character, or returns nil if there is none.
func (p *parser) number() (*numberNode, error) {
	n := &numberNode{pos: p.pos, integer: true}
	switch token := p.token; {
	case token == "NULL" || token == "false":
	case token == "true":
		n.bits, n.float = 1, 1
	case token != "" && token[0] == '\'':
		c, rest, tail := rune(0), "", token[1:]
		err := strconv.ErrSyntax
		switch {
		case tail == `\0'`:
			rest, err = "'", nil
		case tail != "":
			c, _, rest, err = strconv.UnquoteChar(tail, '\'')
		}
		if err != nil || rest != "'" || c > 0xff {
			return nil, p.fail(p.pos, "no character: write 'a', '\\n', '\\0' or '\\x7f'")
		}
		n.bits, n.float = uint64(c), float64(c)
	case token != "" && (token[0] >= '0' && token[0] <= '9' || token[0] == '.'):
		bits, err := strconv.ParseUint(token, 0, 64)
		if err == nil {
			n.bits, n.float = bits, float64(bits)
			break
		}
		f, err := strconv.ParseFloat(token, 64)
		if err != nil || !strings.ContainsAny(token, ".eE") && len(token) < 20 || math.IsInf(f, 0) || strings.HasPrefix(token, "0x") {
			return nil, p.fail(p.pos, "%q is no number", token)
		}
		if !strings.ContainsAny(token, ".eE") {
			return nil, p.fail(p.pos, "the number does not fit 64 bits")
		}
		n.integer, n.float = false, f
	default:
		return nil, nil
	}
	p.next()
	return n, nil
}
