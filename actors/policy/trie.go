package policy

import (
	"math/bits"
	"slices"
	"strings"
)

// trieNode is a node of a persistent trie that matches names against many patterns at once.
// A literal segment leads to another node by its blocks, of which most segments have one. '*'
// and prefixes lead there through others. E is what the caller keeps for a pattern. A nil node
// is an empty trie.
//
// A node is one cache line, and lies in the list of its parent: a walk reads one line for a
// block. So an edit that changes a node copies the lists that lead to it. Blocks that share
// the bits of a level share a kid, whose own kids the bits of the next level tell apart.
type trieNode[E any] struct {
	block  block      // leads here; branch for a kid that blocks share, undefined for a root
	kidSet kidSet     // which kids there are, and which edit made the list
	rest   *E         // of patterns that end here with '**'
	others *others[E] // nil if there are none
	kids   []trieNode[E]
}

// others is what few nodes have. It does not change.
type others[E any] struct {
	exact  *E // of patterns that end here
	star   *trieNode[E]
	prefix *prefixes[E]
}

// kidSet has a bit for each kid of a node, in the order of the kids, and above them the number
// of the edit that made the list of kids. Only that edit may change the list.
type kidSet uint64

const kidMask = 1<<(1<<kidBits) - 1

func (s kidSet) has(bit kidSet) bool { return s&bit != 0 }

// before returns how many kids come before that of a bit.
func (s kidSet) before(bit kidSet) int { return bits.OnesCount64(uint64(s & (bit - 1))) }

func (s kidSet) madeBy(own *token) bool { return uint64(s>>(1<<kidBits)) == own.number }

// kidBit returns the bit of the kid that the path of a block leads to.
func kidBit(path uint64) kidSet { return 1 << (path & (1<<kidBits - 1)) }

// prefixes are the nodes that segments with a prefix wildcard lead to. They do not change.
type prefixes[E any] struct {
	nodes   hamt[name, *trieNode[E]]
	lengths []prefixLength // sorted
}

// prefixLength counts the prefixes of one length.
type prefixLength struct{ length, count int }

func (n *trieNode[E]) empty() bool {
	return n.rest == nil && n.others == nil && len(n.kids) == 0
}

// own makes the list of kids one that this edit may change.
func (n *trieNode[E]) own(own *token) {
	if !n.kidSet.madeBy(own) {
		n.setKids(own, n.kidSet, slices.Clone(n.kids))
	}
}

// setKids sets the list of kids to one that this edit made.
func (n *trieNode[E]) setKids(own *token, set kidSet, kids []trieNode[E]) {
	n.kidSet, n.kids = set&kidMask|kidSet(own.number<<(1<<kidBits)), kids
}

// change returns a trie in which what is kept for the pattern is replaced by what f returns,
// nil to remove it. f is given what is kept, nil if there is nothing. n is a root.
func (n *trieNode[E]) change(own *token, pattern string, sep byte, f func(*E) *E) *trieNode[E] {
	return n.edited(own, func(n *trieNode[E]) { n.changeBelow(own, pattern, sep, f) })
}

// edited returns a root after edit has changed it, nil if nothing is left. It changes a copy,
// unless this edit made the root.
func (n *trieNode[E]) edited(own *token, edit func(*trieNode[E])) *trieNode[E] {
	switch {
	case n == nil:
		n = &trieNode[E]{}
	case !n.kidSet.madeBy(own):
		c := *n
		n = &c
	}
	edit(n)
	if n.empty() {
		return nil
	}
	return n
}

func (n *trieNode[E]) changeBelow(own *token, pattern string, sep byte, f func(*E) *E) {
	segment, pattern, more := cutSegment(pattern, sep)
	below := func(n *trieNode[E]) {
		if more {
			n.changeBelow(own, pattern, sep, f)
		} else {
			n.changeOthers(func(o *others[E]) { o.exact = f(o.exact) })
		}
	}
	switch {
	case segment == wildRest:
		n.rest = f(n.rest)
	case strings.HasSuffix(segment, wildOne):
		n.changeOthers(func(o *others[E]) { o.changeWild(own, segment[:len(segment)-1], below) })
	default:
		n.changeLiteral(own, segment, sep, below)
	}
}

func (n *trieNode[E]) changeOthers(f func(*others[E])) {
	next := others[E]{}
	if n.others != nil {
		next = *n.others
	}
	f(&next)
	if n.others = nil; next != (others[E]{}) {
		n.others = &next
	}
}

// changeWild changes the node of a prefix, "" for '*'.
func (o *others[E]) changeWild(own *token, prefix string, edit func(*trieNode[E])) {
	if prefix == "" {
		o.star = o.star.edited(own, edit)
	} else {
		o.prefix = o.prefix.with(own, prefix, o.prefix.at(prefix).edited(own, edit))
	}
}

// changeLiteral changes the node of a literal segment, and those of its first blocks.
func (n *trieNode[E]) changeLiteral(own *token, segment string, sep byte, edit func(*trieNode[E])) {
	b, segment, more := cutBlock(segment, sep)
	n.changeKid(own, b, 0, func(kid *trieNode[E]) {
		if more {
			kid.changeLiteral(own, segment, sep, edit)
		} else {
			edit(kid)
		}
	})
}

// kid returns the node that a block leads to, nil if there is none. n is not nil.
func (n *trieNode[E]) kid(b block) *trieNode[E] {
	path := b.hash()
	for level := 0; ; {
		bit := kidBit(path)
		if !n.kidSet.has(bit) {
			return nil
		}
		n = &n.kids[n.kidSet.before(bit)]
		if n.block == b {
			return n
		}
		if n.block != branch {
			return nil
		}
		level++
		path = b.next(path, level)
	}
}

