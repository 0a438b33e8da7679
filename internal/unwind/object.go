package unwind

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"syscall"

	"nopal/internal/image"
	"nopal/internal/tracee"
)

// Limits of what an object may claim.
const (
	maxPhdrs   = 1 << 10
	maxEntry   = 1 << 20 // one entry of the call frame information
	maxTable   = 1 << 24 // entries in the search table
	maxSection = 1 << 29
	maxRows    = 1 << 16 // rows that are remembered
	maxFlows   = 1 << 8  // functions that are
)

// object is a mapped ELF object. What the process has in memory is read first:
// it is what runs, whatever happened to the file, and the vDSO has none.
type object struct {
	u          *Unwinder
	name       string
	start, end uint64 // of all its segments
	bias       uint64
	code       [][2]uint64 // executable segments
	loads      []image.Segment

	// The search table of .eh_frame_hdr: pairs of distances from it.
	hdr   uint64
	table []byte
	cies  map[uint64]*cie
	all   []fde // without a search table: all entries, sorted

	file      tracee.Mapping // which file it is
	debug     []fde          // of .debug_frame
	debugRead bool
	im        *image.Image // for what the sections say, once it is needed
	imErr     error

	rows    map[uint64]*row
	flows   map[uint64]*flow
	entries *entryPoints
}

// openObject reads the headers of the object that m is a mapping of.
func (u *Unwinder) openObject(m tracee.Mapping, base uint64) (*object, error) {
	o := &object{
		u: u, name: m.Path, file: m,
		cies: map[uint64]*cie{}, rows: map[uint64]*row{}, flows: map[uint64]*flow{},
	}
	var h [64]byte
	if _, err := u.mem.ReadAt(h[:], int64(base)); err != nil {
		return nil, err
	}
	if string(h[:4]) != elf.ELFMAG || h[4] != byte(elf.ELFCLASS64) || h[5] != byte(elf.ELFDATA2LSB) {
		return nil, errors.New("no ELF header where it is mapped")
	}
	if elf.Machine(binary.LittleEndian.Uint16(h[18:])) != elf.EM_AARCH64 {
		return nil, errors.New("an object for another machine")
	}
	off, size, count := binary.LittleEndian.Uint64(h[32:]), binary.LittleEndian.Uint16(h[54:]), binary.LittleEndian.Uint16(h[56:])
	if size != 56 || count == 0 || count > maxPhdrs {
		return nil, errors.New("malformed program headers")
	}
	table := make([]byte, int(size)*int(count))
	if _, err := u.mem.ReadAt(table, int64(base+off)); err != nil {
		return nil, fmt.Errorf("read program headers: %w", err)
	}
	if err := o.readHeaders(table, m); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *object) readHeaders(table []byte, m tracee.Mapping) error {
	type phdr struct {
		typ, flags             uint32
		off, va, filesz, memsz uint64
	}
	var loads []phdr
	var hdr *phdr
	for ; len(table) >= 56; table = table[56:] {
		p := phdr{
			binary.LittleEndian.Uint32(table), binary.LittleEndian.Uint32(table[4:]),
			binary.LittleEndian.Uint64(table[8:]), binary.LittleEndian.Uint64(table[16:]),
			binary.LittleEndian.Uint64(table[32:]), binary.LittleEndian.Uint64(table[40:]),
		}
		switch elf.ProgType(p.typ) {
		case elf.PT_LOAD:
			loads = append(loads, p)
		case elf.PT_GNU_EH_FRAME:
			hdr = &p
		}
	}
	// The segment that m shows says how far the object was moved.
	found := false
	for _, p := range loads {
		const page = 1<<16 - 1 // what linkers align to, or more
		if p.off&^page <= m.Offset && m.Offset < p.off+p.filesz && p.flags&uint32(elf.PF_X) != 0 {
			o.bias, found = m.Start-m.Offset+p.off-p.va, true
		}
	}
	if !found {
		return errors.New("no segment in its program headers is what is mapped")
	}
	o.start = ^uint64(0)
	for _, p := range loads {
		from, to := p.va+o.bias, p.va+p.memsz+o.bias
		o.start, o.end = min(o.start, from), max(o.end, to)
		o.loads = append(o.loads, image.Segment{Off: p.off, VA: from, Filesz: p.filesz, Memsz: p.memsz})
		if p.flags&uint32(elf.PF_X) != 0 {
			o.code = append(o.code, [2]uint64{from, to})
		}
	}
	if hdr != nil {
		o.readHdr(hdr.va + o.bias)
	}
	if o.table == nil && o.all == nil {
		o.readFrameSection()
	}
	return nil
}

// readFrameSection finds the call frame information of an object whose program headers
// do not name it, as of static programs, by the headers of the sections.
func (o *object) readFrameSection() {
	f, err := o.openFile()
	if err != nil {
		return
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return
	}
	if s := e.Section(".eh_frame"); s != nil && s.Flags&elf.SHF_ALLOC != 0 {
		o.all = o.u.readFrames(s.Addr+o.bias, s.Size)
	}
}

