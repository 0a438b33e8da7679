package probe

import "errors"

// Entry makes the code that slot 2 of a site calls, for t.At.
func (p *Program) Entry(t Target) ([]uint32, error) { return nil, errors.ErrUnsupported }

// Exit makes the code that the stub of a RET goes to, for t.At.
func (p *Program) Exit(t Target) ([]uint32, error) { return nil, errors.ErrUnsupported }

// Size is how many bytes of code Entry and Exit make at most, wherever it is.
func (p *Program) Size() int { return 0 }
