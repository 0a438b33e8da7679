package image

import (
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// ErrUnwinder says that exceptions of an object are unwound by something that is not
// known.
var ErrUnwinder = errors.New("its unwinder is not known")

// Unwinder gives the address of _Unwind_Find_FDE, by which libgcc's unwinder finds out
// what function an address belongs to, if the object brings its own; 0 if it has none, or
// uses that of another object. The error is [ErrUnwinder] if it has one that is not
// libgcc's, or that cannot be found.
func (im *Image) Unwinder() (find uint64, err error) {
	const name = "_Unwind_Find_FDE"
	if va, ok := im.DynSym(name); ok {
		return va, nil
	}
	if _, ok := im.DynSym("__libc_start_main"); ok {
		return 0, nil // the C library, which loads one when it needs it
	}
	if _, ok := im.DynSym("_Unwind_RaiseException"); ok {
		return 0, fmt.Errorf("%s: %w: it has no %s", im.Path, ErrUnwinder, name)
	}
	f, err := elf.NewFile(im.file)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", im.Path, err)
	}
	if f.Section(".gcc_except_table") == nil {
		return 0, nil
	}
	imports, err := f.ImportedSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return 0, fmt.Errorf("read %s: %w", im.Path, err)
	}
	for _, s := range imports {
		for _, prefix := range []string{"_Unwind_", "__gxx_personality_", "__gcc_personality_", "__cxa_throw"} {
			if strings.HasPrefix(s.Name, prefix) {
				return 0, nil
			}
		}
	}
	if va, ok := im.Symbol(name); ok {
		return va, nil
	}
	return 0, fmt.Errorf("%s: %w: it can catch exceptions, and has neither an unwinder from elsewhere nor a symbol %s", im.Path, ErrUnwinder, name)
}
