package unwind

import "fmt"

// Columns of AArch64 (DWARF for the Arm 64-bit Architecture, 4.1).
const (
	fpColumn   = 29
	lrColumn   = 30
	spColumn   = 31
	columns    = 32
	signColumn = 34 // RA_SIGN_STATE: is the return address signed
)

// ruleKind says how a register of the caller is found (DWARF 5, 6.4.1).
type ruleKind uint8

const (
	ruleDefault       ruleKind = iota // what the ABI says: kept, or gone
	ruleUndefined                     // gone
	ruleSame                          // kept
	ruleOffset                        // in memory at CFA + off
	ruleValOffset                     // is CFA + off
	ruleRegister                      // in register off
	ruleExpression                    // in memory where the expression says
	ruleValExpression                 // is what the expression says
)

type rule struct {
	kind ruleKind
	off  int64
	expr []byte
}

// row is what holds at one instruction: how the registers of the caller are found.
type row struct {
	base   uint64 // CFA = base register + off, or the expression
	off    int64
	expr   []byte
	regs   [columns]rule
	signed bool // the return address is
	ra     uint64
	signal bool
}

// Opcodes (DWARF 5, 7.24).
const (
	cfaNop              = 0x00
	cfaSetLoc           = 0x01
	cfaAdvance1         = 0x02
	cfaAdvance2         = 0x03
	cfaAdvance4         = 0x04
	cfaOffsetExtended   = 0x05
	cfaRestoreExtended  = 0x06
	cfaUndefined        = 0x07
	cfaSame             = 0x08
	cfaRegister         = 0x09
	cfaRemember         = 0x0a
	cfaRestore          = 0x0b
	cfaDefCFA           = 0x0c
	cfaDefCFARegister   = 0x0d
	cfaDefCFAOffset     = 0x0e
	cfaDefCFAExpression = 0x0f
	cfaExpression       = 0x10
	cfaOffsetExtendedSF = 0x11
	cfaDefCFASF         = 0x12
	cfaDefCFAOffsetSF   = 0x13
	cfaValOffset        = 0x14
	cfaValOffsetSF      = 0x15
	cfaValExpression    = 0x16
	cfaNegateRAWithPC   = 0x2c // DW_CFA_AARCH64_negate_ra_state_with_pc
	cfaNegateRA         = 0x2d // DW_CFA_AARCH64_negate_ra_state
	cfaArgsSize         = 0x2e
	cfaNegativeOffset   = 0x2f // DW_CFA_GNU_negative_offset_extended
	cfaAdvance          = 0x40
	cfaOffset           = 0x80
	cfaRestoreLow       = 0xc0
)

// maxRemembered is how many rows may be put aside; compilers need a few.
const maxRemembered = 64

// machine executes the programs of an entry.
type machine struct {
	c       *cie
	row     row
	initial *row
	saved   []row
	loc     uint64
	failed  string
}

// rowAt gives what holds at pc, or why that is not known.
func (f *fde) rowAt(pc uint64) (*row, string) {
	m := machine{c: f.cie, loc: f.start}
	m.row.base = columns // none
	m.run(&reader{data: f.cie.program, addr: f.cie.addr}, ^uint64(0))
	initial := m.row
	m.initial = &initial
	m.run(&reader{data: f.program, addr: f.addr}, pc)
	if m.failed == "" && m.row.base == columns && m.row.expr == nil {
		m.failed = malformed
	}
	if m.failed != "" {
		return nil, m.failed
	}
	m.row.ra, m.row.signal = f.ra, f.signal
	return &m.row, ""
}

// run executes a program up to pc.
func (m *machine) run(r *reader, pc uint64) {
	for m.failed == "" && r.more() {
		loc := m.step(r)
		if r.failed {
			m.failed = malformed
			return
		}
		if loc > pc {
			return
		}
		m.loc = loc
	}
}

