package livepatch

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// value says what of an address a relocation stores.
type value uint8

const (
	absolute value = iota // S+A
	relative              // S+A-P
	pages                 // Page(S+A)-Page(P), in pages
	low12                 // the low 12 bits of S+A
)

// place says where in the word it is stored.
type place uint8

const (
	data16 place = iota
	data32
	data64
	imm26 // B, BL
	imm19 // B.cond, CBZ, LDR (literal)
	imm14 // TBZ
	imm12 // ADD, LDR, STR (unsigned offset)
	imm16 // MOVZ, MOVK
	immAdr
)

// howto is how a relocation is made: ELF for the Arm 64-bit Architecture
// (aaelf64), section 5.7.
type howto struct {
	value value
	place place
	shift uint // how many low bits of the value are not stored
	// bits is how many bits the value may have before it is shifted, with its sign
	// if it is relative; 0: the bits above are cut off, as the NC relocations do.
	bits uint
}

var howtos = map[elf.R_AARCH64]howto{
	elf.R_AARCH64_ABS64:               {absolute, data64, 0, 0},
	elf.R_AARCH64_ABS32:               {absolute, data32, 0, 32},
	elf.R_AARCH64_ABS16:               {absolute, data16, 0, 16},
	elf.R_AARCH64_PREL64:              {relative, data64, 0, 0},
	elf.R_AARCH64_PREL32:              {relative, data32, 0, 32},
	elf.R_AARCH64_PREL16:              {relative, data16, 0, 16},
	elf.R_AARCH64_MOVW_UABS_G0:        {absolute, imm16, 0, 16},
	elf.R_AARCH64_MOVW_UABS_G0_NC:     {absolute, imm16, 0, 0},
	elf.R_AARCH64_MOVW_UABS_G1:        {absolute, imm16, 16, 32},
	elf.R_AARCH64_MOVW_UABS_G1_NC:     {absolute, imm16, 16, 0},
	elf.R_AARCH64_MOVW_UABS_G2:        {absolute, imm16, 32, 48},
	elf.R_AARCH64_MOVW_UABS_G2_NC:     {absolute, imm16, 32, 0},
	elf.R_AARCH64_MOVW_UABS_G3:        {absolute, imm16, 48, 0},
	elf.R_AARCH64_LD_PREL_LO19:        {relative, imm19, 2, 21},
	elf.R_AARCH64_ADR_PREL_LO21:       {relative, immAdr, 0, 21},
	elf.R_AARCH64_ADR_PREL_PG_HI21:    {pages, immAdr, 0, 21},
	elf.R_AARCH64_ADR_PREL_PG_HI21_NC: {pages, immAdr, 0, 0},
	elf.R_AARCH64_ADD_ABS_LO12_NC:     {low12, imm12, 0, 0},
	elf.R_AARCH64_LDST8_ABS_LO12_NC:   {low12, imm12, 0, 0},
	elf.R_AARCH64_LDST16_ABS_LO12_NC:  {low12, imm12, 1, 0},
	elf.R_AARCH64_LDST32_ABS_LO12_NC:  {low12, imm12, 2, 0},
	elf.R_AARCH64_LDST64_ABS_LO12_NC:  {low12, imm12, 3, 0},
	elf.R_AARCH64_LDST128_ABS_LO12_NC: {low12, imm12, 4, 0},
	elf.R_AARCH64_TSTBR14:             {relative, imm14, 2, 16},
	elf.R_AARCH64_CONDBR19:            {relative, imm19, 2, 21},
	elf.R_AARCH64_JUMP26:              {relative, imm26, 2, 28},
	elf.R_AARCH64_CALL26:              {relative, imm26, 2, 28},

	elf.R_AARCH64_TLSLE_MOVW_TPREL_G0:     {absolute, imm16, 0, 16},
	elf.R_AARCH64_TLSLE_MOVW_TPREL_G0_NC:  {absolute, imm16, 0, 0},
	elf.R_AARCH64_TLSLE_MOVW_TPREL_G1:     {absolute, imm16, 16, 32},
	elf.R_AARCH64_TLSLE_MOVW_TPREL_G1_NC:  {absolute, imm16, 16, 0},
	elf.R_AARCH64_TLSLE_ADD_TPREL_HI12:    {absolute, imm12, 12, 24},
	elf.R_AARCH64_TLSLE_ADD_TPREL_LO12:    {absolute, imm12, 0, 12},
	elf.R_AARCH64_TLSLE_ADD_TPREL_LO12_NC: {low12, imm12, 0, 0},
	tlsLELoad(0):                          {absolute, imm12, 0, 12},
	tlsLELoad(0) + 1:                      {low12, imm12, 0, 0},
	tlsLELoad(1):                          {absolute, imm12, 1, 12},
	tlsLELoad(1) + 1:                      {low12, imm12, 1, 0},
	tlsLELoad(2):                          {absolute, imm12, 2, 12},
	tlsLELoad(2) + 1:                      {low12, imm12, 2, 0},
	tlsLELoad(3):                          {absolute, imm12, 3, 12},
	tlsLELoad(3) + 1:                      {low12, imm12, 3, 0},
}

