package policy

import (
	"math/bits"
	"slices"
	"strings"
)

// trieNode is a node of a persistent trie that matches names against many patterns at once.
// A literal segment leads to another node by its blocks, of which most segments have one. '*'
// and prefixes lead there through wild. E is what the caller keeps for a pattern. A nil node
// is an empty trie. A node that holds nothing is dropped. A node fills a cache line.
type trieNode[E any] struct {
	rest  *E        // of patterns that end here with '**'
	exact *E        // of patterns that end here
	set   uint64    // bit i: there is a kid whose hash has these six bits
	kids  []kid[E]  // one for each bit, in order
	wild  *wilds[E] // nil if there are none
	own   *token
}

// kid is the node that a block leads to. Blocks that share six bits share a kid with the
// block branch, whose node tells them apart by the next six bits.
type kid[E any] struct {
	block block
	node  *trieNode[E]
}

// wilds are the nodes that wildcard segments of one node lead to. They do not change.
type wilds[E any] struct {
	star   *trieNode[E]
	prefix *prefixes[E]
}

// prefixes are the nodes that segments with a prefix wildcard lead to. They do not change.
type prefixes[E any] struct {
	nodes   hamt[name, *trieNode[E]]
	lengths []prefixLength // sorted
}

// prefixLength counts the prefixes of one length.
type prefixLength struct{ length, count int }

// kept returns the node, or nil if it holds nothing.
func (n *trieNode[E]) kept() *trieNode[E] {
	if n.exact == nil && n.rest == nil && n.wild == nil && n.set == 0 {
		return nil
	}
	return n
}

// owned returns the node if this edit made it, or a copy that it may change.
func (n *trieNode[E]) owned(own *token) *trieNode[E] {
	if n == nil {
		return &trieNode[E]{own: own}
	}
	if n.own == own {
		return n
	}
	c := *n
	c.own, c.kids = own, slices.Clone(n.kids)
	return &c
}

// change replaces what is kept for the pattern below n by what f returns, nil to remove it.
// f is given what is kept, nil if there is nothing.
func (n *trieNode[E]) change(own *token, pattern string, sep byte, f func(*E) *E) *trieNode[E] {
	return n.changeBelow(own, pattern, true, sep, f)
}

func (n *trieNode[E]) changeBelow(own *token, pattern string, more bool, sep byte, f func(*E) *E) *trieNode[E] {
	n = n.owned(own)
	if !more {
		n.exact = f(n.exact)
		return n.kept()
	}
	segment, pattern, more := cutSegment(pattern, sep)
	switch {
	case segment == wildRest:
		n.rest = f(n.rest)
	case strings.HasSuffix(segment, wildOne):
		n.changeWild(own, segment[:len(segment)-1], func(next *trieNode[E]) *trieNode[E] {
			return next.changeBelow(own, pattern, more, sep, f)
		})
	default:
		n.changeLiteral(own, segment, sep, func(next *trieNode[E]) *trieNode[E] {
			return next.changeBelow(own, pattern, more, sep, f)
		})
	}
	return n.kept()
}

// changeWild changes the node of a prefix, "" for '*'.
func (n *trieNode[E]) changeWild(own *token, prefix string, f func(*trieNode[E]) *trieNode[E]) {
	next := &wilds[E]{}
	if n.wild != nil {
		*next = *n.wild
	}
	if prefix == "" {
		next.star = f(next.star)
	} else {
		next.prefix = next.prefix.with(own, prefix, f(next.prefix.at(prefix)))
	}
	n.wild = next
	if next.star == nil && next.prefix == nil {
		n.wild = nil
	}
}

// changeLiteral changes the node of a literal segment, and those of its first blocks.
func (n *trieNode[E]) changeLiteral(own *token, segment string, sep byte, f func(*trieNode[E]) *trieNode[E]) {
	b, segment, more := cutBlock(segment, sep)
	before := n.kid(b)
	if more {
		next := before.owned(own)
		next.changeLiteral(own, segment, sep, f)
		n.setKid(own, b, 0, next.kept())
	} else {
		n.setKid(own, b, 0, f(before))
	}
}

// kid returns the node that a block leads to, nil if there is none. n is not nil.
func (n *trieNode[E]) kid(b block) *trieNode[E] {
	hash := b.hash()
	for level := 0; ; {
		bit := uint64(1) << (hash & (1<<kidBits - 1))
		if n.set&bit == 0 {
			return nil
		}
		k := &n.kids[bits.OnesCount64(n.set&(bit-1))]
		if k.block == b {
			return k.node
		}
		if k.block != branch {
			return nil
		}
		n = k.node
		level++
		hash = b.next(hash, level)
	}
}

