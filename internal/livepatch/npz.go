package livepatch

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
)

// Patch is what a .npz file holds: new functions, laid out but not yet given an
// address, and what they are for.
type Patch struct {
	Name    string
	Target  Target
	Replace bool // supersedes all patches of its target

	funcs     []Func
	segments  []segment
	symbols   []funcSymbol
	callbacks map[string]uint64 // offsets by name
	ehFrame   span
	targets   []target
	relocs    []relocation

	file      []byte // as it was read
	signature []byte // of that, if there is one
}

// Target names the object that a patch is for.
type Target struct {
	Path    string `json:"path"`             // of the file it was built against
	Soname  string `json:"soname,omitempty"` // of a shared library that has one
	BuildID string `json:"build_id"`         // hexadecimal
}

// Func is a function that a patch replaces. Addresses are link-time addresses of
// the target.
type Func struct {
	Name    string      `json:"name"` // the raw symbol
	OldVA   uint64      `json:"va"`
	OldSize uint64      `json:"size"`
	SiteVA  uint64      `json:"site"`            // of slot 1
	OldHash [32]byte    `json:"-"`               // SHA-256 of the old function's bytes in the file
	Extra   [][2]uint64 `json:"parts,omitempty"` // [begin, end) of parts that the compiler moved away (name.cold)
}

// segment is memory that the patch needs. Offsets are from its beginning.
type segment struct {
	Prot   Prot   `json:"prot"`
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
	data   []byte // what is not zero at first
}

// span is a piece of a patch.
type span struct {
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
}

// funcSymbol is a function in the patch.
type funcSymbol struct {
	Name string `json:"name"`
	span
	New   bool   `json:"replaces,omitempty"`
	Enter uint64 `json:"enter,omitempty"` // of one that replaces: where it is entered
}

// target is what relocations refer to.
type target struct {
	Kind     kind   `json:"kind"`
	Name     string `json:"name,omitempty"`
	VA       uint64 `json:"va,omitempty"`       // inTarget: link-time address; ofThread: offset
	Data     uint64 `json:"data,omitempty"`     // slot in the target's table that holds the address
	Call     uint64 `json:"call,omitempty"`     // the same, for calls
	Stub     uint64 `json:"stub,omitempty"`     // code of the target that goes where Call says
	Thread   uint64 `json:"thread,omitempty"`   // slot that holds the offset from the thread pointer
	Func     bool   `json:"func,omitempty"`     // it is code
	Weak     bool   `json:"weak,omitempty"`     // may be missing
	Unpadded bool   `json:"unpadded,omitempty"` // has no landing pad, and is in a guarded page
}

// relocation is a reference that depends on where things are loaded.
type relocation struct {
	Offset uint32
	Type   uint16
	Flags  uint16
	Target uint32
	Via    uint32 // with hasVia: the offset of code by which a reference reaches farther
	Addend int64
}

// Flags of relocations.
const (
	hasVia = 1 << iota // Via is one
	// finds: where it turns out to refer to an indirect function whose choice is not
	// known, a branch is to go to the finder behind Via, and what Via loads is to be
	// the resolver.
	finds
)

const relocationSize = 24

// viaSize is what of the code at Via can be branched to.
func (r relocation) viaSize() uint64 {
	if r.Flags&finds != 0 {
		return finderAt + uint64(len(finder)*4)
	}
	return 8
}

// header is the beginning of the file. Behind it are the description, in JSON,
// the relocations, the contents of the segments, and a CRC-32C of all.
type header struct {
	Magic       [8]byte
	Version     uint16
	Machine     uint16
	Description uint32 // bytes
	Relocations uint32 // number
	Data        uint32 // bytes
}

const headerSize = 24

var magic = [8]byte{'n', 'o', 'p', 'a', 'l', 'p', 'z', 0}

// Version is the version of the format.
const version = 1

// Bounds of what is read and of what a patch may need.
const (
	maxFile  = 256 << 20
	maxImage = 64 << 20
	maxName  = 64
)

// description is the part of the file that is JSON.
type description struct {
	Name      string            `json:"name"`
	Replace   bool              `json:"replace,omitempty"`
	Target    Target            `json:"target"`
	Functions []described       `json:"functions"`
	Segments  []stored          `json:"segments"`
	Symbols   []funcSymbol      `json:"symbols"`
	Callbacks map[string]uint64 `json:"callbacks,omitempty"`
	EHFrame   span              `json:"eh_frame"`
	Targets   []target          `json:"references"`
}