// readHdr reads the search table (LSB Core, ".eh_frame_hdr").
func (o *object) readHdr(at uint64) {
	const head = 4 + 3*8
	var b [head]byte
	if _, err := o.u.mem.ReadAt(b[:], int64(at)); err != nil {
		return
	}
	r := reader{data: b[:], addr: at}
	version, frame, count, table := r.u8(), r.u8(), r.u8(), r.u8()
	const relative4 = encData | 0x0b
	if version != 1 || frame == encOmit {
		return
	}
	section := r.pointer(frame, at)
	if count != encOmit && table == relative4 {
		n := r.pointer(count, at)
		if !r.failed && n <= maxTable {
			pairs := make([]byte, 8*n)
			if _, err := o.u.mem.ReadAt(pairs, int64(at+r.at)); err == nil {
				o.hdr, o.table = at, pairs
				return
			}
		}
	}
	// No table that can be searched: all of the section, which ends with a 0 or with
	// its segment.
	if !r.failed {
		o.all = o.u.readFrames(section, o.end-min(o.end, section))
	}
}

// readFrames reads the .eh_frame at an address that has at most limit bytes.
func (u *Unwinder) readFrames(at, limit uint64) []fde {
	const step = 1 << 20
	var data []byte
	for uint64(len(data)) < min(limit, maxSection) {
		b := make([]byte, min(step, limit-uint64(len(data))))
		n, err := u.mem.ReadAt(b, int64(at)+int64(len(data)))
		data = append(data, b[:n]...)
		if err != nil {
			break
		}
	}
	return (&section{data: data, addr: at}).index()
}

// has reports whether pc lies in the object's code.
func (o *object) has(pc uint64) bool {
	for _, c := range o.code {
		if c[0] <= pc && pc < c[1] {
			return true
		}
	}
	return false
}

// rowAt gives what the call frame information says of pc; neither a row nor a
// reason: nothing.
func (o *object) rowAt(pc uint64) (*row, string) {
	if r, ok := o.rows[pc]; ok {
		return r, ""
	}
	f, reason := o.frameAt(pc)
	if f == nil {
		return nil, reason
	}
	r, reason := f.repairedAt(pc)
	if r == nil {
		return nil, reason
	}
	if len(o.rows) >= maxRows {
		clear(o.rows)
	}
	o.rows[pc] = r
	return r, ""
}

// frameAt finds the entry that covers pc.
func (o *object) frameAt(pc uint64) (*fde, string) {
	if f, reason := o.search(pc); f != nil || reason != "" {
		return f, reason
	}
	if f, ok := find(o.all, pc); ok {
		return f, ""
	}
	if f, ok := find(o.debugFrames(), pc); ok {
		return f, ""
	}
	return nil, ""
}

// search uses the table of .eh_frame_hdr.
func (o *object) search(pc uint64) (*fde, string) {
	at := func(i int) (start, entry uint64) {
		b := o.table[8*i:]
		start = o.hdr + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
		return start, o.hdr + uint64(int64(int32(binary.LittleEndian.Uint32(b[4:]))))
	}
	i := sort.Search(len(o.table)/8, func(i int) bool { start, _ := at(i); return start > pc }) - 1
	if i < 0 {
		return nil, ""
	}
	start, entry := at(i)
	r, id, reason := o.u.readEntry(entry)
	if reason != "" || id == 0 {
		return nil, malformed
	}
	from := r.addr + r.at - 4 - id
	c, known := o.cies[from]
	if !known {
		cr, id, reason := o.u.readEntry(from)
		if reason == "" && id == 0 {
			c, reason = parseCIE(&cr)
		}
		if reason != "" || c == nil {
			return nil, max(reason, malformed[:0])
		}
		o.cies[from] = c
	}
	f, ok := parseFDE(&r, c, 0)
	if !ok || f.start != start {
		return nil, malformed
	}
	if pc >= f.end {
		return nil, ""
	}
	return &f, ""
}

// readEntry reads an entry of .eh_frame and its id.
func (u *Unwinder) readEntry(at uint64) (r reader, id uint64, reason string) {
	var b [4]byte
	if _, err := u.mem.ReadAt(b[:], int64(at)); err != nil {
		return r, 0, err.Error()
	}
	length := uint64(binary.LittleEndian.Uint32(b[:]))
	if length < 4 || length > maxEntry {
		return r, 0, malformed
	}
	data := make([]byte, 4+length)
	if _, err := u.mem.ReadAt(data, int64(at)); err != nil {
		return r, 0, err.Error()
	}
	r = reader{data: data, at: 4, addr: at}
	id = uint64(r.u32())
	return r, id, ""
}

