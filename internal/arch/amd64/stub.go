package amd64

import "encoding/binary"

// A stub is where the jump at a function's entry leads, one for each function. What
// happens at the function is switched in it, while threads run it, by exchanging one of
// two aligned words, each of which holds one whole instruction that changes:
//
//	+0   lea  rsp, [rsp-8]    or   jmp  body      switched on, or off
//	+5   mov  [rsp], r11
//	+9   lea  r11, [rip+16]        the stub's data, at +32
//	+16  call target          or   jmp  target    the trampoline
//	+21  pop  r11                  the tail: on to the function
//	+23  jmp  body
//	+32  data
//
// LEA changes no flags and the trampolines give them back, so a function finds all
// registers as its caller left them, r11 included. Below the stack pointer is nothing at
// a function's entry (System V ABI, AMD64 supplement, 3.2.2: the red zone is the
// function's own).
//
// An aligned store of 8 bytes is seen whole (Manual, volume 3, 9.1.1), and fetches of
// instructions see it whole too as long as it lies in one cache line: the common
// practice of just-in-time compilers (Manual, volume 3, 9.1.3 has other cores
// serialise, which is not in our hands and which all known processors do without where
// only an operand or a whole instruction in one line changes).
const (
	StubSize  = 64
	StubAlign = 64

	StubEnter  = 0  // offset of the word that switches the stub on or off
	StubSwitch = 16 // offset of the word that says which trampoline
	StubTail   = 21 // offset of the way on to the function
	StubData   = 32 // offset of StubWords, by r11
)

// Offsets in a stub of its data.
const (
	StubIndex = StubData      // the code position of its event
	StubBody  = StubData + 8  // address of the function's body
	StubExit  = StubData + 16 // the code position of its exit, or where it is counted
	StubOld   = StubData + 24 // the bytes that the jump to the stub has replaced
)

// stubCode is a stub that is on, without its branches.
var stubCode = [StubData]byte{
	0x48, 0x8d, 0x64, 0x24, 0xf8, // lea rsp, [rsp-8]
	0x4c, 0x89, 0x1c, 0x24, // mov [rsp], r11
	0x4c, 0x8d, 0x1d, 0x10, 0, 0, 0, // lea r11, [rip+16]
	0, 0, 0, 0, 0, // call or jmp
	0x41, 0x5b, // pop r11
	0, 0, 0, 0, 0, // jmp body
	0xcc, 0xcc, 0xcc, 0xcc,
}

// mask5 selects the bytes of a branch in a word.
const mask5 = 1<<40 - 1

// Stub is what a stub is made of.
type Stub struct {
	At     uint64 // its address
	Body   uint64
	Target uint64 // trampoline; 0: none yet
	Call   bool   // that is called, not jumped to
	On     bool
	Index  uint64
	Exit   uint64
	Old    uint64
}

// Put writes the stub to code, which has StubSize bytes.
func (s *Stub) Put(code []byte) error {
	copy(code, stubCode[:])
	back, err := EncodeJmp(s.At+StubTail+2, s.Body)
	if err != nil {
		return err
	}
	for i := range JumpSize {
		code[StubTail+2+i] = byte(back >> (8 * i))
	}
	enter, err := s.EnterWord()
	if err != nil {
		return err
	}
	put64(code[StubEnter:], enter)
	to, err := s.SwitchWord(binary.LittleEndian.Uint64(code[StubSwitch:]))
	if err != nil {
		return err
	}
	put64(code[StubSwitch:], to)
	put64(code[StubIndex:], s.Index)
	put64(code[StubBody:], s.Body)
	put64(code[StubExit:], s.Exit)
	put64(code[StubOld:], s.Old)
	return nil
}

// EnterWord is the stub's first word.
func (s *Stub) EnterWord() (uint64, error) {
	on := binary.LittleEndian.Uint64(stubCode[:])
	if s.On {
		return on, nil
	}
	jmp, err := EncodeJmp(s.At+StubEnter, s.Body)
	return on&^mask5 | jmp, err
}

// SwitchWord is the word with the branch to the trampoline; old is what is in its place,
// of which the rest stays.
func (s *Stub) SwitchWord(old uint64) (uint64, error) {
	to, encode := s.Target, EncodeJmp
	switch {
	case to == 0:
		to = s.At + StubTail // past any
	case s.Call:
		encode = EncodeCall
	}
	branch, err := encode(s.At+StubSwitch, to)
	return old&^mask5 | branch, err
}

// ParseStub reads a stub at address at. ok is false if code is none.
func ParseStub(at uint64, code []byte) (s Stub, ok bool) {
	if len(code) < StubSize {
		return s, false
	}
	word := func(off int) uint64 { return binary.LittleEndian.Uint64(code[off:]) }
	s = Stub{At: at, Index: word(StubIndex), Body: word(StubBody), Exit: word(StubExit), Old: word(StubOld)}
	target, call, isBranch := BranchTarget(at+StubSwitch, word(StubSwitch))
	if !isBranch {
		return s, false
	}
	s.On = code[StubEnter] != opJmp
	if target != at+StubTail {
		s.Target, s.Call = target, call
	}
	// What it would be written as is what it has to be.
	var want [StubSize]byte
	if err := s.Put(want[:]); err != nil {
		return s, false
	}
	return s, string(want[:]) == string(code[:StubSize])
}