// tlsLELoad gives R_AARCH64_TLSLE_LDST{8,16,32,64}_TPREL_LO12, which debug/elf
// does not have; the next number is that with _NC.
func tlsLELoad(log uint) elf.R_AARCH64 { return elf.R_AARCH64(552 + 2*log) }

// size gives how many bytes a relocation changes.
func (h howto) size() uint64 {
	switch h.place {
	case data16:
		return 2
	case data64:
		return 8
	}
	return 4
}

// of gives the value that is stored at p for an address s, before it is shifted.
func (h howto) of(s, p uint64) uint64 {
	switch h.value {
	case relative:
		return s - p
	case pages:
		return uint64(int64(s&^0xfff-p&^0xfff) >> 12)
	case low12:
		return s & 0xfff
	}
	return s
}

// fits reports whether a value can be stored: in range and, where low bits are
// not stored, without them.
func (h howto) fits(v uint64) bool {
	if h.shift > 0 && h.place != imm16 && !(h.value == absolute && h.shift == 12) && v&(1<<h.shift-1) != 0 {
		return false
	}
	switch {
	case h.bits == 0:
		return true
	case h.value == absolute:
		return v>>h.bits == 0 || h.place == data32 && int64(v)>>31 == -1
	}
	return int64(v)>>(h.bits-1) == 0 || int64(v)>>(h.bits-1) == -1
}

// reaches reports whether a relocation at p can refer to s.
func (h howto) reaches(s, p uint64) bool { return h.fits(h.of(s, p)) }

// field gives the lowest bit and the number of bits of an immediate.
func (h howto) field() (lsb, width uint) {
	switch h.place {
	case imm26:
		return 0, 26
	case imm19:
		return 5, 19
	case imm14:
		return 5, 14
	case imm16:
		return 5, 16
	}
	return 10, 12
}

// relocate stores at word, whose address is p, a reference to s.
func relocate(word []byte, typ elf.R_AARCH64, s, p uint64) error {
	h, known := howtos[typ]
	if !known {
		return fmt.Errorf("relocation %v is not supported", typ)
	}
	v := h.of(s, p)
	if !h.fits(v) {
		return fmt.Errorf("relocation %v at %#x does not reach %#x", typ, p, s)
	}
	le := binary.LittleEndian
	switch h.place {
	case data16:
		le.PutUint16(word, uint16(v))
	case data32:
		le.PutUint32(word, uint32(v))
	case data64:
		le.PutUint64(word, v)
	case immAdr:
		const mask = 3<<29 | 1<<24 - 1<<5
		le.PutUint32(word, le.Uint32(word)&^mask|uint32(v&3)<<29|uint32(v>>2&(1<<19-1))<<5)
	default:
		lsb, width := h.field()
		mask := uint32(1<<width-1) << lsb
		le.PutUint32(word, le.Uint32(word)&^mask|uint32(v>>h.shift)<<lsb&mask)
	}
	return nil
}

// referred gives the value, as howto.of does, that a word was relocated with.
func referred(word []byte, h howto) uint64 {
	le := binary.LittleEndian
	switch h.place {
	case data16:
		return signExtend(uint64(le.Uint16(word)), 16)
	case data32:
		return signExtend(uint64(le.Uint32(word)), 32)
	case data64:
		return le.Uint64(word)
	case immAdr:
		w := le.Uint32(word)
		return signExtend(uint64(w>>29&3|w>>5&(1<<19-1)<<2), 21)
	}
	lsb, width := h.field()
	v := uint64(le.Uint32(word)>>lsb&(1<<width-1)) << h.shift
	if h.value == relative {
		return signExtend(v, width+h.shift)
	}
	return v
}

func signExtend(v uint64, bits uint) uint64 { return uint64(int64(v<<(64-bits)) >> (64 - bits)) }
