package tracee

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
)

// A program of another machine is not handed to the shell, as a script would be.
func TestLaunchForeign(t *testing.T) {
	header := make([]byte, 64)
	copy(header, "\x7fELF\x02\x01\x01")
	binary.LittleEndian.PutUint16(header[16:], 2)   // ET_EXEC
	binary.LittleEndian.PutUint16(header[18:], 243) // EM_RISCV
	binary.LittleEndian.PutUint32(header[20:], 1)
	binary.LittleEndian.PutUint16(header[52:], 64)
	path := t.TempDir() + "/riscv"
	if err := os.WriteFile(path, header, 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := newTestTracer(t).Launch(testContext(t), LaunchOptions{Path: path, Argv: []string{path}})
	if !errors.Is(err, ErrArchitecture) || !strings.Contains(err.Error(), "RISCV") {
		t.Errorf("%v; want an error that names the machine", err)
	}
}
