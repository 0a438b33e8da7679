package ftrace

import "strings"

// demangledName holds the forms of a demangled name that a user may have in mind: the whole of it, without the parameters, without
// the return type that templates have, and without both. The forms are slices of the one string.
type demangledName struct {
	forms [4]string
	n     int
}

func newDemangledName(name string) demangledName {
	start, end := coreName(name)
	d := demangledName{n: 1}
	d.forms[0] = name
	add := func(form string) {
		d.forms[d.n] = form
		d.n++
	}
	if end < len(name) {
		add(name[:end])
	}
	if start > 0 {
		add(name[start:])
		if end < len(name) {
			add(name[start:end])
		}
	}
	return d
}

// coreName finds the function's qualified name in a demangled one: `void a::f<int>(int) const` has a::f<int>. It returns the whole
// when there are no parameters.
func coreName(name string) (start, end int) {
	end = len(name)
	depth := 0
	params := -1 // the last "(" at depth 0 that opens a parameter list
	space := 0   // after the last blank at depth 0 before the parameters
	for i := 0; i < end; {
		if n := operatorLength(name, i); n > 0 && depth == 0 {
			// The symbols of an operator are no brackets, and `operator unsigned long` is one name.
			i += n
			if rest := strings.IndexByte(name[i:], '('); rest > 0 && name[i] == ' ' {
				i += rest
			}
			continue
		}
		switch name[i] {
		case '(', '<', '[', '{':
			if name[i] == '(' && depth == 0 {
				params = i
			}
			depth++
		case ')', '>', ']', '}':
			depth = max(depth-1, 0)
			// What goes on with :: was no parameter list: (anonymous namespace)::f, f(int)::{lambda()#1}.
			if depth == 0 && name[i] == ')' && strings.HasPrefix(name[i+1:], "::") {
				params = -1
			}
		case ' ':
			if depth == 0 && params < 0 {
				space = i + 1
			}
		}
		i++
	}
	if params > 0 {
		end = params
	}
	if space >= end {
		space = 0
	}
	return space, end
}

// operatorLength returns the length of `operator` and the symbols that follow it, if that is what is at name[i:].
func operatorLength(name string, i int) int {
	const word = "operator"
	if !strings.HasPrefix(name[i:], word) || (i > 0 && isIdentifier(name[i-1])) {
		return 0
	}
	rest := name[i+len(word):]
	if rest == "" || isIdentifier(rest[0]) {
		return 0
	}
	for _, symbol := range []string{"()", "[]", "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "<", ">"} {
		if strings.HasPrefix(rest, symbol) {
			return len(word) + len(symbol)
		}
	}
	return len(word)
}

func isIdentifier(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
