package image

import (
	"debug/elf"
	"encoding/binary"
	"strings"
)

// jumpersToLookers finds the functions that jump to an imported function of those that
// look at their return address, as compilers have it end that calls one last: what that
// sees is the return address of the function that jumps.
func (im *Image) jumpersToLookers(found map[uint64]string) {
	f, err := elf.NewFile(im.file)
	if err != nil {
		return
	}
	slots := lookerSlots(f)
	if len(slots) == 0 {
		return
	}
	// What jumps through such a slot is an entry of a PLT, or the function itself.
	const (
		landing          = 4 // ENDBR64
		bnd              = 1 // a prefix
		indirect, direct = 6, 5
	)
	stubs := map[uint64]bool{}
	for _, pass := range []int{indirect, direct} {
		for _, s := range f.Sections {
			if s.Flags&elf.SHF_EXECINSTR == 0 || s.Type != elf.SHT_PROGBITS {
				continue
			}
			code, err := s.Data()
			if err != nil {
				continue
			}
			for i := 0; i+pass <= len(code); i++ {
				at := s.Addr + uint64(i)
				to := at + uint64(pass) + uint64(int64(int32(binary.LittleEndian.Uint32(code[i+pass-4:]))))
				switch {
				case pass == direct && code[i] == 0xe9 && stubs[to]:
				case pass == indirect && code[i] == 0xff && code[i+1] == 0x25 && slots[to]:
					for _, before := range []uint64{0, bnd, landing, landing + bnd} {
						stubs[at-before] = true
					}
					if strings.HasPrefix(s.Name, ".plt") {
						continue
					}
				default:
					continue
				}
				im.noteLooker(found, at)
			}
		}
	}
}

// noteLooker notes the function that an instruction belongs to: by its symbol, or as the
// last one that begins before.
func (im *Image) noteLooker(found map[uint64]string, at uint64) {
	const reason = "it jumps to a function that looks at its return address"
	if i, ok := im.FuncAt(at); ok {
		found[im.funcs[i].Addr] = reason
	}
	last := uint64(0)
	for i := range im.sites {
		if e := im.sites[i].Entry; e <= at && e > last {
			last = e
		}
	}
	if last != 0 {
		found[last] = reason
	}
}

// lookerSlots are the words through which such functions are called (System V ABI, AMD64
// supplement, table 4.9).
func lookerSlots(f *elf.File) map[uint64]bool {
	const size = 24
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil
	}
	slots := map[uint64]bool{}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA || s.Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		data, err := s.Data()
		if err != nil {
			continue
		}
		for ; len(data) >= size; data = data[size:] {
			info := binary.LittleEndian.Uint64(data[8:])
			n := info >> 32
			kind := elf.R_X86_64(uint32(info))
			if n == 0 || n > uint64(len(symbols)) || kind != elf.R_X86_64_JMP_SLOT && kind != elf.R_X86_64_GLOB_DAT {
				continue
			}
			if lookers[strings.TrimLeft(symbols[n-1].Name, "_")] {
				slots[binary.LittleEndian.Uint64(data)] = true
			}
		}
	}
	return slots
}
