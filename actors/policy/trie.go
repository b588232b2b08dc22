package policy

import "strings"

// trieNode is a node of a persistent trie that matches names against many patterns at once.
// Literal segments, '*' or prefixes lead to another node. E is what the caller keeps for a
// pattern. A nil node is an empty trie. A node that holds nothing is dropped.
type trieNode[E any] struct {
	own    *token
	exact  *E                            // of patterns that end here
	rest   *E                            // of patterns that end here with '**'
	star   *trieNode[E]                  // by '*'
	prefix *prefixes[E]                  // by a prefix and '*'; nil if there is none
	only   string                        // the literal segment that leads to child
	child  *trieNode[E]                  // the only node by a literal segment
	kids   *hamtNode[name, *trieNode[E]] // the nodes by literal segments if there are several
}

// prefixes are the nodes that a node's segments with a prefix wildcard lead to. They do not
// change.
type prefixes[E any] struct {
	nodes   hamt[name, *trieNode[E]]
	lengths []prefixLength // sorted
}

// prefixLength counts the prefixes of one length.
type prefixLength struct{ length, count int }

func (n *trieNode[E]) empty() bool {
	return n.exact == nil && n.rest == nil && n.star == nil && n.prefix == nil && n.child == nil && n.kids == nil
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
	c.own = own
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
	seg, pattern, more := cutSegment(pattern, sep)
	switch {
	case seg == wildRest:
		n.rest = f(n.rest)
	case seg == wildOne:
		n.star = n.star.changeBelow(own, pattern, more, sep, f)
	case strings.HasSuffix(seg, wildOne):
		prefix := seg[:len(seg)-1]
		n.prefix = n.prefix.with(own, prefix, n.prefix.at(prefix).changeBelow(own, pattern, more, sep, f))
	default:
		n.setLiteral(own, seg, n.literal(seg).changeBelow(own, pattern, more, sep, f))
	}
	return n.kept()
}

func (n *trieNode[E]) kept() *trieNode[E] {
	if n.empty() {
		return nil
	}
	return n
}

// literal returns the node that a segment leads to, literally; nil if there is none.
func (n *trieNode[E]) literal(segment string) *trieNode[E] {
	if n.child != nil {
		if n.only == segment {
			return n.child
		}
		return nil
	}
	if n.kids == nil {
		return nil
	}
	kids := hamt[name, *trieNode[E]]{root: n.kids}
	kid, _ := kids.get(name(segment), hashSegment(segment))
	return kid
}

// setLiteral sets the node that a segment leads to, nil to remove it.
func (n *trieNode[E]) setLiteral(own *token, segment string, kid *trieNode[E]) {
	switch {
	case n.kids != nil:
		n.setKid(own, segment, kid)
	case n.child == nil || n.only == segment:
		n.only, n.child = segment, kid
		if kid == nil {
			n.only = ""
		}
	case kid != nil:
		var kids hamt[name, *trieNode[E]]
		kids.set(own, name(n.only), n.child)
		kids.set(own, name(segment), kid)
		n.only, n.child, n.kids = "", nil, kids.root
	}
}

func (n *trieNode[E]) setKid(own *token, segment string, kid *trieNode[E]) {
	kids := hamt[name, *trieNode[E]]{root: n.kids}
	if kid != nil {
		kids.set(own, name(segment), kid)
	} else {
		kids.delete(own, name(segment))
	}
	n.kids = kids.root
	if r := n.kids; r != nil && len(r.nodes) == 0 && len(r.entries) == 1 {
		n.only, n.child, n.kids = string(r.entries[0].key), r.entries[0].value, nil
	}
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
		var segment string
		segment, name, more = cutSegment(name, sep)
		if n.prefix != nil {
			n.prefix.walk(segment, name, more, sep, out)
		}
		literal := n.literal(segment)
		if literal == nil {
			n = n.star
			continue
		}
		if n.star != nil {
			n.star.below(name, more, sep, out)
		}
		n = literal
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
