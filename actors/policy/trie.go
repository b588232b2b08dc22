package policy

import "math/bits"

// trie matches names against many patterns at once. Literal segments or '*' lead to a node.
// A node has the caller's numbers for patterns that end there exactly and with '**'; 0
// means none. All edges are in one open-addressed table, so each step costs one probe,
// whatever the number of patterns.
type trie struct {
	nodes []trieNode
	edges []trieEdge
	count int
}

type trieNode struct {
	star  int32 // the child reached by '*'
	exact int32 // what a name that ends here matches
	rest  int32 // what a name that comes by here matches ('**')
	kids  bool  // there is a child by a literal segment
}

type trieEdge struct {
	parent, child int32 // child 0: a free place
	segment       string
}

// hashSegment mixes the first and the last eight bytes of short texts, and all of longer
// ones in strides, by multiplications of 64 to 128 bits (as wyhash does). Whoever writes
// the policy makes the table; a request only looks things up in it, so there is no flood
// of collisions to guard against.
func hashSegment(s string) uint64 {
	const m1, m2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	h := uint64(len(s)) ^ m1
	for len(s) > 16 {
		h = mix(word(s)^h, word(s[8:])^m2)
		s = s[16:]
	}
	switch n := len(s); {
	case n >= 8:
		return mix(word(s)^h, word(s[n-8:])^m2)
	case n >= 4:
		return mix(half(s)^h, half(s[n-4:])^m2)
	case n > 0:
		return mix(uint64(s[0])<<16|uint64(s[n>>1])<<8|uint64(s[n-1])^h, m2)
	}
	return mix(h, m2)
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

func edgePlace(parent int32, hash uint64) uint64 {
	return hash ^ uint64(uint32(parent))*0x9e3779b97f4a7c15
}

// newNode adds a node and returns its number, never 0.
func (t *trie) newNode() int32 {
	if len(t.nodes) == 0 {
		t.nodes = append(t.nodes, trieNode{})
	}
	t.nodes = append(t.nodes, trieNode{})
	return int32(len(t.nodes) - 1)
}

func (t *trie) child(parent int32, segment string, hash uint64) int32 {
	if len(t.edges) == 0 {
		return 0
	}
	mask := uint64(len(t.edges) - 1)
	for i := edgePlace(parent, hash) & mask; ; i = (i + 1) & mask {
		e := &t.edges[i]
		if e.child == 0 {
			return 0
		}
		if e.parent == parent && e.segment == segment {
			return e.child
		}
	}
}

func (t *trie) addChild(parent int32, segment string) int32 {
	hash := hashSegment(segment)
	if c := t.child(parent, segment, hash); c != 0 {
		return c
	}
	if t.count*4 >= len(t.edges)*3 {
		t.grow()
	}
	c := t.newNode()
	t.place(trieEdge{parent: parent, child: c, segment: segment}, hash)
	t.nodes[parent].kids = true
	t.count++
	return c
}

func (t *trie) grow() {
	old := t.edges
	t.edges = make([]trieEdge, max(8, 2*len(old)))
	for _, e := range old {
		if e.child != 0 {
			t.place(e, hashSegment(e.segment))
		}
	}
}

func (t *trie) place(e trieEdge, hash uint64) {
	mask := uint64(len(t.edges) - 1)
	i := edgePlace(e.parent, hash) & mask
	for t.edges[i].child != 0 {
		i = (i + 1) & mask
	}
	t.edges[i] = e
}

// slot returns the place below root where what the pattern matches is kept.
func (t *trie) slot(root int32, pattern string, sep byte) *int32 {
	n := root
	for rest, more := pattern, true; more; {
		var seg string
		seg, rest, more = cutSegment(rest, sep)
		switch seg {
		case wildRest:
			return &t.nodes[n].rest
		case wildOne:
			if t.nodes[n].star == 0 {
				star := t.newNode()
				t.nodes[n].star = star
			}
			n = t.nodes[n].star
		default:
			n = t.addChild(n, seg)
		}
	}
	return &t.nodes[n].exact
}

// hits are the numbers that a walk came upon; few of them need no memory of their own.
type hits struct {
	few  [8]int32
	many []int32
	n    int
}

func (h *hits) add(v int32) {
	if v == 0 {
		return
	}
	if h.n < len(h.few) {
		h.few[h.n] = v
	} else {
		h.many = append(h.many, v)
	}
	h.n++
}

func (h *hits) at(i int) int32 {
	if i < len(h.few) {
		return h.few[i]
	}
	return h.many[i-len(h.few)]
}

// all returns the numbers in a slice of their own.
func (h *hits) all() []int32 {
	numbers := make([]int32, h.n)
	for i := range numbers {
		numbers[i] = h.at(i)
	}
	return numbers
}

// walk adds to out all that matches the name, below node.
func (t *trie) walk(node int32, name string, sep byte, out *hits) {
	for more := true; ; {
		n := &t.nodes[node]
		out.add(n.rest)
		if !more {
			out.add(n.exact)
			return
		}
		var segment string
		segment, name, more = cutSegment(name, sep)
		literal := int32(0)
		if n.kids {
			literal = t.child(node, segment, hashSegment(segment))
		}
		switch {
		case n.star == 0 && literal == 0:
			return
		case n.star == 0:
			node = literal
		case literal == 0:
			node = n.star
		default:
			t.below(n.star, name, more, sep, out)
			node = literal
		}
	}
}

// below goes on with walk at a node, where more says whether any segment is left.
func (t *trie) below(node int32, name string, more bool, sep byte, out *hits) {
	if more {
		t.walk(node, name, sep, out)
		return
	}
	out.add(t.nodes[node].rest)
	out.add(t.nodes[node].exact)
}
