package livepatch

import (
	"debug/elf"
	"fmt"
	"slices"

	"nopal/internal/sys"
	"nopal/internal/tracee"
)

// hasObject reports whether the object of a patch is mapped.
func (p *process) hasObject(patch *Patch) bool { return p.objectOf(patch) != nil }

func (p *process) objectOf(patch *Patch) *loadedObject {
	for i := range p.objects {
		if p.objects[i].Image.BuildID == patch.Target.BuildID {
			return &p.objects[i]
		}
	}
	return nil
}

// lookAgain finds the objects that are mapped now.
func (p *process) lookAgain() error {
	now, err := objectsOf(p.pid)
	if err != nil {
		return err
	}
	p.closeObjects()
	p.objects = now
	return nil
}

// notePending notes that a patch waits for its object.
func (p *process) notePending(patch *Patch) error {
	doc := &p.state.doc
	q := &patchState{Name: patch.Name, State: statePending, Object: patch.Target.Path, BuildID: patch.Target.BuildID}
	for i, old := range doc.Patches {
		if old.Name == q.Name && (old.State == statePending || old.over()) {
			doc.Patches = append(doc.Patches[:i:i], doc.Patches[i+1:]...)
			break
		}
	}
	doc.Patches = append(doc.Patches, q)
	return p.state.save()
}

// forgetPending forgets a patch that waits for its object.
func (p *process) forgetPending(name string) error {
	doc := &p.state.doc
	n := len(doc.Patches)
	doc.Patches = slices.DeleteFunc(doc.Patches, func(q *patchState) bool { return q.Name == name && q.State == statePending })
	if len(doc.Patches) == n {
		return nil
	}
	return p.state.save()
}

// relocated lets the thread that loads the object of a patch go on until all relocations of
// that are made. The loader write-protects what only they change then (PT_GNU_RELRO).
func (p *process) relocated(th *tracee.Thread, patch *Patch) error {
	if is, err := p.isRelocated(patch); err != nil || is {
		return err
	}
	at, size, err := p.relro(patch)
	if err != nil {
		return err
	}
	if size == 0 {
		return fmt.Errorf("%s does not show when its relocations are made", patch.Target.Path)
	}
	return th.RunPast(func(r *tracee.Regs) bool {
		a := argumentsOf(r)
		return syscallOf(r) == sys.NrMprotect && a[0] <= at && at < a[0]+a[1] && a[2] == sys.ProtRead
	}, hookPatience)
}

// isRelocated reports whether all relocations of an object are known to be made.
func (p *process) isRelocated(patch *Patch) (bool, error) {
	at, size, err := p.relro(patch)
	if err != nil || size == 0 {
		return false, err
	}
	maps, err := tracee.Maps(p.pid)
	if err != nil {
		return false, err
	}
	for _, m := range maps {
		if at >= m.Start && at < m.End {
			return m.Perms[1] != 'w', nil
		}
	}
	return false, nil
}

// relro gives the pages that the loader write-protects when all relocations of an object are made,
// as its program headers say.
func (p *process) relro(patch *Patch) (at, size uint64, err error) {
	o := p.objectOf(patch)
	if o == nil || len(o.Image.Segments) == 0 {
		return 0, 0, ErrNoTarget
	}
	aux, err := tracee.Auxv(p.pid)
	if err != nil {
		return 0, 0, err
	}
	const (
		offset, entries = 32, 56 // e_phoff, e_phnum
		entrySize       = 56
		vaddr, memsz    = 16, 40 // in a program header
	)
	base := o.Image.Segments[0].VA - o.Image.Segments[0].Off + o.Bias
	var head [64]byte
	if _, err := p.mem.ReadAt(head[:], int64(base)); err != nil {
		return 0, 0, fmt.Errorf("read program headers of %s: %w", o.Image.Path, err)
	}
	headers := make([]byte, entrySize*int(le.Uint16(head[entries:])))
	if _, err := p.mem.ReadAt(headers, int64(base+le.Uint64(head[offset:]))); err != nil {
		return 0, 0, fmt.Errorf("read program headers of %s: %w", o.Image.Path, err)
	}
	for ; len(headers) >= entrySize; headers = headers[entrySize:] {
		if elf.ProgType(le.Uint32(headers)) != elf.PT_GNU_RELRO {
			continue
		}
		page := aux.PageSize()
		begin := le.Uint64(headers[vaddr:]) + o.Bias
		end := (begin + le.Uint64(headers[memsz:])) &^ (page - 1)
		if begin &^= page - 1; begin < end {
			return begin, end - begin, nil
		}
	}
	return 0, 0, nil
}

// objectCache keeps the objects of a process that were seen, so that a look at what is new
// is short.
type objectCache struct {
	known   map[objectKey]loadedObject
	refused map[objectKey]bool
}

type objectKey struct {
	start, end, inode uint64
	path              string
}

// all gives the objects that are mapped now.
func (c *objectCache) all(pid int) (list []loadedObject, err error) {
	maps, err := tracee.Maps(pid)
	if err != nil {
		return nil, err
	}
	if c.known == nil {
		c.known, c.refused = map[objectKey]loadedObject{}, map[objectKey]bool{}
	}
	there := map[objectKey]bool{}
	for _, m := range maps {
		k := objectKey{m.Start, m.End, m.Inode, m.Path}
		there[k] = true
		if o, ok := c.known[k]; ok {
			list = append(list, o)
			continue
		}
		if c.refused[k] {
			continue
		}
		o, ok := openMapping(pid, m)
		if !ok {
			c.refused[k] = true
			continue
		}
		c.known[k] = o
		list = append(list, o)
	}
	for k, o := range c.known {
		if !there[k] {
			o.Image.Close()
			delete(c.known, k)
		}
	}
	for k := range c.refused {
		if !there[k] {
			delete(c.refused, k)
		}
	}
	return list, nil
}

func (c *objectCache) close() {
	for _, o := range c.known {
		o.Image.Close()
	}
}
