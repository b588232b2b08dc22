package policy

import (
	"iter"
	"math/bits"
	"slices"
	"sync/atomic"
)

// token identifies one edit of persistent structures. Nodes that an edit made carry its
// token, or its number, and only that edit may change them. Other edits copy them first.
type token struct{ number uint64 }

var edits atomic.Uint64

// newToken returns the token of a new edit. Numbers start at 1, and never reach the 56 bits that
// a [kidSet] has for them.
func newToken() *token { return &token{edits.Add(1)} }

// hamtKey is a key of a hamt. The low bits of its hash choose the place.
type hamtKey interface {
	comparable
	hash() uint64
}

// name is a hamtKey: a segment, an action or the name of a role.
type name string

func (n name) hash() uint64 { return hashSegment(string(n)) }

// number is a hamtKey: the number of a role, or of a block of roles. Numbers are dense, so
// they are their own hashes.
type number int32

func (n number) hash() uint64 { return uint64(uint32(n)) }

const (
	hamtBits = 5  // of the hash, for each level
	hamtEnd  = 65 // the level at which all bits are used; its nodes are lists
)

// hamt is a persistent map: a hash array mapped trie. A copy of the value is a map of its
// own. set and delete copy the nodes along one path, except nodes of the same edit.
// The zero value is empty.
type hamt[K hamtKey, V any] struct {
	root *hamtNode[K, V]
	len  int
}

// hamtNode has, for each value of five bits of the hash, an entry, a node of the next level
// or nothing. Keys whose hashes are equal share a node without bits, whose entries are a list.
type hamtNode[K hamtKey, V any] struct {
	own          *token
	leaves, kids uint32 // bit i: there is an entry, a node, for value i
	entries      []hamtEntry[K, V]
	nodes        []*hamtNode[K, V]
}

type hamtEntry[K hamtKey, V any] struct {
	key   K
	value V
}

// rank is the number of bits in set below bit.
func rank(set, bit uint32) int { return bits.OnesCount32(set & (bit - 1)) }

// get returns the value of a key with that hash, the zero value if there is none.
func (m *hamt[K, V]) get(key K, hash uint64) (value V, known bool) {
	for n := m.root; n != nil; hash >>= hamtBits {
		bit := uint32(1) << (hash & 31)
		if n.leaves&bit != 0 {
			if e := &n.entries[rank(n.leaves, bit)]; e.key == key {
				return e.value, true
			}
			return value, false
		}
		if n.kids&bit == 0 {
			if n.leaves|n.kids == 0 {
				return n.listed(key)
			}
			return value, false
		}
		n = n.nodes[rank(n.kids, bit)]
	}
	return value, false
}

// find is get for callers that do not have the hash.
func (m *hamt[K, V]) find(key K) (value V, known bool) { return m.get(key, key.hash()) }

func (n *hamtNode[K, V]) listed(key K) (value V, known bool) {
	for i := range n.entries {
		if n.entries[i].key == key {
			return n.entries[i].value, true
		}
	}
	return value, false
}

// set adds a key, or replaces its value.
func (m *hamt[K, V]) set(own *token, key K, value V) {
	var added bool
	m.root, added = m.root.set(own, hamtEntry[K, V]{key, value}, key.hash(), 0)
	if added {
		m.len++
	}
}

// delete removes a key, if it is there.
func (m *hamt[K, V]) delete(own *token, key K) {
	var removed bool
	m.root, removed = m.root.delete(own, key, key.hash(), 0)
	if removed {
		m.len--
	}
}

// all yields all keys and values, in the order of the hashes' bits.
func (m *hamt[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.all(yield) }
}

func (n *hamtNode[K, V]) all(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for i := range n.entries {
		if !yield(n.entries[i].key, n.entries[i].value) {
			return false
		}
	}
	for _, kid := range n.nodes {
		if !kid.all(yield) {
			return false
		}
	}
	return true
}

