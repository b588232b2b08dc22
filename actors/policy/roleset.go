package policy

import "math/bits"

// roleBlock has those of the roles 64·block to 64·block+63 that are in a set.
type roleBlock struct {
	block int32
	bits  uint64
}

// roleSet is a sparse set of role numbers of the tables of one engine: its blocks that are
// not empty, in order.
type roleSet []roleBlock

func (s roleSet) has(role int32) bool { return s.block(role>>6)&(1<<(role&63)) != 0 }

// block returns the bits of one block.
func (s roleSet) block(block int32) uint64 {
	if i := s.place(block); i < len(s) && s[i].block == block {
		return s[i].bits
	}
	return 0
}

// place returns the index of the first block that is not before the given one.
func (s roleSet) place(block int32) int {
	low, high := 0, len(s)
	for low < high {
		if middle := int(uint(low+high) / 2); s[middle].block < block {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// add adds a role and reports whether it was not in the set.
func (s *roleSet) add(role int32) bool {
	block, bit := role>>6, uint64(1)<<(role&63)
	i := s.place(block)
	if i < len(*s) && (*s)[i].block == block {
		b := &(*s)[i]
		added := b.bits&bit == 0
		b.bits |= bit
		return added
	}
	*s = append(*s, roleBlock{})
	copy((*s)[i+1:], (*s)[i:])
	(*s)[i] = roleBlock{block, bit}
	return true
}

// roleTree is a persistent sparse set of role numbers. Most sets have one block, which needs
// no memory of its own. The zero value is empty.
type roleTree struct {
	first roleBlock             // empty only if the set is
	more  *hamt[number, uint64] // block → bits, without first; nil if there are no others
}

func (s *roleTree) empty() bool { return s.first.bits == 0 }

// with returns the set with the role.
func (s roleTree) with(own *token, role int32) roleTree {
	block, bit := role>>6, uint64(1)<<(role&63)
	if s.empty() || s.first.block == block {
		s.first = roleBlock{block, s.first.bits | bit}
		return s
	}
	var more hamt[number, uint64]
	if s.more != nil {
		more = *s.more
	}
	before, _ := more.find(number(block))
	more.set(own, number(block), before|bit)
	s.more = &more
	return s
}

// without returns the set without the role.
func (s roleTree) without(own *token, role int32) roleTree {
	block, bit := role>>6, uint64(1)<<(role&63)
	if s.first.block == block {
		s.first.bits &^= bit
		if s.first.bits == 0 && s.more != nil {
			for b, set := range s.more.all() {
				s.first = roleBlock{int32(b), set}
				s.setMore(own, b, 0)
				break
			}
		}
		return s
	}
	if s.more != nil {
		if before, known := s.more.find(number(block)); known {
			s.setMore(own, number(block), before&^bit)
		}
	}
	return s
}

func (s *roleTree) setMore(own *token, block number, set uint64) {
	more := *s.more
	if set != 0 {
		more.set(own, block, set)
	} else {
		more.delete(own, block)
	}
	s.more = &more
	if more.len == 0 {
		s.more = nil
	}
}

// common returns a role in both sets, or -1.
func (s *roleTree) common(with roleSet) int32 {
	if s.first.bits == 0 || len(with) == 0 {
		return -1
	}
	both := uint64(0)
	if with[0].block == s.first.block {
		both = s.first.bits & with[0].bits
	} else {
		both = s.first.bits & with.block(s.first.block)
	}
	if both != 0 {
		return s.first.block<<6 + int32(bits.TrailingZeros64(both))
	}
	if s.more == nil {
		return -1
	}
	return s.commonMore(with)
}

// commonMore is common for what is not in the first block. It looks up each block of the
// smaller set in the other.
func (s *roleTree) commonMore(with roleSet) int32 {
	if s.more.len < len(with) {
		for block, set := range s.more.all() {
			if both := set & with.block(int32(block)); both != 0 {
				return int32(block)<<6 + int32(bits.TrailingZeros64(both))
			}
		}
		return -1
	}
	for _, b := range with {
		set, _ := s.more.get(number(b.block), number(b.block).hash())
		if both := set & b.bits; both != 0 {
			return b.block<<6 + int32(bits.TrailingZeros64(both))
		}
	}
	return -1
}

// byRole keeps lists of values by role, in a persistent map. The zero value is empty.
type byRole[V any] struct {
	roles roleTree
	lists hamt[number, []V]
}

// with returns the map with the list of a role replaced, nil to remove it.
func (m byRole[V]) with(own *token, role int32, list []V) byRole[V] {
	if len(list) > 0 {
		m.roles = m.roles.with(own, role)
		m.lists.set(own, number(role), list)
	} else {
		m.roles = m.roles.without(own, role)
		m.lists.delete(own, number(role))
	}
	return m
}

func (m *byRole[V]) of(role int32) []V {
	list, _ := m.lists.find(number(role))
	return list
}

// each yields the lists of the roles that are in the set, until yield returns false.
func (m *byRole[V]) each(held roleSet, yield func(role int32, list []V) bool) {
	if m.roles.common(held) < 0 {
		return
	}
	if m.lists.len < len(held) {
		for role, list := range m.lists.all() {
			if held.has(int32(role)) && !yield(int32(role), list) {
				return
			}
		}
		return
	}
	for _, b := range held {
		for left := b.bits & m.block(b.block); left != 0; left &= left - 1 {
			role := b.block<<6 + int32(bits.TrailingZeros64(left))
			if !yield(role, m.of(role)) {
				return
			}
		}
	}
}

// block returns the bits of one block of the roles that have a list.
func (m *byRole[V]) block(block int32) uint64 {
	switch {
	case m.roles.first.block == block:
		return m.roles.first.bits
	case m.roles.more != nil:
		set, _ := m.roles.more.find(number(block))
		return set
	}
	return 0
}
