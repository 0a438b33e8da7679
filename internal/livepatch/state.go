package livepatch

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"

	"nopal/internal/entry"
	"nopal/internal/tracee"
)

// The state of a process's patches is in the process, in a private mapping of a memfd: the
// name is seen in its memory map, and a child of fork gets a copy.
//
//	0          header
//	4 KiB      entry.PatchControl
//	64 KiB     the table of threads that are on their way between both
//	1088 KiB   the table of threads that came by while others were gathered
//	1600 KiB   the document, twice: the header says which is valid
const (
	memfdName    = "nopal-patch"
	memfdPath    = "/memfd:" + memfdName
	stateMagic   = 0x686374617061706e // "npapatch"
	stateVersion = 1

	controlOff  = 4 << 10
	threadsOff  = 64 << 10
	baseOff     = threadsOff + 16<<maxTableBits
	documentOff = baseOff + 8<<maxTableBits
	// documentSize bounds how much there is to say about patches.
	documentSize = 1 << 20
	stateSize    = documentOff + 2*documentSize
)

// Offsets in the header.
const (
	headMagic   = 0
	headVersion = 8
	headActive  = 16 // which document is valid
	headLength  = 24 // of each
	headSum     = 40 // of each
	headWish    = 56 // what another nopal wants of the one that is at it
)

// Wishes.
const (
	wishNothing = 0
	wishRevert  = 1
)

// document says all about the patches of a process. It is JSON in memory: there is
// little of it, it is seldom written, and a nopal of another day can read it.
type document struct {
	Patches    []*patchState    `json:"patches"` // the oldest first
	Transition *transitionState `json:"transition,omitempty"`
	// Stale says that there has been a transition since all threads were seen outside
	// of the stubs' code.
	Stale bool `json:"stale,omitempty"`
	// Loader says how the dynamic linker is watched, or was.
	Loader *loaderState `json:"loader,omitempty"`
}

// States of a patch.
const (
	stateLoading    = "loading" // nothing leads to it yet
	stateTransition = "transition"
	stateApplied    = "applied"
	stateReverted   = "reverted"
	stateReplaced   = "replaced" // by one that supersedes all others
	statePending    = "pending"  // its object is not there
	stateUnloaded   = "unloaded" // its object has been there
)

// patchState is one patch. Addresses are those of the process.
type patchState struct {
	Name    string      `json:"name"`
	State   string      `json:"state"`
	Object  string      `json:"object"`
	BuildID string      `json:"build_id"`
	Bias    uint64      `json:"bias"`
	Island  Range       `json:"island"`
	Memory  []Range     `json:"memory"` // other memory of the patch
	Funcs   []funcState `json:"functions"`
	Frames  Range       `json:"frames"` // call frame information of the new code
	Calls   Callbacks   `json:"callbacks"`
	Replace bool        `json:"replace,omitempty"`
	// Known says that threads may make the code known to the program's unwinder, which
	// looks there for ever.
	Known bool `json:"known,omitempty"`
}

// funcState is one function that a patch replaces.
type funcState struct {
	Name string  `json:"name"`
	Site uint64  `json:"site"`
	Old  []Range `json:"old"` // the original function and its parts
	New  []Range `json:"new"` // the new one
	Stub uint64  `json:"stub"`
	// Body says that the redirect is the first instruction behind the site, and Word which
	// instruction stood there. They are the same in all patches of a function.
	Body bool   `json:"body,omitempty"`
	Word uint32 `json:"word"`
	// Original says that the new function is the one that the program was compiled with:
	// the patch supersedes one that replaced it.
	Original bool `json:"original,omitempty"`
}

// transitionState is the transition that is going on.
type transitionState struct {
	Patch string `json:"patch"`
	ToNew bool   `json:"to_new"`
	// Running says that the tables and the mode are valid; before, no stub asks.
	Running bool            `json:"running"`
	Pending []pendingThread `json:"pending,omitempty"`
}

// pendingThread is a thread that has not gone over.
type pendingThread struct {
	TID   int    `json:"tid"`
	Where string `json:"where"`
}

// state is the state in a process.
type state struct {
	mem  *tracee.Memory
	addr uint64
	doc  document
	next int // which document is written next
}

// findState gives the state that a process has, nil if it has none.
func findState(pid int, mem *tracee.Memory) (*state, error) {
	maps, err := tracee.Maps(pid)
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		if !strings.HasPrefix(m.Path, memfdPath) || m.Offset != 0 {
			continue
		}
		s := &state{mem: mem, addr: m.Start}
		if ok, err := s.load(); err != nil || ok {
			return s, err
		}
	}
	return nil, nil
}