// step executes one instruction and gives the location behind it.
func (m *machine) step(r *reader) uint64 {
	op := r.u8()
	switch low := uint64(op & 0x3f); op & 0xc0 {
	case cfaAdvance:
		return m.advance(low)
	case cfaOffset:
		m.set(low, rule{kind: ruleOffset, off: m.scaled(r.uleb())})
		return m.loc
	case cfaRestoreLow:
		m.restore(low)
		return m.loc
	}
	switch op {
	case cfaNop:
	case cfaSetLoc:
		return r.pointer(m.c.encoding, 0)
	case cfaAdvance1:
		return m.advance(uint64(r.u8()))
	case cfaAdvance2:
		return m.advance(uint64(r.u16()))
	case cfaAdvance4:
		return m.advance(uint64(r.u32()))
	case cfaOffsetExtended:
		m.set(r.uleb(), rule{kind: ruleOffset, off: m.scaled(r.uleb())})
	case cfaOffsetExtendedSF:
		m.set(r.uleb(), rule{kind: ruleOffset, off: r.sleb() * m.c.dataAlign})
	case cfaNegativeOffset:
		m.set(r.uleb(), rule{kind: ruleOffset, off: -m.scaled(r.uleb())})
	case cfaRestoreExtended:
		m.restore(r.uleb())
	case cfaUndefined:
		m.set(r.uleb(), rule{kind: ruleUndefined})
	case cfaSame:
		m.set(r.uleb(), rule{kind: ruleSame})
	case cfaRegister:
		m.set(r.uleb(), rule{kind: ruleRegister, off: int64(r.uleb())})
	case cfaValOffset:
		m.set(r.uleb(), rule{kind: ruleValOffset, off: m.scaled(r.uleb())})
	case cfaValOffsetSF:
		m.set(r.uleb(), rule{kind: ruleValOffset, off: r.sleb() * m.c.dataAlign})
	case cfaExpression:
		m.set(r.uleb(), rule{kind: ruleExpression, expr: r.block()})
	case cfaValExpression:
		m.set(r.uleb(), rule{kind: ruleValExpression, expr: r.block()})
	case cfaRemember:
		if len(m.saved) == maxRemembered {
			m.failed = malformed
			break
		}
		m.saved = append(m.saved, m.row)
	case cfaRestore:
		if len(m.saved) == 0 {
			m.failed = malformed
			break
		}
		m.row, m.saved = m.saved[len(m.saved)-1], m.saved[:len(m.saved)-1]
	case cfaDefCFA:
		m.cfa(r.uleb(), int64(r.uleb()))
	case cfaDefCFASF:
		m.cfa(r.uleb(), r.sleb()*m.c.dataAlign)
	case cfaDefCFARegister:
		m.cfa(r.uleb(), m.row.off)
	case cfaDefCFAOffset:
		m.row.off = int64(r.uleb())
	case cfaDefCFAOffsetSF:
		m.row.off = r.sleb() * m.c.dataAlign
	case cfaDefCFAExpression:
		m.row.expr = r.block()
	case cfaArgsSize:
		r.uleb()
	case cfaNegateRA, cfaNegateRAWithPC:
		m.row.signed = !m.row.signed
	default:
		m.failed = fmt.Sprintf("its call frame information has an instruction that nopal does not know: %#x", op)
	}
	return m.loc
}

func (m *machine) advance(delta uint64) uint64 {
	loc := m.loc + delta*m.c.codeAlign
	if loc < m.loc {
		m.failed = malformed
	}
	return loc
}

func (m *machine) scaled(v uint64) int64 { return int64(v) * m.c.dataAlign }

func (m *machine) cfa(base uint64, off int64) {
	if base >= columns {
		m.failed = malformed
		return
	}
	m.row.base, m.row.off, m.row.expr = base, off, nil
}

// set gives a column a rule. Those of vector registers do not matter to a stack.
func (m *machine) set(column uint64, to rule) {
	switch {
	case column == signColumn:
		// An assembler writes .cfi_negate_ra_state; a constant says the same.
		m.row.signed = to.kind == ruleValOffset && to.off != 0
	case column < columns:
		if to.kind == ruleRegister && (to.off < 0 || to.off >= columns) {
			m.failed = malformed
			return
		}
		m.row.regs[column] = to
	}
}

func (m *machine) restore(column uint64) {
	switch {
	case m.initial == nil:
		m.failed = malformed
	case column == signColumn:
		m.row.signed = m.initial.signed
	case column < columns:
		m.row.regs[column] = m.initial.regs[column]
	}
}

// plt0Pushed is what the head of the procedure linkage table pushes: x16 and x30.
const plt0Pushed = 16

// repair gives the row that is meant where call frame information is known to be wrong.
// glibc's _dl_runtime_resolve and _dl_runtime_profile (sysdeps/aarch64/dl-trampoline.S) are entered from the
// head of the procedure linkage table, which has pushed 16 bytes that they pop in the end, but
// count their frames without them: the return address is above the CFA then.
func (r *row) repair(entry bool) *row {
	fixed := *r
	fixed.off += plt0Pushed
	switch {
	case entry:
		fixed.regs[lrColumn] = rule{kind: ruleOffset, off: -8}
	case fixed.off == 0 && r.base == spColumn: // popped
		fixed.regs[lrColumn] = rule{}
	default:
		fixed.regs[lrColumn].off -= plt0Pushed
	}
	return &fixed
}

// isResolver tells such a row.
func (r *row) isResolver() bool {
	lr := r.regs[lrColumn]
	return lr.kind == ruleOffset && lr.off == 8 && r.expr == nil && (r.base == spColumn || r.base == fpColumn)
}

// repairedAt is rowAt, with such rows repaired.
func (f *fde) repairedAt(pc uint64) (*row, string) {
	r, reason := f.rowAt(pc)
	switch {
	case r == nil:
	case r.isResolver():
		return r.repair(false), ""
	case pc == f.start && f.end-f.start > insnSize:
		if next, _ := f.rowAt(pc + insnSize); next != nil && next.isResolver() {
			return r.repair(true), ""
		}
	}
	return r, reason
}
