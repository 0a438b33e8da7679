package session

import (
	"os"
	"syscall"
	"testing"

	"nopal/internal/entry"
	"nopal/internal/ring"
)

// What is unmapped between planning and restoring does not keep the rest from being put back.
func TestRestoreUnmapped(t *testing.T) {
	const page = 4096
	mem := ownMemory(t)
	area, err := syscall.Mmap(-1, 0, 3*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	base := addressOf(area)
	// The first page is an island; two branches of x86-64 lead into it, to what is no stub, so that
	// the journal says what was in their places: five NOPs, of the kind of the loader's hook.
	state := ring.State{Islands: []entry.IslandEntry{{Addr: base, Size: page}}}
	for _, at := range []uint64{page + 16, 2*page + 16} {
		rel := uint32(base + 64 - (base + at + 5))
		copy(area[at:], []byte{0xe9, byte(rel), byte(rel >> 8), byte(rel >> 16), byte(rel >> 24)})
		state.Journal = append(state.Journal, ring.JournalEntry{Addr: base + at, Old: [2]uint32{0x90909090, 0x90 | 5<<8 | 3<<16}})
	}
	r := &remover{pid: os.Getpid(), machine: machineOf("amd64"), mem: mem, state: state}
	if err := r.plan(); err != nil || r.restored != 2 {
		t.Fatalf("%d planned, %v", r.restored, err)
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_MUNMAP, uintptr(base+2*page), page, 0); errno != 0 {
		t.Fatal(errno)
	}
	if err := r.restore(); err != nil {
		t.Fatal(err)
	}
	if got := area[page+16 : page+21]; string(got) != "\x90\x90\x90\x90\x90" {
		t.Errorf("% x is not put back", got)
	}
}