// owned returns the node if this edit made it, or a copy that it may change.
func (n *hamtNode[K, V]) owned(own *token) *hamtNode[K, V] {
	if n.own == own {
		return n
	}
	return &hamtNode[K, V]{own: own, leaves: n.leaves, kids: n.kids, entries: slices.Clone(n.entries), nodes: slices.Clone(n.nodes)}
}

func (n *hamtNode[K, V]) set(own *token, e hamtEntry[K, V], hash uint64, level int) (_ *hamtNode[K, V], added bool) {
	if level >= hamtEnd {
		return n.setListed(own, e)
	}
	bit := uint32(1) << (hash >> level & 31)
	if n == nil {
		return &hamtNode[K, V]{own: own, leaves: bit, entries: []hamtEntry[K, V]{e}}, true
	}
	n = n.owned(own)
	switch at := rank(n.kids, bit); {
	case n.kids&bit != 0:
		n.nodes[at], added = n.nodes[at].set(own, e, hash, level+hamtBits)
		return n, added
	case n.leaves&bit == 0:
		n.entries = slices.Insert(n.entries, rank(n.leaves, bit), e)
		n.leaves |= bit
		return n, true
	default:
		i := rank(n.leaves, bit)
		old := n.entries[i]
		if old.key == e.key {
			n.entries[i] = e
			return n, false
		}
		var kid *hamtNode[K, V]
		kid, _ = kid.set(own, old, old.key.hash(), level+hamtBits)
		kid, _ = kid.set(own, e, hash, level+hamtBits)
		n.entries = slices.Delete(n.entries, i, i+1)
		n.leaves &^= bit
		n.nodes = slices.Insert(n.nodes, at, kid)
		n.kids |= bit
		return n, true
	}
}

func (n *hamtNode[K, V]) setListed(own *token, e hamtEntry[K, V]) (*hamtNode[K, V], bool) {
	if n == nil {
		n = &hamtNode[K, V]{own: own}
	}
	n = n.owned(own)
	for i := range n.entries {
		if n.entries[i].key == e.key {
			n.entries[i] = e
			return n, false
		}
	}
	n.entries = append(n.entries, e)
	return n, true
}

func (n *hamtNode[K, V]) delete(own *token, key K, hash uint64, level int) (_ *hamtNode[K, V], removed bool) {
	if n == nil {
		return nil, false
	}
	bit := uint32(1) << (hash >> level & 31)
	switch {
	case level >= hamtEnd:
		return n.deleteEntry(own, 0, slices.IndexFunc(n.entries, func(e hamtEntry[K, V]) bool { return e.key == key }))
	case n.leaves&bit != 0:
		i := rank(n.leaves, bit)
		if n.entries[i].key != key {
			return n, false
		}
		return n.deleteEntry(own, bit, i)
	case n.kids&bit == 0:
		return n, false
	}
	at := rank(n.kids, bit)
	kid, removed := n.nodes[at].delete(own, key, hash, level+hamtBits)
	if !removed {
		return n, false
	}
	n = n.owned(own)
	if len(kid.nodes) > 0 || len(kid.entries) > 1 {
		n.nodes[at] = kid
		return n, true
	}
	// A node of one entry becomes an entry, so that a map that shrinks does not keep its depth.
	n.nodes = slices.Delete(n.nodes, at, at+1)
	n.kids &^= bit
	n.entries = slices.Insert(n.entries, rank(n.leaves, bit), kid.entries[0])
	n.leaves |= bit
	return n, true
}

// deleteEntry removes entry i, of that bit; nothing if i is negative.
func (n *hamtNode[K, V]) deleteEntry(own *token, bit uint32, i int) (*hamtNode[K, V], bool) {
	switch {
	case i < 0:
		return n, false
	case len(n.entries) == 1 && len(n.nodes) == 0:
		return nil, true
	}
	n = n.owned(own)
	n.entries = slices.Delete(n.entries, i, i+1)
	n.leaves &^= bit
	return n, true
}
