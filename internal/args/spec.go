package args

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// source says where a value is taken from.
type source uint8

const (
	fromArg   source = iota // an integer or pointer argument, by number
	fromFPArg               // a floating-point argument, by number
	fromRet                 // the result in x0
	fromFPRet               // the result in v0
	fromName                // a parameter by its name in DWARF
)

// format is how a value is read and shown.
type format struct {
	kind byte // i u x c s S f p; 0: not said
	bits int  // of i, u, x and f
	size int  // limit in bytes of s and S
}

// spec is one `arg1/i32`.
type spec struct {
	from   source
	number int    // of fromArg and fromFPArg, from 1
	name   string // of fromName, and as it was written
	format format
	place  string // %x3, %d1, %rdi, %stack+2; "" where the ABI puts it
	offset int    // in the text, for messages
}

const (
	maxArg     = 64
	stringSize = 64   // bytes of a string where no limit is given
	stringMax  = 1024 // and the largest limit
)

// readSpecs reads `arg1/i32,arg2/s`. Only results are taken if exit is set, only arguments if not.
func readSpecs(what, text string, start int, exit bool) ([]spec, error) {
	var list []spec
	for at := start; ; {
		end := len(text)
		if comma := strings.IndexByte(text[at:], ','); comma >= 0 {
			end = at + comma
		}
		s, err := readSpec(what, text, at, end)
		if err != nil {
			return nil, err
		}
		result := s.from == fromRet || s.from == fromFPRet
		switch {
		case exit && !result:
			return nil, &SyntaxError{what, text, at, "only results are taken when a function returns: ret, fpret"}
		case !exit && result:
			return nil, &SyntaxError{what, text, at, "results are taken when a function returns: use -R"}
		}
		if !slices.ContainsFunc(list, func(o spec) bool { return o == s }) {
			list = append(list, s)
		}
		if end == len(text) {
			return list, nil
		}
		at = end + 1
	}
}

// readSpec reads text[at:end].
func readSpec(what, text string, at, end int) (spec, error) {
	fail := func(offset int, problem string, args ...any) (spec, error) {
		return spec{}, &SyntaxError{what, text, offset, fmt.Sprintf(problem, args...)}
	}
	for at < end && text[at] == ' ' {
		at++
	}
	for end > at && text[end-1] == ' ' {
		end--
	}
	word := text[at:end]
	if word == "" {
		return fail(at, "nothing here: write arg1, arg2/s, fparg1/f64, ret/i32, ...")
	}
	name, rest := word, ""
	if i := strings.IndexAny(word, "/%"); i >= 0 {
		name, rest = word[:i], word[i:]
	}
	s, ok := nameOf(name)
	if !ok {
		return fail(at, "%q is none of argN, fpargN, ret, fpret and no parameter's name", name)
	}
	s.offset = at
	if (s.from == fromArg || s.from == fromFPArg) && (s.number < 1 || s.number > maxArg) {
		return fail(at, "arguments are numbered from 1 to %d", maxArg)
	}
	if rest != "" && rest[0] == '/' {
		form := rest[1:]
		if i := strings.IndexByte(form, '%'); i >= 0 {
			form, rest = form[:i], form[i:]
		} else {
			rest = ""
		}
		f, ok := readFormat(form)
		formatAt := at + len(name) + 1
		if form == "" {
			// `arg3/%stack+1`: only where it is.
			ok = rest != ""
		}
		if !ok {
			return fail(formatAt, "no format %q: there are i8 to i64, u8 to u64, x8 to x64, c, s, s[LIMIT], S, p, f32, f64", form)
		}
		s.format = f
	}
	if rest != "" {
		s.place = strings.ToLower(rest[1:])
		if !isPlace(s.place) {
			return fail(end-len(rest), "no place %q: there are %%x0 to %%x30 and %%v0 to %%v31 on arm64, %%rdi ... and %%xmm0 to %%xmm15 on x86-64, and %%stack+1 ...", rest)
		}
	}
	// A floating-point register holds nothing else; where a value comes from is the user's word.
	if f := s.format.kind; s.place == "" && (s.from == fromFPArg || s.from == fromFPRet) && (f == 's' || f == 'S' || f == 'p') {
		return fail(at, "%s is in a floating-point register: f32, f64, or xN for its bits", name)
	}
	return s, nil
}

// nameOf reads arg3, fparg1, ret and their other spellings; any other identifier is a parameter's name.
func nameOf(word string) (spec, bool) {
	s := spec{name: word}
	switch word {
	case "ret", "retval":
		s.from, s.name = fromRet, "ret"
		return s, true
	case "fpret":
		s.from, s.name = fromFPRet, "ret" // a reader knows the result by this name
		return s, true
	}
	for prefix, from := range map[string]source{"arg": fromArg, "fparg": fromFPArg} {
		digits, ok := strings.CutPrefix(word, prefix)
		if !ok || digits == "" || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		n, err := strconv.Atoi(digits)
		if err != nil {
			n = maxArg + 1
		}
		s.from, s.number = from, n
		return s, true
	}
	for i := range len(word) {
		if !isWord(word[i]) || i == 0 && word[i] >= '0' && word[i] <= '9' {
			return s, false
		}
	}
	s.from = fromName
	return s, word != ""
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// readFormat reads what follows the /.
func readFormat(text string) (format, bool) {
	switch text {
	case "c", "p":
		return format{kind: text[0]}, true
	case "s", "S":
		return format{kind: text[0], size: stringSize}, true
	case "i", "d", "u", "x":
		kind := text[0]
		if kind == 'd' { // uftrace's
			kind = 'i'
		}
		return format{kind: kind, bits: 64}, true
	case "f":
		return format{kind: 'f', bits: 64}, true
	}
	if limit, ok := strings.CutSuffix(text, "]"); ok && len(limit) > 2 && (limit[0] == 's' || limit[0] == 'S') && limit[1] == '[' {
		n, err := strconv.Atoi(limit[2:])
		return format{kind: limit[0], size: n}, err == nil && n >= 1 && n <= stringMax
	}
	if text == "" {
		return format{}, false
	}
	kind := text[0]
	if kind == 'd' {
		kind = 'i'
	}
	bits, err := strconv.Atoi(text[1:])
	switch {
	case err != nil || text[1] == '+' || text[1] == '0':
		return format{}, false
	case strings.IndexByte("iux", kind) >= 0:
		return format{kind: kind, bits: bits}, bits == 8 || bits == 16 || bits == 32 || bits == 64
	case kind == 'f':
		return format{kind: kind, bits: bits}, bits == 32 || bits == 64
	}
	return format{}, false
}