// find returns what is kept for the pattern itself, nil if there is nothing. n is a root.
func (n *trieNode[E]) find(pattern string, sep byte) *E {
	for more := true; n != nil && more; {
		var segment string
		segment, pattern, more = cutSegment(pattern, sep)
		switch {
		case segment == wildRest:
			return n.rest
		case strings.HasSuffix(segment, wildOne):
			n = n.others.wild(segment[:len(segment)-1])
		default:
			for again := true; n != nil && again; {
				var b block
				b, segment, again = cutBlock(segment, sep)
				n = n.kid(b)
			}
		}
	}
	if n == nil || n.others == nil {
		return nil
	}
	return n.others.exact
}

// wild returns the node of a prefix, "" for '*'; nil if there is none.
func (o *others[E]) wild(prefix string) *trieNode[E] {
	switch {
	case o == nil:
		return nil
	case prefix == "":
		return o.star
	}
	return o.prefix.at(prefix)
}

// all calls yield with all that is kept, in undefined order, until it returns false.
func (n *trieNode[E]) all(yield func(*E) bool) bool {
	if n == nil {
		return true
	}
	if n.rest != nil && !yield(n.rest) || !n.others.all(yield) {
		return false
	}
	for i := range n.kids {
		if !n.kids[i].all(yield) {
			return false
		}
	}
	return true
}

func (o *others[E]) all(yield func(*E) bool) bool {
	if o == nil {
		return true
	}
	if o.exact != nil && !yield(o.exact) || !o.star.all(yield) {
		return false
	}
	if o.prefix == nil {
		return true
	}
	for _, n := range o.prefix.nodes.all() {
		if !n.all(yield) {
			return false
		}
	}
	return true
}

// changeKid changes the node that a block leads to, which it makes if there is none and
// removes if nothing is left. It ignores the bits of the levels before.
func (n *trieNode[E]) changeKid(own *token, b block, level int, edit func(*trieNode[E])) {
	bit := kidBit(b.path(level))
	i := n.kidSet.before(bit)
	if n.kidSet.has(bit) {
		n.own(own)
	} else {
		n.setKids(own, n.kidSet|bit, inserted(n.kids, i, trieNode[E]{block: b}))
	}
	k := &n.kids[i]
	if k.block == b {
		if edit(k); k.empty() {
			n.kidSet &^= bit
			n.kids = slices.Delete(n.kids, i, i+1)
		}
		return
	}
	if k.block != branch {
		shared := trieNode[E]{block: branch}
		shared.setKids(own, kidBit(k.block.path(level+1)), []trieNode[E]{*k})
		*k = shared
	}
	k.changeKid(own, b, level+1, edit)
	if len(k.kids) == 1 && k.kids[0].block != branch {
		*k = k.kids[0]
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
		if n.others != nil {
			n.others.walk(name, more, sep, out)
		}
		if !more || len(n.kids) == 0 {
			return
		}
		var b block
		b, name, more = cutBlock(name, sep)
		n = n.kid(b)
	}
}

// walk adds what is kept for patterns that end here and, if more of the name is left,
// continues a walk at each wildcard that matches its first segment.
func (o *others[E]) walk(name string, more bool, sep byte, out *hits[E]) {
	if !more {
		out.add(o.exact)
		return
	}
	segment, name, more := cutSegment(name, sep)
	if o.star != nil {
		o.star.below(name, more, sep, out)
	}
	if o.prefix != nil {
		o.prefix.walk(segment, name, more, sep, out)
	}
}

// below continues a walk at n. more tells whether any segment is left.
func (n *trieNode[E]) below(name string, more bool, sep byte, out *hits[E]) {
	if more {
		n.walk(name, sep, out)
		return
	}
	out.add(n.rest)
	if n.others != nil {
		out.add(n.others.exact)
	}
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

// walkOdd tells add what is kept for all patterns below n that match the resource, and whether
// one of their wildcards matched what no wildcard of an allow does. more tells whether any
// segment is left, and wild whether that happened above n.
func (n *trieNode[E]) walkOdd(resource string, more, wild bool, add func(v *E, wild bool)) {
	if n == nil {
		return
	}
	if n.rest != nil {
		add(n.rest, wild || more && anySegment(resource, isDots))
	}
	n.belowOdd(resource, more, wild, add)
}

// belowOdd is walkOdd without the patterns that end at n with '**'.
func (n *trieNode[E]) belowOdd(resource string, more, wild bool, add func(v *E, wild bool)) {
	if n.others != nil {
		n.others.walkOdd(resource, more, wild, add)
	}
	if more {
		b, resource, more := cutBlock(resource, '/')
		n.kid(b).walkOdd(resource, more, wild, add)
	}
}

func (o *others[E]) walkOdd(resource string, more, wild bool, add func(v *E, wild bool)) {
	if !more {
		if o.exact != nil {
			add(o.exact, wild)
		}
		return
	}
	segment, resource, more := cutSegment(resource, '/')
	odd := wild || isOddSegment(segment)
	if o.star != nil {
		if o.star.rest != nil {
			add(o.star.rest, wild || isDots(segment) || more && anySegment(resource, isDots))
		}
		o.star.belowOdd(resource, more, odd, add)
	}
	if o.prefix == nil {
		return
	}
	for _, l := range o.prefix.lengths {
		if l.length <= len(segment) {
			o.prefix.at(segment[:l.length]).walkOdd(resource, more, odd, add)
		}
	}
}