// load reads the document. ok is false where none was ever written: nopal was killed
// before.
func (s *state) load() (ok bool, err error) {
	head := make([]byte, controlOff)
	if _, err := s.mem.ReadAt(head, int64(s.addr)); err != nil {
		return false, fmt.Errorf("read state of patches: %w", err)
	}
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(head[off:]) }
	if word(headMagic) != stateMagic {
		return false, nil
	}
	if v := word(headVersion); v != stateVersion {
		return false, fmt.Errorf("state of patches at %#x is of version %d, this nopal knows %d: use the one that applied them", s.addr, v, stateVersion)
	}
	active := int(word(headActive) & 1)
	length := word(headLength + 8*active)
	if length > documentSize {
		return false, fmt.Errorf("state of patches at %#x is damaged: %d bytes", s.addr, length)
	}
	text := make([]byte, length)
	if _, err := s.mem.ReadAt(text, int64(s.addr+documentOff+uint64(active)*documentSize)); err != nil {
		return false, fmt.Errorf("read state of patches: %w", err)
	}
	if sum := uint64(crc32.ChecksumIEEE(text)); sum != word(headSum+8*active) {
		return false, fmt.Errorf("state of patches at %#x is damaged: checksum %#x", s.addr, sum)
	}
	s.doc = document{}
	if err := json.Unmarshal(text, &s.doc); err != nil {
		return false, fmt.Errorf("read state of patches at %#x: %w", s.addr, err)
	}
	s.next = 1 - active
	return true, nil
}

// save writes the document. The last store makes it the valid one.
func (s *state) save() error {
	text, err := json.Marshal(&s.doc)
	if err != nil {
		return fmt.Errorf("write state of patches: %w", err)
	}
	if len(text) > documentSize {
		return fmt.Errorf("write state of patches: %d bytes, more than %d: too many functions are replaced", len(text), documentSize)
	}
	at := s.addr + documentOff + uint64(s.next)*documentSize
	if _, err := s.mem.WriteAt(text, int64(at)); err != nil {
		return fmt.Errorf("write state of patches: %w", err)
	}
	for _, w := range [][2]uint64{
		{headLength + 8*uint64(s.next), uint64(len(text))},
		{headSum + 8*uint64(s.next), uint64(crc32.ChecksumIEEE(text))},
		{headActive, uint64(s.next)},
	} {
		if err := s.put(w[0], w[1]); err != nil {
			return err
		}
	}
	s.next = 1 - s.next
	return nil
}

// create writes the first document into fresh memory.
func (s *state) create() error {
	if err := s.save(); err != nil {
		return err
	}
	if err := s.put(headVersion, stateVersion); err != nil {
		return err
	}
	return s.put(headMagic, stateMagic)
}

// put writes a word of the state, by one store.
func (s *state) put(off, value uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], value)
	if _, err := s.mem.WriteAt(b[:], int64(s.addr+off)); err != nil {
		return fmt.Errorf("write state of patches: %w", err)
	}
	return nil
}

func (s *state) get(off uint64) (uint64, error) {
	w, err := s.mem.ReadUint64(s.addr + off)
	if err != nil {
		err = fmt.Errorf("read state of patches: %w", err)
	}
	return w, err
}

// control is the address of the entry.PatchControl.
func (s *state) control() uint64 { return s.addr + controlOff }

// patch gives the patch of a name that is not reverted, or else the last one.
func (d *document) patch(name string) *patchState {
	var found *patchState
	for _, p := range d.Patches {
		if p.Name == name && (found == nil || !p.over() || found.over()) {
			found = p
		}
	}
	return found
}

// active are the patches that functions lead to, the newest first.
func (d *document) active() []*patchState {
	var list []*patchState
	for _, p := range d.Patches {
		if p.State == stateApplied || p.State == stateTransition {
			list = append([]*patchState{p}, list...)
		}
	}
	return list
}

// giveUp makes a patch one that was reverted which has not been loaded completely: what there is
// of its memory stays, as it is not known what is, and what others have put there since.
func (p *patchState) giveUp() {
	p.State, p.Funcs, p.Memory, p.Island, p.Frames = stateReverted, nil, nil, Range{}, Range{}
}

// function gives what a patch says of the function at a site.
func (p *patchState) function(site uint64) *funcState {
	for i := range p.Funcs {
		if p.Funcs[i].Site == site {
			return &p.Funcs[i]
		}
	}
	return nil
}

// stubs is how many stubs the function takes: one of the original needs a second one whose old
// way is its new one.
func (f *funcState) stubs() uint64 {
	if f.Original {
		return 2
	}
	return 1
}

func (f *funcState) original() uint64 { return f.Stub + entry.PatchStubSize }

// over reports whether nothing leads to a patch any more.
func (p *patchState) over() bool {
	return p.State == stateReverted || p.State == stateReplaced || p.State == stateUnloaded
}

// redirect is the address of the instruction that leads to the stub.
func (f *funcState) redirect() uint64 {
	if f.Body {
		return f.Site + bodyOffset
	}
	return f.Site + slot2Offset
}

const (
	slot2Offset = 4
	bodyOffset  = 8
)

func (r Range) contains(addr uint64) bool { return addr-r.Addr < r.Size }
