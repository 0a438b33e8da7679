package trace

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestSpecsMatchTypes: the table and the Go structs have the same fields, in
// kind and order, which the codec relies on.
func TestSpecsMatchTypes(t *testing.T) {
	for typ := TypeMeta; typ < maxType; typ++ {
		b := newBlock(typ)
		if b == nil || TypeOf(b) != typ {
			t.Errorf("%v: newBlock gives %T", typ, b)
			continue
		}
		matchFields(t, typ.String(), SpecOf(typ).Fields, reflect.TypeOf(b).Elem())
	}
}

func matchFields(t *testing.T, where string, fields []Field, st reflect.Type) {
	if st.NumField() != len(fields) {
		t.Errorf("%s: %d fields in the table, %d in %v", where, len(fields), st.NumField(), st)
		return
	}
	for i, f := range fields {
		matchField(t, where, f, st.Field(i).Type, st.Field(i).Name)
	}
}

func matchField(t *testing.T, where string, f Field, typ reflect.Type, name string) {
	want := map[Kind]reflect.Kind{U32: reflect.Uint32, U64: reflect.Uint64, I64: reflect.Int64,
		String: reflect.String, List: reflect.Slice, Words: reflect.Slice}[f.Kind]
	if typ.Kind() != want && !(f.Kind == U32 && typ.Kind() == reflect.Bool) {
		t.Errorf("%s.%s: %v in the table, %v in Go", where, f.Name, f.Kind, typ)
		return
	}
	plain := strings.ReplaceAll(f.Name, "_", "")
	if name != "" && !strings.EqualFold(plain, name) && !(f.Name == "image" && name == "ID") {
		t.Errorf("%s: %s in the table is %s in Go", where, f.Name, name)
	}
	if f.Kind == List {
		if e := typ.Elem(); e.Kind() == reflect.Struct {
			matchFields(t, where+"."+f.Name, f.Of, e)
		} else if len(f.Of) == 1 {
			matchField(t, where+"."+f.Name, f.Of[0], e, "")
		} else {
			t.Errorf("%s.%s: several fields for one %v", where, f.Name, e)
		}
	}
}

// TestFormatDocument: FORMAT.md shows the table as it is.
func TestFormatDocument(t *testing.T) {
	doc, err := os.ReadFile("../FORMAT.md")
	check(t, err)
	var want strings.Builder
	for typ := TypeMeta; typ < maxType; typ++ {
		s := SpecOf(typ)
		fmt.Fprintf(&want, "### %d %s\n\n%s\n\n| field | kind | |\n|---|---|---|\n", typ, s.Name, s.Doc)
		writeFields(&want, "", s.Fields)
		want.WriteString("\n")
	}
	const begin, end = "<!-- blocks: checked by trace/spec_test.go -->\n\n", "<!-- end of blocks -->\n"
	_, rest, ok := strings.Cut(string(doc), begin)
	got, _, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("FORMAT.md lacks the marks around its blocks")
	}
	if got != want.String() {
		t.Errorf("FORMAT.md does not have the blocks of trace/spec.go, which are:\n%s", want.String())
	}
}

func writeFields(b *strings.Builder, prefix string, fields []Field) {
	for _, f := range fields {
		fmt.Fprintf(b, "| `%s%s` | %v | %s |\n", prefix, f.Name, f.Kind, f.Doc)
		writeFields(b, prefix+f.Name+"[].", f.Of)
	}
}
