package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	const interp = "/lib/ld-linux-aarch64.so.1"
	type kind struct {
		typ                 elf.Type
		pie, shared, static bool
		interp              string
		dynamic             bool
	}
	for _, c := range []struct {
		flags string
		want  kind
	}{
		{"-no-pie", kind{elf.ET_EXEC, false, false, false, interp, true}},
		{"-pie", kind{elf.ET_DYN, true, false, false, interp, true}},
		{"-shared -fPIC", kind{elf.ET_DYN, false, true, false, "", true}},
		{"-static", kind{elf.ET_EXEC, false, false, true, "", false}},
		{"-static-pie", kind{elf.ET_DYN, true, false, true, "", true}},
	} {
		im := open(t, build(t, gcc, "functions.c", append(strings.Fields(c.flags), "-Wl,--build-id=0x1234abcd")...))
		got := kind{im.Type, im.PIE, im.Shared, im.Static, im.Interp, im.Dynamic != 0 && im.DynamicSize != 0}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.flags, got, c.want)
		}
		if im.BuildID != "1234abcd" {
			t.Errorf("%s: build-id %q", c.flags, im.BuildID)
		}
		if start, ok := im.Symbol("_start"); ok && start != im.EntryVA {
			t.Errorf("%s: entry point %#x, _start is at %#x", c.flags, im.EntryVA, start)
		}
	}
	libc := "/usr/aarch64-linux-gnu/lib/libc.so.6"
	if _, err := os.Stat(libc); err == nil {
		if im := open(t, libc); !im.Shared || im.PIE || im.Static || im.Interp == "" {
			t.Errorf("libc, a library that can be run: %+v", im)
		}
	}
}

func TestBTIProperty(t *testing.T) {
	for protection, want := range map[string]bool{"none": false, "standard": true} {
		im := open(t, build(t, gcc, "functions.c", "-nostdlib", "-DFREESTANDING", "-mbranch-protection="+protection))
		if im.BTI != want {
			t.Errorf("BTI with -mbranch-protection=%s is %v", protection, im.BTI)
		}
	}
}

func TestReadVA(t *testing.T) {
	im := open(t, build(t, gcc, "functions.c", "-fpatchable-function-entry=2"))
	site := im.Sites()[0]
	var p [8]byte
	if n, err := im.ReadVA(p[:], site.Addr); n != 8 || err != nil {
		t.Fatalf("ReadVA = %d, %v", n, err)
	}
	if got := binary.LittleEndian.Uint64(p[:]); got != 0xd503201f_d503201f {
		t.Errorf("a site holds %016x", got)
	}
	sink, ok := im.Symbol("sink") // in .bss: in memory only
	if !ok {
		t.Fatal("no symbol for sink")
	}
	p = [8]byte{1, 2, 3, 4}
	if n, err := im.ReadVA(p[:4], sink); n != 4 || err != nil || p != [8]byte{} {
		t.Errorf("ReadVA of .bss: %d, %v, %x", n, err, p)
	}
	last := im.Segments[len(im.Segments)-1]
	if n, err := im.ReadVA(p[:], last.VA+last.Memsz-3); n != 3 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadVA across the end: %d, %v", n, err)
	}
	if n, err := im.ReadVA(p[:], 1<<50); n != 0 || err == nil {
		t.Errorf("ReadVA of nothing: %d, %v", n, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	header := func(class elf.Class, data elf.Data, machine elf.Machine) []byte {
		h := make([]byte, 64)
		copy(h, elf.ELFMAG)
		h[elf.EI_CLASS], h[elf.EI_DATA], h[elf.EI_VERSION] = byte(class), byte(data), 1
		var order binary.ByteOrder = binary.LittleEndian
		if data == elf.ELFDATA2MSB {
			order = binary.BigEndian
		}
		order.PutUint16(h[16:], uint16(elf.ET_EXEC))
		order.PutUint16(h[18:], uint16(machine))
		order.PutUint32(h[20:], 1)
		if class == elf.ELFCLASS64 {
			order.PutUint16(h[52:], 64)
			order.PutUint16(h[54:], 56)
			order.PutUint16(h[58:], 64)
		} else {
			order.PutUint16(h[40:], 52)
			order.PutUint16(h[42:], 32)
			order.PutUint16(h[46:], 40)
		}
		return h
	}
	for _, c := range []struct {
		name     string
		contents []byte
		want     string
	}{
		{"empty", nil, "not an ELF file"},
		{"script", []byte("#!/bin/sh\nexit\n"), "not an ELF file"},
		{"magic", []byte(elf.ELFMAG), "read ELF headers"},
		{"x32", header(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_X86_64), "x32 programs are not supported"},
		{"riscv", header(elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV), "EM_RISCV are not supported: nopal traces arm64"},
		{"arm", header(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM), "EM_ARM are not supported: nopal traces arm64"},
		{"big-endian", header(elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_AARCH64), "big-endian"},
		{"ILP32", header(elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_AARCH64), "ILP32"},
	} {
		path := filepath.Join(dir, c.name)
		if err := os.WriteFile(path, c.contents, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrNotELF) {
		t.Errorf("directory: error %v", err)
	}
	if _, err := Open(filepath.Join(dir, "missing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
	object := build(t, gcc, "functions.c", "-c")
	if _, err := Open(object, Options{}); err == nil || !strings.Contains(err.Error(), "neither a program") {
		t.Errorf("relocatable object: error %v", err)
	}
}

// TestNoSections takes the section headers away, by which the table is found.
func TestNoSections(t *testing.T) {
	data, err := os.ReadFile(build(t, gcc, "functions.c", "-fpatchable-function-entry=2"))
	if err != nil {
		t.Fatal(err)
	}
	clear(data[40:48]) // e_shoff
	clear(data[60:64]) // e_shnum, e_shstrndx
	im, err := New(bytes.NewReader(data), "headless", Options{DebugDirs: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if len(im.Sites()) != 0 || len(im.Funcs()) != 0 || im.BuildID == "" {
		t.Errorf("%d sites, %d functions, build-id %q", len(im.Sites()), len(im.Funcs()), im.BuildID)
	}
}

// TestTruncated cuts an object at every length in steps: an error or fewer
// sites, never a panic.
func TestTruncated(t *testing.T) {
	data, err := os.ReadFile(build(t, gcc, "functions.c", "-g", "-fpatchable-function-entry=2"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(data); n += 61 {
		im, err := New(bytes.NewReader(data[:n]), "cut", Options{DebugDirs: []string{}})
		if err == nil && len(im.Sites()) > len(fixtureFuncs)+1 {
			t.Errorf("%d sites in the first %d bytes", len(im.Sites()), n)
		}
	}
}

func TestReadRange(t *testing.T) {
	r := strings.NewReader("0123456789")
	if got, err := readRange(r, 2, 3); err != nil || string(got) != "234" {
		t.Errorf("readRange = %q, %v", got, err)
	}
	if got, err := readRange(r, 10, 0); err != nil || len(got) != 0 {
		t.Errorf("readRange of nothing = %q, %v", got, err)
	}
	for _, c := range [][2]uint64{{8, 3}, {11, 1}, {0, maxRange}, {0, maxRange + 1}, {1 << 63, 1}} {
		if _, err := readRange(r, c[0], c[1]); err == nil {
			t.Errorf("readRange(%#x, %#x) succeeds", c[0], c[1])
		}
	}
}