type described struct {
	Func
	Hash []byte `json:"sha256"`
}

type stored struct {
	segment
	Stored uint64 `json:"stored"` // bytes in the file
}

// ErrNotPatch is returned for a file that is no patch at all.
var ErrNotPatch = errors.New("not a nopal patch")

// Functions gives the functions that the patch replaces, by address. The caller
// must not change them.
func (p *Patch) Functions() []Func { return p.funcs }

// Open reads and checks a patch. The file may come from anybody. A signature is
// read from the file beside it with .minisig appended to its name.
func Open(path string) (*Patch, error) {
	file, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("open patch: %w", err)
	}
	p, err := Decode(file)
	if err != nil {
		return nil, fmt.Errorf("open patch %s: %w", path, err)
	}
	p.signature, err = readFile(SignatureFile(path), maxSignature)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open signature: %w", err)
	}
	return p, nil
}

// readFile reads a file that is not larger than it should be.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: it has more than %d bytes", path, limit)
	}
	return data, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode gives the patch as a file.
func (p *Patch) Encode() ([]byte, error) {
	d := description{Name: p.Name, Replace: p.Replace, Target: p.Target, Symbols: p.symbols, Callbacks: p.callbacks, EHFrame: p.ehFrame, Targets: p.targets}
	var data []byte
	for _, s := range p.segments {
		d.Segments = append(d.Segments, stored{s, uint64(len(s.data))})
		data = append(data, s.data...)
	}
	for _, f := range p.funcs {
		d.Functions = append(d.Functions, described{f, f.OldHash[:]})
	}
	text, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	h := header{magic, version, uint16(elf.EM_AARCH64), uint32(len(text)), uint32(len(p.relocs)), uint32(len(data))}
	var b bytes.Buffer
	for _, part := range []any{h, text, p.relocs, data} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("encode patch: %w", err)
		}
	}
	return binary.LittleEndian.AppendUint32(b.Bytes(), crc32.Checksum(b.Bytes(), castagnoli)), nil
}

// Decode reads and checks a patch.
func Decode(file []byte) (*Patch, error) {
	if len(file) < headerSize+4 || !bytes.Equal(file[:8], magic[:]) {
		return nil, ErrNotPatch
	}
	le := binary.LittleEndian
	var h header
	if _, err := binary.Decode(file, le, &h); err != nil {
		return nil, err
	}
	body := file[headerSize : len(file)-4]
	switch {
	case h.Version != version:
		return nil, fmt.Errorf("it has version %d of the format, and this nopal knows version %d", h.Version, version)
	case h.Machine != uint16(elf.EM_AARCH64):
		return nil, fmt.Errorf("it is for %v", elf.Machine(h.Machine))
	case uint64(h.Description)+uint64(h.Relocations)*relocationSize+uint64(h.Data) != uint64(len(body)):
		return nil, errors.New("it is incomplete or damaged: its length is wrong")
	case le.Uint32(file[len(file)-4:]) != crc32.Checksum(file[:len(file)-4], castagnoli):
		return nil, errors.New("it is damaged: its checksum is wrong")
	}
	var d description
	text := json.NewDecoder(bytes.NewReader(body[:h.Description]))
	text.DisallowUnknownFields()
	if err := text.Decode(&d); err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	body = body[h.Description:]
	p := &Patch{
		Name: d.Name, Replace: d.Replace, Target: d.Target, symbols: d.Symbols, callbacks: d.Callbacks, ehFrame: d.EHFrame, targets: d.Targets,
		relocs: make([]relocation, h.Relocations), file: file,
	}
	n, err := binary.Decode(body, le, p.relocs)
	if err != nil {
		return nil, err
	}
	body = body[n:]
	for _, s := range d.Segments {
		if s.Stored > uint64(len(body)) {
			return nil, errors.New("it is damaged: a segment is not all there")
		}
		s.data, body = body[:s.Stored:s.Stored], body[s.Stored:]
		p.segments = append(p.segments, s.segment)
	}
	for _, f := range d.Functions {
		if copy(f.OldHash[:], f.Hash) != len(f.OldHash) || len(f.Hash) != len(f.OldHash) {
			return nil, fmt.Errorf("function %q: its hash has a wrong length", f.Name)
		}
		p.funcs = append(p.funcs, f.Func)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return p, nil
}

// CheckName refuses what cannot be the name of a patch: it is shown, kept in
// processes, and typed.
func CheckName(name string) error {
	if name == "" || len(name) > maxName-1 {
		return fmt.Errorf("the name of a patch has 1 to %d characters", maxName-1)
	}
	for _, c := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-", c) {
			return fmt.Errorf("the name of a patch, %q, may have letters, digits and . _ + - only", name)
		}
	}
	return nil
}

