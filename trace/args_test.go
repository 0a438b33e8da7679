package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// value is a field of the first of types, inline.
func value(data string, types ...ValueType) Value {
	return Value{types: types, data: []byte(data)}
}

// behind is a memory field.
func behind(addr uint64, data string, types ...ValueType) Value {
	v := value(data, types...)
	v.mem, v.addr = true, addr
	return v
}

func in(s valueState, v Value) Value {
	v.state = s
	return v
}

func TestValues(t *testing.T) {
	i32 := ValueType{Kind: KindInt, Size: 4}
	char := ValueType{Kind: KindChar, Size: 1}
	point := ValueType{Kind: KindStruct, Size: 8, Members: []TypeMember{{Name: "x", Type: 1}, {Name: "y", Type: 1, Off: 4}}}
	color := ValueType{Kind: KindEnum, Size: 4, Enums: []TypeEnum{{"RED", 0}, {"GREEN", 1}, {"NONE", -1}}}
	flags := ValueType{Kind: KindEnum, Size: 4, Enums: []TypeEnum{{"NONE", 0}, {"R", 1}, {"W", 2}, {"X", 4}, {"RW", 3}, {"TOP", 0x80000000}}}
	cstring, str := ValueType{Kind: KindCString}, ValueType{Kind: KindString}
	for _, c := range []struct {
		v          Value
		text, json string
	}{
		{value("\xff\xff\xff\xff", i32), "-1", "-1"},
		{value("\xff", ValueType{Kind: KindInt, Size: 1}), "-1", "-1"},
		{value("\x01\x80", ValueType{Kind: KindInt, Size: 2}), "-32767", "-32767"},
		{value("\xff\xff\xff\xff\xff\xff\xff\xff", ValueType{Kind: KindUint, Size: 8}), "18446744073709551615", "18446744073709551615"},
		{value("\x00\x00\x00\x00\x00\x00\x00\x80", ValueType{Kind: KindInt, Size: 8}), "-9223372036854775808", "-9223372036854775808"},
		{value("\xfe"+strings.Repeat("\xff", 15), ValueType{Kind: KindInt, Size: 16}), "-2", "-2"},
		{value(strings.Repeat("\xff", 16), ValueType{Kind: KindUint, Size: 16}), "340282366920938463463374607431768211455", "340282366920938463463374607431768211455"},
		{value("\x10\x20\x00\x00", ValueType{Kind: KindHex, Size: 4}), "0x2010", "8208"},
		{value("\x01", ValueType{Kind: KindBool, Size: 1}), "true", "true"},
		{value("a", char), "'a'", "97"},
		{value("'", char), `'\''`, "39"},
		{value("\x00", char), `'\0'`, "0"},
		{value("\xff", char), `'ÿ'`, "255"},
		{value("\x1b", char), `'\033'`, "27"},
		{value("\x00\x00\xc0\x3f", ValueType{Kind: KindFloat, Size: 4}), "1.5", "1.5"},
		{value("\xcd\xcc\xcc\x3d", ValueType{Kind: KindFloat, Size: 4}), "0.1", "0.10000000149011612"},
		{value("\x00\x00\x00\x00\x00\x00\x08\x40", ValueType{Kind: KindFloat, Size: 8}), "3.0", "3"},
		{value("\x00\x00\x00\x00\x00\x00\xf8\x7f", ValueType{Kind: KindFloat, Size: 8}), "nan", `"NaN"`},
		{value("\x00\x00\x80\xff", ValueType{Kind: KindFloat, Size: 4}), "-inf", `"-Infinity"`},
		{value("\x00\xc2", ValueType{Kind: KindFloat, Size: 2}), "-3.0", "-3"},
		{value("\x00\x7c", ValueType{Kind: KindFloat, Size: 2}), "inf", `"Infinity"`},
		{value(strings.Repeat("\x00", 13)+"\x80\x00\xc0", ValueType{Kind: KindFloat, Size: 16}), "-3.0", "-3"},
		{value("\x00\x00\x00\x00\x00\x00\x00\xc0\x00\xc0******", ValueType{Kind: KindExtended, Size: 16}), "-3.0", "-3"},
		{value("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00******", ValueType{Kind: KindExtended, Size: 16}), "0.0", "0"},
		{value("\x00\x00\x00\x00\x00\x00\x00\x80\xff\x7f******", ValueType{Kind: KindExtended, Size: 16}), "inf", `"Infinity"`},
		{value("\x00\x00\x00\x00\x00\x00\x00\xc0\xff\x7f******", ValueType{Kind: KindExtended, Size: 16}), "nan", `"NaN"`},
		{value("\x34\x12\x00\x00\x00\x00\x00\x00", ValueType{Kind: KindPointer, Size: 8}), "0x1234", `"0x1234"`},
		{value("\x00\x00\x00\x00\x00\x00\x00\x00", ValueType{Kind: KindPointer, Size: 8}), "NULL", `"0x0"`},
		{value("\x01\x00\x00\x00", color), "GREEN", `"GREEN"`},
		{value("\xff\xff\xff\xff", color), "NONE", `"NONE"`},
		{value("\x03\x00\x00\x00", color), "3", "3"},
		{value("\x03\x00\x00\x00", flags), "RW", `"RW"`},
		{value("\x05\x00\x00\x80", flags), "R|X|TOP", `"R|X|TOP"`},
		{value("\x0a\x00\x00\x00", flags), "W|0x8", `"W|0x8"`},
		{value("\x08\x00\x00\x00", flags), "8", "8"},
		{value("\x01\x00\x00\x00\xfe\xff\xff\xff", point, i32), "{x=1, y=-2}", `{"x":1,"y":-2}`},
		{value("\x01\x00\x00\x00", point, i32), "{x=1, y=?}", `{"x":1,"y":null}`},
		{value("\xd5", ValueType{Kind: KindStruct, Size: 1, Members: []TypeMember{{"a", 1, 0, 0, 3}, {"b", 2, 0, 3, 2}, {"c", 1, 0, 5, 3}}},
			ValueType{Kind: KindInt, Size: 1}, ValueType{Kind: KindUint, Size: 1}), "{a=-3, b=2, c=-2}", `{"a":-3,"b":2,"c":-2}`},
		{value("\x00\xff\xff\xff\xff\xff\xff\xff\x02", ValueType{Kind: KindStruct, Size: 9, Members: []TypeMember{{"w", 1, 0, 2, 64}}},
			ValueType{Kind: KindUint, Size: 8}), "{w=13835058055282163648}", `{"w":13835058055282163648}`},
		{value("\x01\x00\x00\x00\x02\x00\x00\x00", ValueType{Kind: KindStruct, Size: 8, Members: []TypeMember{{Name: "a", Type: 1}, {Name: "", Type: 2, Off: 4}}},
			i32, ValueType{Kind: KindStruct, Size: 4, Members: []TypeMember{{Name: "i", Type: 1}, {Name: "j", Type: 1}}}), "{a=1, i=2, j=2}", `{"a":1,"i":2,"j":2}`},
		{value("\x01\x00\x00\x00\x02\x00\x00\x00", ValueType{Kind: KindArray, Size: 8, Elem: 1, Count: 2}, i32), "{1, 2}", "[1,2]"},
		{value("ab\x00x", ValueType{Kind: KindArray, Size: 4, Elem: 1, Count: 4}, char), `"ab"`, `"ab"`},
		{value("", ValueType{}), "?", "null"},
		{value("\xde\xad", ValueType{Kind: KindBytes, Size: 2}), "{de ad}", `"dead"`},
		{value("\xde\xad", ValueType{Kind: 99, Size: 2}), "{de ad}", `"dead"`},
		{behind(8, "a\"\\\n\x01\x80é", cstring), `"a\"\\\n\001\200é"`, `"a\"\\\n\u0001\udc80é"`},
		{behind(8, "ab\x00c", str), `"ab\000c"`, `"ab\u0000c"`},
		{in(valueTruncated, behind(8, "abc", cstring)), `"abc"...`, `"abc"`},
		{in(valueTruncated, behind(8, "abc", str)), `"abc"...`, `"abc"`},
		{in(valueFault, behind(0, "", cstring)), "NULL", `{"fault":"0x0"}`},
		{in(valueFault, behind(0xdead, "", cstring)), "<fault 0xdead>", `{"fault":"0xdead"}`},
		{in(valueUnread, behind(0xdead, "", cstring)), "0xdead", `{"unread":"0xdead"}`},
		{in(valueDamaged, behind(0, "", cstring)), "?", "null"},
		{behind(8, "\x01\x00\x00\x00\x02\x00\x00\x00", ValueType{Kind: KindPointer, Size: 8, Elem: 2}, i32, point), "&{x=1, y=2}", `{"x":1,"y":2}`},
		{behind(8, "\x01\x00\x00\x00\x02\x00\x00\x00", point, i32), "{x=1, y=2}", `{"x":1,"y":2}`},
	} {
		if got := string(c.v.AppendText(nil)); got != c.text {
			t.Errorf("%+v is %s, want %s", c.v, got, c.text)
		}
		got := c.v.AppendJSON(nil)
		if string(got) != c.json {
			t.Errorf("%+v is %s in JSON, want %s", c.v, got, c.json)
		}
		if !json.Valid(got) {
			t.Errorf("%+v: %s is no JSON", c.v, got)
		}
	}
}

