package analyze

import "nopal/trace"

// contexts says of calling contexts whether a Selection selects them, each
// once. So selecting by what is around a call costs next to nothing for each.
type contexts struct {
	sel   *Selection
	names *names
	calls *trace.Calls
	list  []context
}

// context is what a Selection says of a calling context.
type context struct {
	only      bool  // within a function of Only
	not       bool  // within one of Not
	selected  bool  //
	outer     bool  // no selected context is around it
	recursive bool  // a selected context around it is of the same function
	inside    bool  // or of the same object
	depth     int32 // from the function of Only
}

// of returns the context of a call.
func (c *contexts) of(call *trace.Call) context {
	if call.Node < 0 {
		// Its entry is missing, or there are only entries.
		v := c.names.site(c.calls.Recording().SiteByID(call.Site)).verdict
		selected := v.only && !v.not && (c.sel.Depth == 0 || int(call.Depth) < c.sel.Depth)
		return context{selected: selected, outer: selected}
	}
	if int(call.Node) >= len(c.list) {
		c.extend(call.Node)
	}
	return c.list[call.Node]
}

// extend works out the contexts up to one. A context comes after the one that
// it is called from.
func (c *contexts) extend(last int32) {
	for id := int32(len(c.list)); id <= last; id++ {
		n := c.calls.Node(id)
		parent := context{depth: -1}
		if n.Parent >= 0 {
			parent = c.list[n.Parent]
		}
		v := c.names.site(c.calls.Recording().SiteByID(n.Site)).verdict
		x := context{not: parent.not || v.not, only: parent.only || v.only && !v.not, depth: -1}
		if x.only && !x.not {
			x.depth = parent.depth + 1
			x.selected = c.sel.Depth == 0 || int(x.depth) < c.sel.Depth
		}
		x.outer = x.selected && !parent.selected
		if x.selected && !x.outer {
			c.look(&x, n)
		}
		c.list = append(c.list, x)
	}
}

// maxLook bounds the search for the same function further out. In a deep
// recursion it is found at once, and in a file made to be slow never.
const maxLook = 4096

// look finds out whether a function or object is around itself. The selected
// contexts around one are one run.
func (c *contexts) look(x *context, n trace.Node) {
	rec := c.calls.Recording()
	object := rec.SiteByID(n.Site).Object
	for id, i := n.Parent, 0; id >= 0 && i < maxLook && c.list[id].selected; i++ {
		out := c.calls.Node(id)
		x.inside = x.inside || rec.SiteByID(out.Site).Object == object
		if out.Site == n.Site {
			x.recursive = true
			return
		}
		id = out.Parent
	}
}
