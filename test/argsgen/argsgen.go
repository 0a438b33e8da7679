// Package argsgen writes C programs with random signatures, which print what
// they are passed and what they return.
//
// It exists so that what nopal shows of arguments can be compared with what the
// program itself has seen: for each call of a function fN the program prints a line
//
//	fN {"args":[{"name":"a0","value":1},...],"ret":2}
//
// with values as they stand in nopal's JSON lines.
package argsgen

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Program is a generated program.
type Program struct {
	Source string
	Funcs  []string
}

// Generate writes a program of n functions. The same seed gives the same program.
func Generate(seed uint64, n int) Program {
	g := &generator{rand: rand.New(rand.NewPCG(seed, 0))}
	g.makeTypes()
	var bodies, calls strings.Builder
	p := Program{}
	for i := range n {
		name := fmt.Sprintf("f%d", i)
		g.function(&bodies, &calls, name)
		p.Funcs = append(p.Funcs, name)
	}
	p.Source = prelude + g.decls.String() + bodies.String() +
		"HELPER int main(void)\n{\n" + calls.String() + "\treturn 0;\n}\n"
	return p
}

// prelude has what prints values; nothing of it is traced.
const prelude = `#include <stdio.h>
#define HELPER __attribute__((patchable_function_entry(0), noinline))
#define TRACED __attribute__((noinline))
HELPER void pi(long long v) { printf("%lld", v); }
HELPER void pu(unsigned long long v) { printf("%llu", v); }
HELPER void pb(int v) { printf(v ? "true" : "false"); }
HELPER void pd(double v) { printf("%.17g", v); }
HELPER void pp(const void *v) { printf("\"0x%lx\"", (unsigned long)v); }
HELPER void ps(const char *v) { if (v) printf("\"%s\"", v); else printf("{\"fault\":\"0x0\"}"); }
HELPER void pw(unsigned __int128 v)
{
	char text[48], *p = text + sizeof text;
	*--p = 0;
	do *--p = '0' + (int)(v % 10); while (v /= 10);
	printf("%s", p);
}
HELPER void pj(__int128 v) { if (v < 0) putchar('-'); pw(v < 0 ? -(unsigned __int128)v : (unsigned __int128)v); }
enum color { RED, GREEN = 5, BLUE = -3 };
HELPER void pe(enum color v) { printf(v == RED ? "\"RED\"" : v == GREEN ? "\"GREEN\"" : "\"BLUE\""); }
typedef float vec8 __attribute__((vector_size(8)));
typedef double vec16 __attribute__((vector_size(16)));
`

type kind uint8

const (
	signed kind = iota
	unsigned
	boolean
	floating
	enum
	text
	address
	pointed // to a structure
	structure
	array
	vector
)

type ctype struct {
	kind    kind
	name    string // in C
	size    int
	elem    *ctype
	count   int
	members []member
}

type member struct {
	name string
	typ  *ctype
	bits int
}

type generator struct {
	rand    *rand.Rand
	decls   strings.Builder
	structs []*ctype
}

var scalars = []*ctype{
	{kind: signed, name: "signed char", size: 1},
	{kind: unsigned, name: "char", size: 1},
	{kind: unsigned, name: "unsigned char", size: 1},
	{kind: signed, name: "short", size: 2},
	{kind: unsigned, name: "unsigned short", size: 2},
	{kind: signed, name: "int", size: 4},
	{kind: unsigned, name: "unsigned", size: 4},
	{kind: signed, name: "long", size: 8},
	{kind: unsigned, name: "unsigned long", size: 8},
	{kind: signed, name: "long long", size: 8},
	{kind: signed, name: "__int128", size: 16},
	{kind: unsigned, name: "unsigned __int128", size: 16},
	{kind: boolean, name: "_Bool", size: 1},
	{kind: floating, name: "float", size: 4},
	{kind: floating, name: "double", size: 8},
	{kind: floating, name: "long double", size: 16},
	{kind: enum, name: "enum color", size: 4},
	{kind: address, name: "void *", size: 8},
	{kind: floating, name: "_Float16", size: 2},
}

var (
	cstring = &ctype{kind: text, name: "const char *", size: 8}
	vectors = []*ctype{
		{kind: vector, name: "vec8", size: 8, elem: scalars[13], count: 2},
		{kind: vector, name: "vec16", size: 16, elem: scalars[14], count: 2},
	}
	floats = []*ctype{scalars[13], scalars[14], scalars[15], scalars[len(scalars)-1]}
)

