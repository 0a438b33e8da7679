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
	if im.known == nil {
		im.known = im.particular()
	}
	if reason := im.known[s.Entry]; reason != "" {
		return Exits{Reason: reason}
	}
	return Exits{Called: true}
}

// particular gives the reasons for functions that are known by one of their names.
func (im *Image) particular() map[uint64]string {
	found := make(map[uint64]string)
	for _, t := range im.tables {
		for i := range t.len() {
			if !t.isFunc(i) {
				continue
			}
			s := t.named(i)
			switch name := strings.TrimLeft(s.name, "_"); {
			case twice[name]:
				found[s.value] = "it returns twice"
			case lookers[name], strings.HasPrefix(s.name, "_Unwind_"):
				found[s.value] = "it looks at its return address"
			}
		}
	}
	im.jumpersToLookers(found)
	return found
}
