package policy

import "strings"

// trieNode is a node of a persistent trie that matches names against many patterns at once.
// Literal segments, '*' or prefixes lead to another node. E is what the caller keeps for a
// pattern. A nil node is an empty trie. A node that holds nothing is dropped. What a walk
// reads of most nodes is in the first 64 bytes.
type trieNode[E any] struct {
	segment string    // the literal segment that leads here, "" if it is none
	rest    *E        // of patterns that end here with '**'
	exact   *E        // of patterns that end here
	kids    kids[E]   // by literal segments
	wild    *wilds[E] // by '*' and by prefixes; nil if there are none
	own     *token
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

func (n *trieNode[E]) empty() bool {
	return n.exact == nil && n.rest == nil && n.wild == nil && len(n.kids.few) == 0 && n.kids.sub == nil
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
	case strings.HasSuffix(seg, wildOne):
		n.changeWild(own, seg[:len(seg)-1], pattern, more, sep, f)
	default:
		hash := hashSegment(seg)
		before := n.kids.get(hash, seg)
		after := before.changeBelow(own, pattern, more, sep, f)
		if before == nil && after != nil {
			after.segment = seg
		}
		if after != before {
			n.kids = n.kids.with(own, hash, 0, seg, after)
		}
	}
	return n.kept()
}

// changeWild changes the node of a prefix, "" for '*'.
func (n *trieNode[E]) changeWild(own *token, prefix, pattern string, more bool, sep byte, f func(*E) *E) {
	next := &wilds[E]{}
	if n.wild != nil {
		*next = *n.wild
	}
	if prefix == "" {
		next.star = next.star.changeBelow(own, pattern, more, sep, f)
	} else {
		next.prefix = next.prefix.with(own, prefix, next.prefix.at(prefix).changeBelow(own, pattern, more, sep, f))
	}
	n.wild = next
	if next.star == nil && next.prefix == nil {
		n.wild = nil
	}
}

func (n *trieNode[E]) kept() *trieNode[E] {
	if n.empty() {
		return nil
	}
	return n
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
		literal := n.kids.find(segment)
		if n.wild == nil {
			n = literal
			continue
		}
		if n.wild.prefix != nil {
			n.wild.prefix.walk(segment, name, more, sep, out)
		}
		if literal == nil {
			n = n.wild.star
			continue
		}
		if n.wild.star != nil {
			n.wild.star.below(name, more, sep, out)
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