// makeTypes declares structures: of up to 64 bytes, homogeneous ones among them.
func (g *generator) makeTypes() {
	for i := range 26 {
		s := &ctype{kind: structure, name: fmt.Sprintf("struct s%d", i)}
		switch {
		case i < 8: // an HFA or HVA, perhaps one that is too long for it
			elem := floats[i%len(floats)]
			if i == 7 {
				elem = vectors[g.rand.IntN(2)]
			}
			n := 1 + g.rand.IntN(5)
			if i == 6 {
				s.add(&ctype{kind: array, elem: elem, count: n, size: n * elem.size}, 0)
				break
			}
			for range n {
				s.add(elem, 0)
			}
		default:
			g.fill(s, 1+g.rand.IntN(64))
		}
		g.declare(s)
		g.structs = append(g.structs, s)
	}
}

// fill adds members up to about so many bytes.
func (g *generator) fill(s *ctype, limit int) {
	for room := limit; room > 0; {
		t := scalars[g.rand.IntN(len(scalars))]
		switch g.rand.IntN(8) {
		case 0:
			n := 1 + g.rand.IntN(3)
			// Arrays of char are shown as text.
			if t.name != "char" {
				t = &ctype{kind: array, elem: t, count: n, size: n * t.size}
			}
		case 1:
			if len(g.structs) > 0 {
				t = g.structs[g.rand.IntN(len(g.structs))]
			}
		case 2:
			if (t.kind == signed || t.kind == unsigned) && t.size <= 4 {
				s.add(t, 1+g.rand.IntN(8*t.size))
				room -= t.size
				continue
			}
		}
		if t.size > room {
			if len(s.members) > 0 {
				return
			}
			t = scalars[0]
		}
		s.add(t, 0)
		room -= t.size
	}
}

func (t *ctype) add(m *ctype, bits int) {
	t.members = append(t.members, member{fmt.Sprintf("m%d", len(t.members)), m, bits})
	t.size += m.size // with padding it is more; only a bound is needed
}

func (g *generator) declare(s *ctype) {
	fmt.Fprintf(&g.decls, "%s {", s.name)
	for _, m := range s.members {
		fmt.Fprintf(&g.decls, " %s", m.typ.declare(m.name))
		if m.bits > 0 {
			fmt.Fprintf(&g.decls, " : %d", m.bits)
		}
		g.decls.WriteString(";")
	}
	g.decls.WriteString(" };\n")
}

func (t *ctype) declare(name string) string {
	switch t.kind {
	case array:
		return fmt.Sprintf("%s[%d]", t.elem.declare(name), t.count)
	case pointed:
		return t.elem.name + " *" + name
	}
	return t.name + " " + name
}

// any chooses a type of a parameter or result.
func (g *generator) any() *ctype {
	switch g.rand.IntN(10) {
	case 0:
		return cstring
	case 1:
		return &ctype{kind: pointed, elem: g.structs[g.rand.IntN(len(g.structs))], size: 8}
	case 2, 3, 4:
		return g.structs[g.rand.IntN(len(g.structs))]
	case 5:
		return vectors[g.rand.IntN(len(vectors))]
	}
	return scalars[g.rand.IntN(len(scalars))]
}

func (g *generator) function(bodies, calls *strings.Builder, name string) {
	var params, args []string
	var prints strings.Builder
	calls.WriteString("\t{\n")
	for i := range g.rand.IntN(13) {
		t, a := g.any(), fmt.Sprintf("a%d", i)
		params = append(params, t.declare(a))
		args = append(args, a)
		if t.kind == pointed {
			fmt.Fprintf(calls, "\t\tstatic %s = %s;\n", t.elem.declare("v"+a), g.value(t.elem))
			fmt.Fprintf(calls, "\t\t%s = &v%s;\n", t.declare(a), a)
		} else {
			fmt.Fprintf(calls, "\t\tstatic %s = %s;\n", t.declare(a), g.value(t))
		}
		if i > 0 {
			prints.WriteString("\tprintf(\",\");\n")
		}
		fmt.Fprintf(&prints, "\tprintf(\"{\\\"name\\\":\\\"%s\\\",\\\"value\\\":\");\n", a)
		g.print(&prints, t, a)
		prints.WriteString("\tprintf(\"}\");\n")
	}
	list := strings.Join(params, ", ")
	if list == "" {
		list = "void"
	}
	var result *ctype
	for g.rand.IntN(8) > 0 && (result == nil || result.kind == pointed) {
		result = g.any()
	}
	if result != nil && result.kind == pointed {
		result = nil
	}
	head := "void " + name
	if result != nil {
		head = result.declare(name)
	}
	fmt.Fprintf(bodies, "TRACED %s(%s)\n{\n\tprintf(\"%s {\\\"args\\\":[\");\n%s\tprintf(\"]\");\n", head, list, name, prints.String())
	if result != nil {
		fmt.Fprintf(bodies, "\tstatic %s = %s;\n\tprintf(\",\\\"ret\\\":\");\n", result.declare("r"), g.value(result))
		g.print(bodies, result, "r")
	}
	bodies.WriteString("\tprintf(\"}\\n\");\n")
	if result != nil {
		bodies.WriteString("\treturn r;\n")
	}
	bodies.WriteString("}\n")
	fmt.Fprintf(calls, "\t\t%s(%s);\n\t}\n", name, strings.Join(args, ", "))
}

