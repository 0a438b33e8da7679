package trace

// nodeTable numbers calling contexts. It is a hash table of its own for the
// same reason as siteTable.
type nodeTable struct {
	wanted bool
	list   []Node
	slots  []int32 // node + 1; a power of two, at most half used
	shift  uint
}

// nodeCost is the memory of a node.
const nodeCost = 24

// child returns the context of a function called in context parent.
func (t *nodeTable) child(rec *Recording, parent, site int32) (int32, error) {
	if 2*len(t.list) >= len(t.slots) {
		t.grow()
	}
	i := t.slot(parent, site)
	for ; t.slots[i] != 0; i = (i + 1) & (len(t.slots) - 1) {
		n := t.slots[i] - 1
		if t.list[n] == (Node{parent, site}) {
			return n, nil
		}
	}
	t.list = append(t.list, Node{parent, site})
	t.slots[i] = int32(len(t.list))
	return int32(len(t.list) - 1), rec.spend(nodeCost)
}

func (t *nodeTable) slot(parent, site int32) int {
	return int((uint64(uint32(parent))<<32 | uint64(uint32(site))) * 0x9e3779b97f4a7c15 >> (t.shift & 63))
}

func (t *nodeTable) grow() {
	n := max(1024, 2*len(t.slots))
	t.slots = make([]int32, n)
	t.shift = 64
	for ; n > 1; n /= 2 {
		t.shift--
	}
	for k := range t.list {
		i := t.slot(t.list[k].Parent, t.list[k].Site)
		for t.slots[i] != 0 {
			i = (i + 1) & (len(t.slots) - 1)
		}
		t.slots[i] = int32(k + 1)
	}
}
