package ftrace

import (
	"bytes"
	"testing"

	"nopal/internal/entry"
)

// TestDetour puts one before functions, and takes it away.
func TestDetour(t *testing.T) {
	const function, island = 0x1000, 0x9000
	for _, c := range []struct {
		name, code, moved string
		at                uint64
		ends              []uint64
	}{
		// As _Unwind_Find_FDE of libgcc 12 begins.
		{"pushes", "\x41\x57\x41\x56\x41\x55\x41\x54", "\x41\x57\x41\x56\x41\x55", 0, []uint64{2, 4}},
		{"endbr64", "\xf3\x0f\x1e\xfa\x41\x57\x41\x56\x49\x89\xf6\x55", "\x41\x57\x41\x56\x49\x89\xf6", 4, []uint64{2, 4}},
		{"one", "\x48\x81\xec\xb8\x00\x00\x00\x53", "\x48\x81\xec\xb8\x00\x00\x00", 0, nil},
		{"rip", "\x8b\x05\xa7\x64\x00\x00", "", 0, nil},
		{"call", "\x55\xe8\x01\x02\x03\x04", "", 0, nil},
		{"conditional", "\x85\xc0\x74\x10\x90\x90", "", 0, nil},
		{"ret", "\x31\xc0\xc3\x90\x90\x90", "", 0, nil},
	} {
		mem := &fakeMemory{start: function, data: append([]byte(c.code), bytes.Repeat([]byte{0x90}, 64)...)}
		before := bytes.Clone(mem.data)
		text := LiveText{Memory: mem}
		d, err := FindDetour(text, function)
		if (err == nil) != (c.moved != "") {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		moved, err := d.Moved(island)
		if err != nil || d.At != function+c.at || string(moved[:len(moved)-5]) != c.moved {
			t.Errorf("%s: at %#x % x, %v", c.name, d.At, moved, err)
		}
		inside := d.Inside(island)
		if len(inside) != len(c.ends) {
			t.Errorf("%s: inside %v", c.name, inside)
		}
		for _, end := range c.ends {
			if inside[d.At+end] != island+end {
				t.Errorf("%s: inside %v", c.name, inside)
			}
		}
		if err := d.Put(text, island); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(mem.data, before) {
			t.Errorf("%s: nothing was written", c.name)
		}
		islands := Islands{List: []entry.IslandEntry{{Addr: island, Size: 0x1000}}, Text: text}
		if restored, foreign, err := (AMD64{}).Restore(text, islands, d.Journal()); restored || foreign != "" || err != nil {
			t.Errorf("%s: taken away before all else: %v %q %v", c.name, restored, foreign, err)
		}
		if err := RestoreDetour(text, islands, d.Journal()); err != nil || !bytes.Equal(mem.data, before) {
			t.Errorf("%s: % x is left, %v", c.name, mem.data[:16], err)
		}
	}
}

type fakeMemory struct {
	start uint64
	data  []byte
}

func (m *fakeMemory) ReadAt(b []byte, off int64) (int, error) {
	return copy(b, m.data[uint64(off)-m.start:]), nil
}

func (m *fakeMemory) WriteAt(b []byte, off int64) (int, error) {
	return copy(m.data[uint64(off)-m.start:], b), nil
}