// value writes an initializer.
func (g *generator) value(t *ctype) string {
	switch t.kind {
	case boolean:
		return strconv.Itoa(g.rand.IntN(2))
	case floating:
		return g.float(t)
	case enum:
		return []string{"RED", "GREEN", "BLUE"}[g.rand.IntN(3)]
	case text:
		if g.rand.IntN(8) == 0 {
			return "0"
		}
		return fmt.Sprintf("%q", "text of "+strconv.Itoa(g.rand.IntN(1000)))
	case address:
		return fmt.Sprintf("(void *)%#xul", g.rand.Uint64())
	case structure:
		var list []string
		for _, m := range t.members {
			if m.bits > 0 {
				list = append(list, g.bits(m.typ, m.bits))
			} else {
				list = append(list, g.value(m.typ))
			}
		}
		return "{" + strings.Join(list, ", ") + "}"
	case array, vector:
		var list []string
		for range t.count {
			list = append(list, g.value(t.elem))
		}
		return "{" + strings.Join(list, ", ") + "}"
	}
	if t.size == 16 {
		return fmt.Sprintf("(%s)((unsigned __int128)%#xul << 64 | %#xul)", t.name, g.rand.Uint64(), g.rand.Uint64())
	}
	return g.bits(t, 8*t.size)
}

func (g *generator) bits(t *ctype, n int) string {
	v := g.rand.Uint64() >> (64 - n)
	if t.kind == signed {
		return fmt.Sprintf("%dll - 1", int64(v<<(64-n))>>(64-n)|1)
	}
	return fmt.Sprintf("%dull", v)
}

// float writes a number that its type has exactly, so that all agree on it.
func (g *generator) float(t *ctype) string {
	if t.size == 2 {
		return strconv.Itoa(g.rand.IntN(1<<11) - 1<<10)
	}
	return strconv.FormatFloat(float64(g.rand.IntN(1<<20)-1<<19)/64, 'f', -1, 64)
}

// print writes code that prints an expression.
func (g *generator) print(b *strings.Builder, t *ctype, expr string) {
	call := func(f string) { fmt.Fprintf(b, "\t%s(%s);\n", f, expr) }
	switch t.kind {
	case signed, unsigned:
		name := map[kind][2]string{signed: {"pi", "pj"}, unsigned: {"pu", "pw"}}[t.kind]
		if t.size == 16 {
			call(name[1])
		} else {
			call(name[0])
		}
	case boolean:
		call("pb")
	case floating:
		call("pd")
	case enum:
		call("pe")
	case text:
		call("ps")
	case address:
		call("pp")
	case pointed:
		g.print(b, t.elem, "(*"+expr+")")
	case structure:
		for i, m := range t.members {
			fmt.Fprintf(b, "\tprintf(\"%s\\\"%s\\\":\");\n", separator("{", i), m.name)
			g.print(b, m.typ, expr+"."+m.name)
		}
		b.WriteString("\tprintf(\"}\");\n")
	case array, vector:
		for i := range t.count {
			fmt.Fprintf(b, "\tprintf(\"%s\");\n", separator("[", i))
			g.print(b, t.elem, fmt.Sprintf("%s[%d]", expr, i))
		}
		b.WriteString("\tprintf(\"]\");\n")
	}
}

func separator(first string, i int) string {
	if i > 0 {
		return ","
	}
	return first
}
