package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkOpen opens a library of 100,000 functions in C and in C++.
func BenchmarkOpen(b *testing.B) {
	const functions = 100_000
	for _, c := range []struct{ name, flag string }{
		{"symbols", "-Wl,--discard-none"},
		{"stripped", "-Wl,--strip-all"},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			source := filepath.Join(dir, "many.s")
			if err := os.WriteFile(source, manyFunctions(functions), 0o600); err != nil {
				b.Fatal(err)
			}
			path := filepath.Join(dir, "many.so")
			run(b, gcc, "-shared", "-nostdlib", c.flag, source, "-o", path)
			b.ResetTimer()
			for b.Loop() {
				im, err := Open(path, Options{DebugDirs: []string{}})
				if err != nil {
					b.Fatal(err)
				}
				for _, s := range im.Sites() {
					if s.Reason != "" {
						b.Fatalf("site %+v", s)
					}
				}
				if len(im.Sites()) != functions {
					b.Fatalf("%d sites", len(im.Sites()))
				}
				if err := im.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkExits finds the exits of 100,000 functions.
func BenchmarkExits(b *testing.B) {
	const functions = 100_000
	for _, c := range []struct{ name, flag string }{
		{"symbols", "-Wl,--discard-none"},
		{"stripped", "-Wl,--strip-all"},
	} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			source := filepath.Join(dir, "many.s")
			if err := os.WriteFile(source, manyFunctions(functions), 0o600); err != nil {
				b.Fatal(err)
			}
			path := filepath.Join(dir, "many.so")
			run(b, gcc, "-shared", "-nostdlib", c.flag, source, "-o", path)
			im := open(b, path)
			b.ResetTimer()
			for b.Loop() {
				im.exits = nil
				for i := range im.Sites() {
					if e := im.Exits(i); len(e.List) != 1 {
						b.Fatalf("site %+v has exits %+v", im.Sites()[i], e)
					}
				}
			}
		})
	}
}

// manyFunctions writes what a compiler makes of functions with a frame, a
// branch and a call. Half of them are local.
func manyFunctions(n int) []byte {
	var s bytes.Buffer
	for i := range n {
		if i%2 == 0 {
			fmt.Fprintf(&s, ".globl _ZN7library8functionILi%d\n.hidden _ZN7library8functionILi%d\n", i, i)
		}
		fmt.Fprintf(&s, `.type _ZN7library8functionILi%[1]d, %%function
_ZN7library8functionILi%[1]d:
1:	nop
	nop
	stp x29, x30, [sp, #-48]!
	mov x29, sp
	stp x19, x20, [sp, #16]
	mov x19, x0
	ldr w9, [x0, #8]
	cbz w9, 2f
	add w0, w9, w1
	str w0, [x19]
	bl _ZN7library8functionILi%[2]d
2:	ldp x19, x20, [sp, #16]
	ldp x29, x30, [sp], #48
	ret
.size _ZN7library8functionILi%[1]d, . - _ZN7library8functionILi%[1]d
.pushsection __patchable_function_entries, "awo", %%progbits, .text
.8byte 1b
.popsection
`, i, (i+1)%n)
	}
	return s.Bytes()
}
