package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Sizes of what program headers point at, beyond what any real object has.
const (
	maxSegments = 1 << 12
	maxNotes    = 1 << 20
	maxDynamic  = 1 << 20
	maxInterp   = 1 << 12
)

// readHeaders fills in what the program headers say.
func (im *Image) readHeaders(f *elf.File) error {
	im.Machine, im.Type, im.EntryVA = f.Machine, f.Type, f.Entry
	for _, p := range f.Progs {
		switch p.Type {
		case elf.PT_LOAD:
			if p.Off > 1<<62 || p.Filesz > 1<<62 || p.Vaddr+p.Memsz < p.Vaddr || len(im.Segments) == maxSegments {
				return fmt.Errorf("read program headers: segment at %#x is not possible", p.Vaddr)
			}
			im.Segments = append(im.Segments, Segment{p.Off, p.Vaddr, p.Filesz, max(p.Memsz, p.Filesz), p.Flags})
		case elf.PT_INTERP:
			name, err := readRange(p.ReaderAt, 0, min(p.Filesz, maxInterp))
			if err != nil {
				return fmt.Errorf("read interpreter: %w", err)
			}
			name, _, _ = bytes.Cut(name, []byte{0})
			im.Interp = string(name)
		case elf.PT_DYNAMIC:
			im.Dynamic, im.DynamicSize = p.Vaddr, p.Memsz
		case elf.PT_NOTE:
			notes, err := readRange(p.ReaderAt, 0, min(p.Filesz, maxNotes))
			if err != nil {
				return fmt.Errorf("read notes: %w", err)
			}
			im.readNotes(notes, p.Align)
		}
	}
	tags := im.dynamicTags()
	const flagPIE = 0x08000000 // DF_1_PIE
	_, named := tags[elf.DT_SONAME]
	switch {
	case f.Type == elf.ET_EXEC:
	case tags[elf.DT_FLAGS_1]&flagPIE != 0, im.Interp != "" && !named:
		im.PIE = true
	default:
		im.Shared = true
	}
	im.Static = im.Interp == "" && !im.Shared
	return nil
}

// readNotes takes the build-id and the mark of landing pads from a segment of
// notes (gABI, "Note Section"; the ABIs of AArch64 and x86-64 for the property).
func (im *Image) readNotes(notes []byte, align uint64) {
	const (
		typeBuildID  = 3 // NT_GNU_BUILD_ID
		typeProperty = 5 // NT_GNU_PROPERTY_TYPE_0
		header       = 12
	)
	pad := uint64(4)
	if align == 8 {
		pad = 8
	}
	for len(notes) >= header {
		nameSize := uint64(binary.LittleEndian.Uint32(notes))
		descSize := uint64(binary.LittleEndian.Uint32(notes[4:]))
		kind := binary.LittleEndian.Uint32(notes[8:])
		desc := (header + nameSize + pad - 1) / pad * pad
		end := desc + descSize
		if end > uint64(len(notes)) {
			return
		}
		if string(notes[header:header+nameSize]) == "GNU\x00" {
			switch kind {
			case typeBuildID:
				im.BuildID = hex.EncodeToString(notes[desc:end])
			case typeProperty:
				im.readProperties(notes[desc:end])
			}
		}
		notes = notes[min((end+pad-1)/pad*pad, uint64(len(notes))):]
	}
}

func (im *Image) readProperties(p []byte) {
	const (
		featureBTI = 1 // and FEATURE_1_IBT of x86-64
		header     = 8
	)
	feature1And := uint32(0xc0000000) // GNU_PROPERTY_AARCH64_FEATURE_1_AND
	if im.Machine == elf.EM_X86_64 {
		feature1And = 0xc0000002 // GNU_PROPERTY_X86_FEATURE_1_AND
	}
	for len(p) >= header {
		kind := binary.LittleEndian.Uint32(p)
		size := uint64(binary.LittleEndian.Uint32(p[4:]))
		p = p[header:]
		if size > uint64(len(p)) {
			return
		}
		if kind == feature1And && size >= 4 {
			im.BTI = binary.LittleEndian.Uint32(p)&featureBTI != 0
		}
		p = p[min((size+7)/8*8, uint64(len(p))):]
	}
}

// dynamicTags gives the dynamic section as a map; of repeated tags the last.
func (im *Image) dynamicTags() map[elf.DynTag]uint64 {
	data := im.readVASize(im.Dynamic, min(im.DynamicSize, maxDynamic))
	tags := make(map[elf.DynTag]uint64)
	for ; len(data) >= 16; data = data[16:] {
		tag := elf.DynTag(binary.LittleEndian.Uint64(data))
		if tag == elf.DT_NULL {
			break
		}
		tags[tag] = binary.LittleEndian.Uint64(data[8:])
	}
	return tags
}

// readVASize reads a piece of the file by its address, or nothing if it is not
// there as a whole.
func (im *Image) readVASize(va, size uint64) []byte {
	for _, s := range im.Segments {
		at := va - s.VA
		if va >= s.VA && at < s.Filesz && size <= s.Filesz-at {
			data, err := readRange(im.file, s.Off+at, size)
			if err != nil {
				return nil
			}
			return data
		}
	}
	return nil
}
