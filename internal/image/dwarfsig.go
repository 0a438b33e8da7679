package image

import (
	"debug/dwarf"
	"debug/elf"
	"fmt"
	"strconv"
	"strings"
)

// DW_LANG_ of Rust, in DWARF 5 and before.
const (
	langRust     = 0x1c
	langRustMIPS = 0x9000
)

// languages are those, DW_LANG_, whose functions are called as the ABI says, and
// whether each is C.
var languages = map[int64]bool{
	0x01: true, 0x02: true, 0x0c: true, 0x1d: true, 0x2c: true, 0x3e: true, // C89, C, C99, C11, C17, C23
	0x04: false, 0x1a: false, 0x21: false, 0x2a: false, 0x2b: false, 0x3a: false, // C++, and of '11, '14, '17, '20, '23
}

const (
	maxParams = 256
	ccNoCall  = 3 // DW_CC_nocall: called in a way of its own
)

// signature reads the function at a site.
func (im *Image) signature(d *dwarfData, site Site) (*Signature, error) {
	d.budget = maxQuestion
	b, err := im.newBuilder(d, site)
	if err != nil {
		return nil, err
	}
	s := &Signature{Name: b.fn.text(dwarf.AttrName), NoReturn: b.fn.flag(dwarf.AttrNoreturn)}
	if err := b.params(s); err != nil {
		return nil, err
	}
	b.result(s)
	return s, nil
}

// newBuilder finds the function at a site.
func (im *Image) newBuilder(d *dwarfData, site Site) (*builder, error) {
	at, body, err := im.function(d, site)
	if err != nil {
		return nil, err
	}
	fn, err := d.resolve(at)
	if err != nil {
		return nil, err
	}
	u := d.unitOf(at)
	if u == nil {
		return nil, ErrNoDWARF
	}
	lang, err := d.language(fn)
	if err != nil {
		return nil, err
	}
	b := &builder{im: im, d: d, unit: u, fn: fn, abi: im.abi(), body: body, rust: lang == langRust || lang == langRustMIPS}
	isC, known := languages[lang]
	if !known && !b.rust {
		return nil, fmt.Errorf("the language %#x is not supported", lang)
	}
	b.types = typeReader{d: d, x87: im.Machine == elf.EM_X86_64, cxx: !isC && !b.rust}
	d.forget()
	b.internal = !fn.flag(dwarf.AttrExternal) || site.Func >= 0 && d.isLocal(site.Entry)
	if site.Func >= 0 {
		_, suffix, _ := strings.Cut(im.funcs[site.Func].Name, ".")
		b.isra = strings.Contains(suffix, "isra")
		b.clone = b.isra || strings.Contains(suffix, "constprop") || strings.Contains(suffix, "part")
	}
	return b, nil
}

// language gives DW_AT_language of the unit in which a function was written.
func (d *dwarfData) language(fn die) (int64, error) {
	for _, e := range fn {
		if u := d.unitOf(e.Offset); u != nil && u.top != nil {
			if lang, ok := number(u.top, dwarf.AttrLanguage); ok {
				return int64(lang), nil
			}
		}
	}
	return 0, fmt.Errorf("its unit says no language")
}

// caller is what the function, and so whoever calls it, is compiled by.
func (b *builder) caller() callerKind {
	by := callerKind{rust: b.rust}
	if b.unit.top != nil {
		producer, _ := b.unit.top.Val(dwarf.AttrProducer).(string)
		_, version, found := strings.Cut(producer, "clang version ")
		major, _, _ := strings.Cut(version, ".")
		n, err := strconv.Atoi(major)
		by.halves = found && err == nil && n < firstWholeWide
	}
	return by
}

// firstWholeWide is the clang that passes __int128 as the System V ABI says (LLVM 18,
// release notes, "Changes to the X86 Backend").
const firstWholeWide = 18

