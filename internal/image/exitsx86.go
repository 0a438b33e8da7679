package image

import "strings"

// A function of x86-64 is left where its caller called it, by whatever instruction:
// its body is called in place of the caller, and returns to nopal. So there is
// nothing to prove, but a few functions must not find another return address than
// their caller's.

// twice are the functions that return more often than they are called, those that
// GCC knows by name (special_function_p in its calls.cc).
var twice = map[string]bool{
	"setjmp": true, "sigsetjmp": true, "savectx": true, "vfork": true, "getcontext": true,
	"libc_vfork": true, "swapcontext": true,
}

// lookers are functions whose purpose is to know who called them.
var lookers = map[string]bool{
	"dlopen": true, "dlmopen": true, "dlsym": true, "dlvsym": true, "dlopen_mode": true,
	"mcount": true, "fentry__": true, "restore_rt": true, "tsan_func_entry": true, "cyg_profile_func_enter": true,
}

func (x86) exits(im *Image, site int) Exits {
	s := im.sites[site]
	if s.Reason != "" {
		return Exits{Reason: "it cannot be traced: " + s.Reason}
	}
	if s.Entry == im.EntryVA && !im.Shared {
		return Exits{Reason: "the program begins with it: it has no caller"}
	}
	if s.Func >= 0 {
		raw := im.funcs[s.Func].Name
		name := strings.TrimLeft(raw, "_")
		switch {
		case twice[name]:
			return Exits{Reason: "it returns twice"}
		case lookers[name], strings.HasPrefix(raw, "_Unwind_"):
			return Exits{Reason: "it looks at its return address"}
		}
	}
	return Exits{Called: true}
}