// setKid replaces the node that a block leads to, nil to remove it. This edit owns n, to
// which level blocks of bits led.
func (n *trieNode[E]) setKid(own *token, b block, level int, node *trieNode[E]) {
	bit := uint64(1) << (b.path(level) & (1<<kidBits - 1))
	i := bits.OnesCount64(n.set & (bit - 1))
	if n.set&bit == 0 {
		if node != nil {
			n.set |= bit
			n.kids = inserted(n.kids, i, kid[E]{b, node})
		}
		return
	}
	switch k := &n.kids[i]; k.block {
	case b:
		if node != nil {
			k.node = node
			return
		}
		n.set &^= bit
		n.kids = slices.Delete(n.kids, i, i+1)
	case branch:
		k.node = k.node.owned(own)
		k.node.setKid(own, b, level+1, node)
		if last := k.node.kids; len(last) == 1 && last[0].block != branch {
			*k = last[0]
		}
	default:
		if node == nil {
			return
		}
		both := &trieNode[E]{own: own}
		both.setKid(own, k.block, level+1, k.node)
		both.setKid(own, b, level+1, node)
		*k = kid[E]{branch, both}
	}
}

// inserted returns a list with one more value, without room for others.
func inserted[V any](list []V, i int, v V) []V {
	longer := make([]V, len(list)+1)
	copy(longer, list[:i])
	longer[i] = v
	copy(longer[i+1:], list[i:])
	return longer
}

// at returns the node of a prefix, nil if there is none.
func (p *prefixes[E]) at(prefix string) *trieNode[E] {
	if p == nil {
		return nil
	}
	node, _ := p.nodes.find(name(prefix))
	return node
}

// with returns the prefixes with the node of one of them replaced, nil to remove it.
func (p *prefixes[E]) with(own *token, prefix string, node *trieNode[E]) *prefixes[E] {
	next := prefixes[E]{}
	if p != nil {
		next = *p
	}
	before := next.nodes.len
	if node != nil {
		next.nodes.set(own, name(prefix), node)
	} else {
		next.nodes.delete(own, name(prefix))
	}
	if next.nodes.len == 0 {
		return nil
	}
	next.lengths = countLength(next.lengths, len(prefix), next.nodes.len-before)
	return &next
}

// countLength returns the sorted lengths with the count of one of them changed.
func countLength(lengths []prefixLength, length, by int) []prefixLength {
	if by == 0 {
		return lengths
	}
	changed := make([]prefixLength, 0, len(lengths)+1)
	for _, l := range lengths {
		if length >= 0 && l.length >= length {
			if l.length > length {
				changed = append(changed, prefixLength{length, by})
			} else {
				l.count += by
			}
			length = -1
		}
		if l.count > 0 {
			changed = append(changed, l)
		}
	}
	if length >= 0 {
		changed = append(changed, prefixLength{length, by})
	}
	return changed
}

// hits are what a walk found; few of them need no memory of their own.
type hits[E any] struct {
	few  [8]*E
	many []*E
	n    int
}

func (h *hits[E]) add(v *E) {
	if v == nil {
		return
	}
	if h.n < len(h.few) {
		h.few[h.n] = v
	} else {
		h.many = append(h.many, v)
	}
	h.n++
}

func (h *hits[E]) at(i int) *E {
	if i < len(h.few) {
		return h.few[i]
	}
	return h.many[i-len(h.few)]
}

// walk adds to out what is kept for all patterns below n that match the name.
func (n *trieNode[E]) walk(name string, sep byte, out *hits[E]) {
	for more := true; n != nil; {
		out.add(n.rest)
		if !more {
			out.add(n.exact)
			return
		}
		if n.wild != nil {
			n.wild.walk(name, sep, out)
		}
		if n.set == 0 {
			return
		}
		var b block
		b, name, more = cutBlock(name, sep)
		n = n.kid(b)
	}
}

// walk continues a walk at each wildcard that matches the first segment of the name.
func (w *wilds[E]) walk(name string, sep byte, out *hits[E]) {
	segment, name, more := cutSegment(name, sep)
	if w.star != nil {
		w.star.below(name, more, sep, out)
	}
	if w.prefix != nil {
		w.prefix.walk(segment, name, more, sep, out)
	}
}

// below continues a walk at n. more tells whether any segment is left.
func (n *trieNode[E]) below(name string, more bool, sep byte, out *hits[E]) {
	if more {
		n.walk(name, sep, out)
		return
	}
	out.add(n.rest)
	out.add(n.exact)
}

// walk continues a walk at each prefix of the segment. It costs one look-up for each length
// that a prefix has.
func (p *prefixes[E]) walk(segment, rest string, more bool, sep byte, out *hits[E]) {
	for _, l := range p.lengths {
		if l.length > len(segment) {
			return
		}
		if node := p.at(segment[:l.length]); node != nil {
			node.below(rest, more, sep, out)
		}
	}
}