// builder makes one signature.
type builder struct {
	im       *Image
	d        *dwarfData
	abi      abi
	unit     *unit
	fn       die
	types    typeReader
	rust     bool
	clone    bool // the compiler has made another function of it
	isra     bool
	internal bool   // the compiler knows all its calls
	body     uint64 // its first instruction behind the NOPs
	// changedCall is set where it is not called by the standard.
	changedCall bool
	removed     bool // parameters are
}

// params reads the parameters and places them.
func (b *builder) params(s *Signature) error {
	found, err := b.list(s)
	if err != nil {
		return err
	}
	a := b.abi.arguments(b.resultType(), b.caller())
	prototyped := b.types.cxx || b.rust || b.fn.flag(dwarf.AttrPrototyped)
	for _, f := range found {
		p := Param{Name: f.die.text(dwarf.AttrName), Artificial: f.die.flag(dwarf.AttrArtificial)}
		p.Type = b.paramType(f.die)
		switch {
		case b.rust:
			p.Place = rustPlace(a, p.Type)
		default:
			p.Place = a.place(p.Type)
		}
		if !prototyped && p.Type.Kind == Float && p.Type.Size < 8 {
			p.Place = Place{Unknown: "without a prototype it is passed as a double"}
		}
		s.Params = append(s.Params, p)
	}
	b.checkPlaces(s, found)
	b.checkHomes(s, found)
	return nil
}

// param is an entry of a parameter, completed, and that of the function which
// has code, if it is another.
type param struct {
	die      die
	concrete *dwarf.Entry // nil: the function that has code has none
}

// list gives the parameters in their order.
func (b *builder) list(s *Signature) ([]param, error) {
	own, err := b.d.children(b.fn[0])
	if err != nil {
		return nil, err
	}
	abstract := own
	// An out-of-line copy of an inline function may lack parameters that its
	// compiler has removed.
	if _, is := b.fn[0].Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); is && len(b.fn) > 1 {
		if abstract, err = b.d.children(b.fn[1]); err != nil {
			return nil, err
		}
	}
	concrete := make(map[dwarf.Offset]*dwarf.Entry)
	for _, e := range own {
		concrete[e.Offset] = e
		if to, ok := e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset); ok {
			concrete[to] = e
		}
	}
	var list []param
	for _, e := range abstract {
		switch e.Tag {
		case dwarf.TagUnspecifiedParameters:
			s.Variadic = true
		case dwarf.TagFormalParameter:
			if len(list) == maxParams {
				return nil, fmt.Errorf("more than %d parameters", maxParams)
			}
			x, err := b.d.complete(e)
			if err != nil {
				return nil, err
			}
			p := param{x, concrete[e.Offset]}
			// GCC describes all that the variants of a constructor may be given;
			// __in_chrg is given to none, __vtt_parm to some.
			if x.flag(dwarf.AttrArtificial) && (x.text(dwarf.AttrName) == "__in_chrg" || p.concrete == nil) {
				continue
			}
			list = append(list, p)
		}
	}
	return list, nil
}

func (b *builder) paramType(x die) *Type {
	for _, e := range x {
		if e.AttrField(dwarf.AttrType) != nil {
			return b.types.of(e, maxPointers, 0)
		}
	}
	return &Type{Kind: Opaque, unsure: "it has no type"}
}

// resultType is the type of what the function gives back; nil: nothing.
func (b *builder) resultType() *Type {
	for _, e := range b.fn {
		if e.AttrField(dwarf.AttrType) != nil {
			return b.types.of(e, maxPointers, 0)
		}
	}
	return nil
}

func (b *builder) result(s *Signature) {
	t := b.resultType()
	if t == nil {
		return
	}
	s.Result = &Param{Type: t, Place: b.abi.result(t, b.caller())}
	// Of GCC's clones only .isra may have lost the result.
	if b.removed || b.changedCall && (!b.clone || b.isra) {
		s.Result.Place = Place{Unknown: "the compiler has changed the function"}
	}
}