// debugFrames reads .debug_frame from the object's file.
func (o *object) debugFrames() []fde {
	if o.debugRead {
		return o.debug
	}
	o.debugRead = true
	f, err := o.openFile()
	if err != nil {
		return nil
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return nil
	}
	s := e.Section(".debug_frame")
	if s == nil || s.Size > maxSection || s.FileSize > maxSection {
		return nil
	}
	data, err := s.Data()
	if err != nil {
		return nil
	}
	o.debug = (&section{data: data, bias: o.bias, debug: true}).index()
	return o.debug
}

// path is where the object's file is found.
func (o *object) path() string { return filepath.Join(o.u.o.Sysroot, o.file.Path) }

var errOtherFile = errors.New("its file is not there any more")

// openFile opens the object's file if it still is the one that is mapped.
func (o *object) openFile() (*os.File, error) {
	if o.file.Inode == 0 {
		return nil, errOtherFile
	}
	info, err := os.Stat(o.path())
	if err != nil {
		return nil, err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Ino != o.file.Inode || !info.Mode().IsRegular() {
		return nil, errOtherFile
	}
	return os.Open(o.path())
}

// image reads the object as the rest of nopal does, for its sites and symbols.
func (o *object) image() (*image.Image, error) {
	if o.im != nil || o.imErr != nil {
		return o.im, o.imErr
	}
	if o.file.Path == "[vdso]" {
		// All of its file is mapped.
		data := make([]byte, o.file.End-o.file.Start)
		if _, o.imErr = o.u.mem.ReadAt(data, int64(o.file.Start)); o.imErr == nil {
			o.im, o.imErr = image.New(bytes.NewReader(data), o.file.Path, image.Options{})
		}
		return o.im, o.imErr
	}
	f, err := o.openFile()
	if err != nil {
		o.imErr = err
		return nil, err
	}
	defer f.Close()
	o.im, o.imErr = image.New(f, o.file.Path, image.Options{Sysroot: o.u.o.Sysroot})
	return o.im, o.imErr
}

// text reads the code of a function.
func (o *object) text(from, to uint64) []uint32 {
	if to < from || to-from > maxFlow*insnSize {
		return nil
	}
	return o.textOf(from, to)
}

// textOf reads code as it was linked, without what has been changed since, if the
// object's file is still there.
func (o *object) textOf(from, to uint64) []uint32 {
	size := to - from
	b := make([]byte, size)
	if !o.fileText(b, from) {
		if _, err := o.u.mem.ReadAt(b, int64(from)); err != nil {
			return nil
		}
	}
	code := make([]uint32, size/insnSize)
	for i := range code {
		code[i] = binary.LittleEndian.Uint32(b[insnSize*i:])
	}
	return code
}

func (o *object) fileText(b []byte, from uint64) bool {
	f, err := o.openFile()
	if err != nil {
		return false
	}
	defer f.Close()
	for _, s := range o.loads {
		if at := from - s.VA; from >= s.VA && at < s.Filesz && uint64(len(b)) <= s.Filesz-at {
			_, err := f.ReadAt(b, int64(s.Off+at))
			return err == nil
		}
	}
	return false
}

// flowAt follows the function that pc lies in. There is none where its entry is not like that of
// a function, so that only its call frame information tells.
func (o *object) flowAt(pc uint64) *flow {
	e, _ := o.frameAt(pc)
	if e == nil || e.signal {
		return nil
	}
	if f, ok := o.flows[e.start]; ok {
		return f
	}
	if len(o.flows) >= maxFlows {
		clear(o.flows)
	}
	f := o.follow(e)
	o.flows[e.start] = f
	return f
}

// follow follows the function of an entry, from where it begins and from its landing
// pads, where exceptions come by the call frame information, with the stack pointer
// that the function has at its calls.
func (o *object) follow(e *fde) *flow {
	state := func(pc uint64) *flowState {
		if r, _ := e.repairedAt(pc); r != nil {
			if s, ok := stateOf(r); ok {
				return s
			}
		}
		return nil
	}
	code := o.text(e.start, e.end)
	begin := state(e.start)
	if len(code) == 0 || begin == nil {
		return nil
	}
	pads, landings := map[int]bool{}, map[int]*flowState{}
	for _, pad := range e.pads(o.u.mem) {
		s := state(pad)
		i := int((pad - e.start) / insnSize)
		if s == nil || i >= len(code) {
			return nil
		}
		pads[i], landings[i] = true, s
	}
	f := newFlow(e.start, code, begin, pads)
	if len(pads) > 0 {
		_, _, calls := f.sources()
		for _, s := range landings {
			if calls.any && s.reg[spColumn].kind == valueUnknown {
				s.reg[spColumn] = calls.frame.reg[spColumn]
			}
		}
		f.follow(landings)
	}
	f.fill(true)
	return f
}
