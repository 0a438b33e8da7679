package inject

import (
	"math/bits"
	"testing"
)

// machine interprets the few instructions that the code of rules consists of, so that every host can run it.
type machine struct {
	t       *testing.T
	code    []uint32
	at      uint64 // of the code
	x       [32]uint64
	sp      uint64
	v       [32]uint64
	tpidr   uint64
	mem     map[uint64]uint64 // aligned words
	base    uint64            // sp at calls
	steps   int
	monitor bool
	// interrupt, if not nil, is called before each instruction, as a signal handler could come.
	interrupt func(m *machine)
}

func (m *machine) load(addr uint64) uint64 {
	if i := (addr - m.at) / 4; addr >= m.at && i+1 < uint64(len(m.code)) {
		return uint64(m.code[i]) | uint64(m.code[i+1])<<32
	}
	if addr%8 != 0 {
		m.t.Fatalf("load of 8 bytes at %#x", addr)
	}
	return m.mem[addr]
}

func (m *machine) store(addr, v uint64, size int) {
	word, shift := addr&^7, addr%8*8
	mask := ^uint64(0) >> (64 - 8*size)
	if addr >= m.sp-1<<20 && addr < m.sp {
		m.t.Fatalf("store below sp at %#x", addr)
	}
	m.mem[word] = m.mem[word]&^(mask<<shift) | v&mask<<shift
}

func sext(v uint32, width int) uint64 { return uint64(int64(int32(v<<(32-width)) >> (32 - width))) }

// run runs until control leaves the code, and returns where to.
func (m *machine) run(pc uint64) uint64 {
	for ; pc >= m.at && pc < m.at+4*uint64(len(m.code)); m.steps++ {
		if m.steps > 10000 {
			m.t.Fatal("no end")
		}
		if m.interrupt != nil {
			m.interrupt(m)
		}
		pc = m.step(pc)
	}
	return pc
}

func (m *machine) step(pc uint64) uint64 {
	i := m.code[(pc-m.at)/4]
	d, n, r, t2 := i&31, i>>5&31, i>>16&31, i>>10&31
	reg := func(k uint32) uint64 {
		if k == 31 {
			return 0
		}
		return m.x[k]
	}
	regSP := func(k uint32) uint64 {
		if k == 31 {
			return m.sp
		}
		return m.x[k]
	}
	set := func(k uint32, v uint64) {
		if k != 31 {
			m.x[k] = v
		}
	}
	setSP := func(k uint32, v uint64) {
		if k == 31 {
			m.sp = v
		} else {
			m.x[k] = v
		}
	}
	next := pc + 4
	shifted := func() uint64 {
		amount := i >> 10 & 63
		switch i >> 22 & 3 {
		case 0:
			return reg(r) << amount
		case 1:
			return reg(r) >> amount
		}
		m.t.Fatalf("shift of %08x", i)
		return 0
	}
	switch {
	case i == 0xd503201f: // nop
	case i&0xff800000 == 0x91000000 || i&0xff800000 == 0xd1000000:
		v := uint64(i >> 10 & 0xfff << (i >> 22 & 1 * 12))
		if i>>30&1 != 0 {
			v = -v
		}
		setSP(d, regSP(n)+v)
	case i&0xff200000 == 0x8b000000:
		set(d, reg(n)+shifted())
	case i&0xff200000 == 0xcb000000:
		set(d, reg(n)-shifted())
	case i&0xff200000 == 0xca000000:
		set(d, reg(n)^shifted())
	case i&0xff200000 == 0xaa000000:
		set(d, reg(n)|shifted())
	case i&0xffc0fc00 == 0xd340fc00: // lsr
		set(d, reg(n)>>(i>>16&63))
	case i&0xffe0fc00 == 0x9b007c00:
		set(d, reg(n)*reg(r))
	case i&0xffe08000 == 0x9b008000:
		set(d, reg(t2)-reg(n)*reg(r))
	case i&0xffe0fc00 == 0x9ac00800:
		set(d, reg(n)/reg(r))
	case i&0xff800000 == 0xd2800000:
		set(d, uint64(i>>5&0xffff)<<wideShift(i))
	case i&0xff800000 == 0x92800000:
		set(d, ^(uint64(i>>5&0xffff) << wideShift(i)))
	case i&0xff800000 == 0xf2800000:
		set(d, reg(d)&^(0xffff<<wideShift(i))|uint64(i>>5&0xffff)<<wideShift(i))
	case i&0xff800000 == 0xb2000000 && n == 31: // orr xD, xzr, #mask
		set(d, bitmaskOf(i))
	case i&0xff000000 == 0x58000000:
		set(d, m.load(pc+sext(i>>5&0x7ffff, 19)<<2))
	case i&0xffc00000 == 0xa9800000: // stp, pre-index
		m.sp += sext(i>>15&0x7f, 7) << 3
		m.store(m.sp, reg(d), 8)
		m.store(m.sp+8, reg(t2), 8)
	case i&0xffc00000 == 0xa9400000:
		at := regSP(n) + sext(i>>15&0x7f, 7)<<3
		set(d, m.load(at))
		set(t2, m.load(at+8))
	case i&0xffc00000 == 0xf9000000:
		m.store(regSP(n)+uint64(i>>10&0xfff)*8, reg(d), 8)
	case i&0xffc00000 == 0xb9000000:
		m.store(regSP(n)+uint64(i>>10&0xfff)*4, reg(d), 4)
	case i&0xffc00000 == 0x39000000:
		m.store(regSP(n)+uint64(i>>10&0xfff), reg(d), 1)
	case i&0xfffffc00 == 0xc85f7c00:
		m.monitor = true
		set(d, m.load(reg(n)))
	case i&0xffe0fc00 == 0xc8007c00:
		failed := uint64(1)
		if m.monitor {
			m.store(reg(n), reg(d), 8)
			failed = 0
		}
		m.monitor = false
		set(r, failed)
	case i&0x7f000000 == 0x34000000: // cbz
		if reg(d) == 0 {
			next = pc + sext(i>>5&0x7ffff, 19)<<2
		}
	case i&0x7f000000 == 0x35000000:
		if reg(d) != 0 {
			next = pc + sext(i>>5&0x7ffff, 19)<<2
		}
	case i&0x7e000000 == 0x36000000: // tbz, tbnz
		bit := i>>19&31 | i>>31<<5
		if uint32(reg(d)>>bit&1) == i>>24&1 {
			next = pc + sext(i>>5&0x3fff, 14)<<2
		}
	case i&0xfc000000 == 0x14000000:
		next = pc + sext(i&0x3ffffff, 26)<<2
	case i&0xfffffc1f == 0xd65f0000:
		next = reg(n)
	case i&0xffffffe0 == 0xd53bd040:
		set(d, m.tpidr)
	case i&0xfffffc00 == fmovDX:
		m.v[d] = reg(n)
	default:
		m.t.Fatalf("%#x: %08x is not interpreted", pc, i)
	}
	return next
}

// bitmaskOf is the immediate of a logical instruction of 64 bits (Arm ARM, DecodeBitMasks).
func bitmaskOf(i uint32) uint64 {
	n, immr, imms := i>>22&1, i>>16&63, i>>10&63
	length := bits.Len32(n<<6|^imms&63) - 1
	size := uint32(1) << length
	s, r := imms&(size-1), immr&(size-1)
	element := ^uint64(0) >> (63 - s)
	if r > 0 {
		element = element>>r | element<<(size-r)
		if size < 64 {
			element &= 1<<size - 1
		}
	}
	for ; size < 64; size *= 2 {
		element |= element << size
	}
	return element
}