// check finds everything by which the rest of nopal could be led astray.
func (p *Patch) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if p.Target.BuildID == "" || strings.Trim(p.Target.BuildID, "0123456789abcdef") != "" {
		return fmt.Errorf("its target has the build-id %q, which is none", p.Target.BuildID)
	}
	next := uint64(0)
	for _, s := range p.segments {
		switch {
		case s.Offset < next || s.Offset%segmentUnit != 0 || s.Offset > maxImage || s.Size > maxImage-s.Offset || s.Size == 0:
			return fmt.Errorf("its segment at %#x is out of place", s.Offset)
		case uint64(len(s.data)) > s.Size:
			return fmt.Errorf("its segment at %#x holds more than its size", s.Offset)
		case s.Prot&ProtRead == 0 || s.Prot&^(ProtRead|ProtWrite|ProtExec) != 0 || s.Prot&ProtWrite != 0 && s.Prot&ProtExec != 0:
			return fmt.Errorf("its segment at %#x asks for memory that is writable and executable, or unreadable", s.Offset)
		}
		next = align(s.Offset+s.Size, segmentUnit)
	}
	code := func(s span) bool { return s.Offset%4 == 0 && p.inside(s, ProtExec) }
	added := make(map[string]bool)
	for _, s := range p.symbols {
		if s.Name == "" || !code(s.span) || s.New && (added[s.Name] || !code(span{s.Enter, 4})) {
			return fmt.Errorf("its function %q is out of place", s.Name)
		}
		added[s.Name] = added[s.Name] || s.New
	}
	for name, off := range p.callbacks {
		if !isCallback(name) || !code(span{off, 4}) {
			return fmt.Errorf("its callback %q is out of place", name)
		}
	}
	if p.ehFrame != (span{}) && !p.inside(p.ehFrame, ProtRead) {
		return errors.New("its call frame information is out of place")
	}
	if len(p.funcs) == 0 {
		return errors.New("it replaces nothing")
	}
	for i, f := range p.funcs {
		if i > 0 && f.OldVA < p.funcs[i-1].OldVA+p.funcs[i-1].OldSize {
			return fmt.Errorf("its function %q overlaps another", f.Name)
		}
		if !added[f.Name] {
			return fmt.Errorf("its function %q has no code", f.Name)
		}
		// Two instructions are the site.
		if f.OldVA%4 != 0 || f.OldVA+f.OldSize < f.OldVA || f.SiteVA%4 != 0 || f.SiteVA < f.OldVA || f.OldSize < 8 || f.SiteVA-f.OldVA > f.OldSize-8 {
			return fmt.Errorf("its function %q has an impossible place", f.Name)
		}
		for _, part := range f.Extra {
			if part[0] > part[1] {
				return fmt.Errorf("its function %q has an impossible part", f.Name)
			}
		}
	}
	return p.checkRelocations()
}

// inside reports whether a piece lies in one segment with a protection.
func (p *Patch) inside(s span, prot Prot) bool {
	for _, g := range p.segments {
		if s.Offset >= g.Offset && s.Offset-g.Offset <= g.Size && s.Size <= g.Size-(s.Offset-g.Offset) {
			return g.Prot&prot == prot
		}
	}
	return false
}

func (p *Patch) checkRelocations() error {
	for _, t := range p.targets {
		if t.Kind > ofThread || t.Kind == byName && t.Name == "" {
			return fmt.Errorf("its reference to %q is of no known kind", t.Name)
		}
	}
	for _, r := range p.relocs {
		h, known := howtos[elf.R_AARCH64(r.Type)]
		switch {
		case !known || r.Flags&^(hasVia|finds) != 0:
			return fmt.Errorf("its relocation at %#x is of no known type", r.Offset)
		case uint64(len(p.at(uint64(r.Offset)))) < h.size():
			return fmt.Errorf("its relocation at %#x is out of place", r.Offset)
		case r.Target >= uint32(len(p.targets)):
			return fmt.Errorf("its relocation at %#x refers to nothing", r.Offset)
		case r.Flags&hasVia != 0 && (r.Via%4 != 0 || !p.inside(span{uint64(r.Via), r.viaSize()}, ProtExec)):
			return fmt.Errorf("its relocation at %#x goes by a place that is no code", r.Offset)
		}
	}
	return nil
}
