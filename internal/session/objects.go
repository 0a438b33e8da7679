package session

import (
	"fmt"
	"path/filepath"
	"strings"

	"nopal/internal/ftrace"
	"nopal/internal/image"
	"nopal/internal/tracee"
)

// object is an object file mapped into a target.
type object struct {
	path       string
	im         *image.Image
	bias       uint64 // address - link-time address
	start, end uint64 // of its executable mapping
	index      uint64 // of the code position at start; 0: none given yet
	exitIndex  uint64 // the same for exits
	island     uint64 // address of its copy of the entry code; 0: none
	islandSize uint64 // bytes
	stubs      uint64 // bytes of the stubs of its exits, behind the entry code
	own        []*ownCode
	rules      []*ruleCode
	ownSize    uint32 // bytes of what is made for single functions, behind the stubs
	traced     *ftrace.Object
	wanted     int    // sites that an ops wanted when it was found
	written    bool   // its range stands in the recording
	noted      []bool // which of the records are in the journal
}

// key tells objects apart: one file may be mapped at several places.
type key struct {
	path  string
	start uint64
}

func (o *object) key() key { return key{o.path, o.start} }

// SiteNames gives the raw and demangled name of a site's function.
func (o *object) SiteNames(site int) (raw, demangled string) {
	s := o.im.Sites()[site]
	raw = o.im.SiteName(s)
	return raw, image.Demangle(raw)
}

// imageCache opens each file once, however many processes map it.
type imageCache struct {
	images map[string]*image.Image
	failed map[string]bool
}

func newImageCache() *imageCache {
	return &imageCache{images: map[string]*image.Image{}, failed: map[string]bool{}}
}

// open returns the image behind an executable mapping, or nil if it is none that
// can be traced: not an ELF file, or none that can be read any more.
func (c *imageCache) open(pid int, m tracee.Mapping) *image.Image {
	id := fmt.Sprintf("%s:%d:%s", m.Dev, m.Inode, m.Path)
	if im := c.images[id]; im != nil {
		return im
	}
	if c.failed[id] {
		return nil
	}
	im, err := image.OpenMapped(pid, m.Path, m.Start, m.End)
	if err != nil {
		c.failed[id] = true
		return nil
	}
	c.images[id] = im
	return im
}

// scan lists the objects that a process has mapped, without sites filled in.
func (c *imageCache) scan(pid int, maps []tracee.Mapping) []*object {
	var list []*object
	for _, m := range maps {
		if !m.Executable() || m.Inode == 0 || !strings.HasPrefix(m.Path, "/") || strings.HasPrefix(m.Path, memfdPrefix) {
			continue
		}
		im := c.open(pid, m)
		if im == nil {
			continue
		}
		bias, ok := im.Bias(m.Start, m.End, m.Offset)
		if !ok {
			continue
		}
		list = append(list, &object{path: im.Path, im: im, bias: bias, start: m.Start, end: m.End})
	}
	return list
}

// records are the sites of o that lie in its mapping.
func (o *object) records() []ftrace.Record {
	sites := o.im.Sites()
	list := make([]ftrace.Record, 0, len(sites))
	for i := range sites {
		s := &sites[i]
		addr, body := s.Addr+o.bias, s.Body+o.bias
		if addr < o.start || body > o.end {
			continue
		}
		r := ftrace.Record{Addr: addr, Body: body, Site: i, Reason: s.Reason}
		if s.Short != 0 {
			r.Short = s.Short + o.bias
		}
		list = append(list, r)
	}
	return list
}

func (o *object) String() string { return filepath.Base(o.path) }
