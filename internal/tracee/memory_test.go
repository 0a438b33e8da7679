package tracee

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"nopal/internal/sys"
)

func TestMemory(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "spin", "1")
	m, err := OpenMemory(g.pid)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	at := symbol(t, "tick")
	old := make([]byte, 16)
	if _, err := m.ReadAt(old, int64(at)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(make([]byte, 8), 0); !errors.Is(err, syscall.EFAULT) {
		t.Errorf("read at 0: %v", err)
	}
	p, err := tr.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Text is not writable; the kernel makes a copy of the page for us.
	for _, write := range []func([]byte) error{
		func(b []byte) error { _, err := p.WriteAt(b, int64(at)+3); return err },
		func(b []byte) error { return p.Poke(b, at+3) },
	} {
		text := []byte("any text")
		if err := write(text); err != nil {
			t.Fatal(err)
		}
		now := make([]byte, 16)
		if _, err := m.ReadAt(now, int64(at)); err != nil {
			t.Fatal(err)
		}
		want := append(append(bytes.Clone(old[:3]), text...), old[11:]...)
		if !bytes.Equal(now, want) {
			t.Errorf("memory is %q, want %q", now, want)
		}
		if err := write(old[3:11]); err != nil {
			t.Fatal(err)
		}
	}
	// What neither way can write says so.
	if _, err := p.WriteAt([]byte{1}, 8); !errors.Is(err, syscall.EFAULT) {
		t.Errorf("write at 8: %v", err)
	}
	// /proc/PID/mem refused, as with proc_mem.force_override=never.
	p.mem.mu.Lock()
	file := p.mem.file
	p.mem.file, p.mem.err = nil, syscall.EACCES
	p.mem.mu.Unlock()
	if _, err := p.Memory().WriteAt(old, int64(at)); err != nil {
		t.Errorf("without /proc/PID/mem: %v", err)
	}
	p.mem.mu.Lock()
	p.mem.file = file
	p.mem.mu.Unlock()
	if err := p.Detach(ctx); err != nil {
		t.Fatal(err)
	}
	leave(t, m)
	if _, err := p.WaitExit(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := m.ReadAt(old, int64(at)); !errors.Is(err, ErrExited) {
		t.Errorf("read after the end: %v", err)
	}
	if _, err := m.WriteAt(old, int64(at)); !errors.Is(err, ErrExited) {
		t.Errorf("write after the end: %v", err)
	}
}

// A memfd made in the process is the same memory here and there.
func TestRemoteMemfd(t *testing.T) {
	needRoot(t)
	ctx := testContext(t)
	tr := newTestTracer(t)
	g := start(t, "spin", "1")
	p, err := tr.Attach(ctx, g.pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 16
	scratch, err := p.Mmap(ctx, 0, size, sys.ProtRead|sys.ProtWrite, sys.MapPrivate|sys.MapAnonymous, -1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("ring\x00"), int64(scratch)); err != nil {
		t.Fatal(err)
	}
	fd, err := p.Syscall(ctx, sys.NrMemfdCreate, scratch, sys.MemfdCloexec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Syscall(ctx, sys.NrFtruncate, fd, size); err != nil {
		t.Fatal(err)
	}
	there, err := p.Mmap(ctx, 0, size, sys.ProtRead|sys.ProtWrite, sys.MapShared, int(fd), 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.OpenRemoteFD(int(fd))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	here, err := sys.MapSharedFile(int(f.Fd()), 0, size)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.CloseFD(ctx, int(fd)), p.Munmap(ctx, scratch, size)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WriteAt([]byte("hello"), int64(there)+size-5); err != nil {
		t.Fatal(err)
	}
	if got := string(here[size-5:]); got != "hello" {
		t.Errorf("the shared memory has %q", got)
	}
	if err := sys.Unmap(here); err != nil {
		t.Error(err)
	}
	if err := errors.Join(p.Munmap(ctx, there, size), p.Detach(ctx)); err != nil {
		t.Error(err)
	}
}

func TestProc(t *testing.T) {
	pid := os.Getpid()
	maps, err := Maps(pid)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := Exe(pid)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for i, m := range maps {
		if m.Start >= m.End || i > 0 && m.Start < maps[i-1].End {
			t.Errorf("mapping %+v", m)
		}
		if m.Path == exe && m.Executable() {
			found["exe"] = true
		}
		found[m.Path] = true
	}
	if !found["exe"] || !found["[stack]"] || !found["[vdso]"] {
		t.Errorf("maps %v", found)
	}
	aux, err := Auxv(pid)
	if err != nil {
		t.Fatal(err)
	}
	if int(aux.PageSize()) != os.Getpagesize() || aux[AtEntry] == 0 || aux[AtPhdr] == 0 {
		t.Errorf("auxiliary vector %v", aux)
	}
	s, err := Status(pid)
	if err != nil {
		t.Fatal(err)
	}
	if s.Pid != pid || s.Tgid != pid || s.PPid != os.Getppid() || s.Uid != os.Geteuid() || s.Threads < 2 {
		t.Errorf("status %+v", s)
	}
	if args, err := Cmdline(pid); err != nil || len(args) != len(os.Args) || args[0] != os.Args[0] {
		t.Errorf("command line %q, %v", args, err)
	}
	for _, f := range []func(int) error{
		func(pid int) error { _, err := Maps(pid); return err },
		func(pid int) error { _, err := Auxv(pid); return err },
		func(pid int) error { _, err := Status(pid); return err },
		func(pid int) error { _, err := Tasks(pid); return err },
		func(pid int) error { _, err := Exe(pid); return err },
		func(pid int) error { _, err := Comm(pid); return err },
		func(pid int) error { _, err := Cmdline(pid); return err },
		func(pid int) error { _, err := OpenMemory(pid); return err },
	} {
		if err := f(1<<22 + 1); !errors.Is(err, ErrNoProcess) {
			t.Errorf("%v, want %v", err, ErrNoProcess)
		}
	}
}

func TestParseMaps(t *testing.T) {
	maps, err := parseMaps("aaaad0000000-aaaad0001000 r-xp 00002000 fe:01 123   /tmp/a b\\012c (deleted)\n" +
		"ffff0000-ffff1000 rw-p 00000000 00:00 0 \n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Mapping{
		{0xaaaad0000000, 0xaaaad0001000, "r-xp", 0x2000, "fe:01", 123, "/tmp/a b\nc (deleted)"},
		{0xffff0000, 0xffff1000, "rw-p", 0, "00:00", 0, ""},
	}
	if len(maps) != 2 || maps[0] != want[0] || maps[1] != want[1] {
		t.Errorf("%+v", maps)
	}
	for _, bad := range []string{"x", "1-2 r-xp 0 0:0", "g-2 r-xp 0 0:0 0", "1-2 r-xp 0 0:0 x /f"} {
		if _, err := parseMaps(bad); err == nil {
			t.Errorf("%q is no map", bad)
		}
	}
}

func TestCheckMachine(t *testing.T) {
	head := func(class, data, lo, hi byte) (b [20]byte) {
		copy(b[:], "\x7fELF")
		b[4], b[5], b[18], b[19] = class, data, lo, hi
		return b
	}
	for _, bad := range [][20]byte{head(1, 1, 40, 0), head(1, 1, 3, 0), head(2, 1, 243, 0), head(2, 2, 0, 183)} {
		if err := checkMachine(bad); !errors.Is(err, ErrArchitecture) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if err := checkArchitecture(os.Getpid()); err != nil {
		t.Errorf("our own: %v", err)
	}
}