// TestLargeValues: hostile types cost no more than a limit.
func TestLargeValues(t *testing.T) {
	name := strings.Repeat("n", 100_000)
	for _, v := range []Value{
		value(strings.Repeat("x", 4096), ValueType{Kind: KindArray, Elem: 1, Count: math.MaxUint32},
			ValueType{Kind: KindStruct, Size: 1, Members: []TypeMember{{Name: name, Type: 2}}}, ValueType{Kind: KindInt, Size: 1}),
		value("xxxx", ValueType{Kind: KindStruct, Size: 4, Members: []TypeMember{{Name: "a"}, {Name: "b"}}}),
		value("xxxx", ValueType{Kind: KindStruct, Size: 4, Members: []TypeMember{{}, {}}}),
		value("xxxx", ValueType{Kind: KindArray, Size: 1, Elem: 0}),
		value("xxxx", ValueType{Kind: KindArray, Size: 0, Elem: 0, Count: 1 << 30}),
	} {
		if b := v.AppendJSON(nil); !json.Valid(b) || len(b) > 2*maxValueBytes {
			t.Errorf("%d bytes of JSON, valid: %v", len(b), json.Valid(b))
		}
		if b := v.AppendText(nil); len(b) > 2*maxValueBytes {
			t.Errorf("%d bytes of text", len(b))
		}
	}
}

