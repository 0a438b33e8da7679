package livepatch

import (
	"errors"
	"fmt"
	"os"
)

// Patch is what a .npz file holds.
type Patch struct {
	Name    string
	Target  Target
	Replace bool // supersedes all patches of its target

	funcs []Func
}

// Target names the object that a patch is for.
type Target struct {
	Path    string // of the file it was built against
	Soname  string // of a shared library that has one
	BuildID string // hexadecimal
}

// Func is a function that a patch replaces. Addresses are link-time addresses of
// the target.
type Func struct {
	Name           string // the raw symbol
	OldVA, OldSize uint64
	SiteVA         uint64      // of slot 1
	OldHash        [32]byte    // SHA-256 of the old function's bytes in the file
	Extra          [][2]uint64 // [begin, end) of parts that the compiler moved away (name.cold)
}

// ErrNotPatch is returned for a file that is no patch at all.
var ErrNotPatch = errors.New("not a nopal patch")

// Open reads and checks a patch. The file may come from anybody.
func Open(path string) (*Patch, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open patch: %w", err)
	}
	return nil, fmt.Errorf("open patch %s: %w", path, ErrNotPatch)
}

// Functions gives the functions that the patch replaces, by address. The caller
// must not change them.
func (p *Patch) Functions() []Func { return p.funcs }

// Verify checks the signature of the patch against a public key: the key itself
// or the name of a file that holds it, both as minisign has them.
func (p *Patch) Verify(pubkey string) error {
	return fmt.Errorf("verify patch %s with %s: it is not signed", p.Name, pubkey)
}