// FuzzValue: whatever the types and the payload are, reading them ends, and
// JSON comes out.
func FuzzValue(f *testing.F) {
	p := testProbe(5, ProbeEntry)
	f.Add(appendBlock(nil, &p), []byte("payload.\x00\x10\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00abc\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, block, payload []byte) {
		var p Probe
		if decodeBlock(&p, block) != nil || p.check() != nil || len(p.Fields) > 100 {
			return
		}
		for i := range p.Fields {
			v := Value{types: p.Types, typ: p.Fields[i].Type, mem: p.Fields[i].Mem}
			payload = v.decode(payload)
			if b := v.AppendJSON(nil); !json.Valid(b) {
				t.Fatalf("%s is no JSON", b)
			}
			v.AppendText(nil)
			c, _ := v.Clone(nil)
			if !bytes.Equal(c.AppendJSON(nil), v.AppendJSON(nil)) {
				t.Fatal("a clone has another value")
			}
		}
	})
}

// testProbe has an int "a" and a string "s", or a result.
func testProbe(number, kind uint32) Probe {
	p := Probe{Proc: 1, Number: number, Image: 1, VA: 0x1000, Kind: kind,
		Fields: []ProbeField{{"a", 0, false}, {"s", 1, true}},
		Types:  []ValueType{{Kind: KindInt, Size: 4, Name: "int"}, {Kind: KindCString}}}
	if kind&ProbeExit != 0 {
		p.Fields, p.Types = []ProbeField{{"ret", 0, false}}, p.Types[:1]
	}
	return p
}

// record is the record of a testProbe.
func record(number uint32, event uint64, a uint64, s string) []uint64 {
	w := []uint64{0, event, a}
	if s != "" {
		data := []byte(s)
		w = append(w, 0x5000, uint64(len(data)))
		for data = append(data, make([]byte, -len(data)&7)...); len(data) > 0; data = data[8:] {
			w = append(w, binary.LittleEndian.Uint64(data))
		}
	}
	w[0] = ControlWord(WordRecord, uint64(number)<<probeShift|RecordArgs|uint64(len(w)))
	return w
}

func TestWriteProbe(t *testing.T) {
	for _, c := range []struct {
		change func(p *Probe)
		want   string
	}{
		{func(*Probe) {}, ""},
		{func(p *Probe) { p.Number = 0 }, "has number 0"},
		{func(p *Probe) { p.Number = AttachedNumber }, "has number 131072"},
		{func(p *Probe) { p.Number, p.Kind = AttachedNumber, ProbeAttached }, ""},
		{func(p *Probe) { p.Number, p.Kind = InjectedNumber, ProbeAttached }, "has number"},
		{func(p *Probe) { p.Number, p.Kind = MaxProbeNumber, ProbeInjected }, ""},
		{func(p *Probe) { p.Number, p.Kind = MaxProbeNumber+1, ProbeInjected }, "has number"},
		{func(p *Probe) { p.Kind = 8 }, "unknown kind"},
		{func(p *Probe) { p.Kind = ProbeAttached | ProbeInjected }, "unknown kind"},
		{func(p *Probe) { p.Fields[1].Type = 2 }, "not there"},
		{func(p *Probe) { p.Types[0] = ValueType{Kind: KindArray, Elem: 2} }, "not there"},
		{func(p *Probe) { p.Types[0] = ValueType{Kind: KindStruct, Members: []TypeMember{{Type: 7}}} }, "not there"},
	} {
		p := testProbe(5, ProbeEntry)
		c.change(&p)
		var file bytes.Buffer
		w := beginFile(t, &file)
		err := w.WriteProbe(p)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
