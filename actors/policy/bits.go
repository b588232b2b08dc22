package policy

import "math/bits"

// roleSet is a set of role numbers of the tables of one engine.
type roleSet []uint64

func (s roleSet) has(role int32) bool {
	w := int(role >> 6)
	return w < len(s) && s[w]&(1<<(role&63)) != 0
}

func (s roleSet) with(role int32) roleSet {
	for int(role>>6) >= len(s) {
		s = append(s, 0)
	}
	s[role>>6] |= 1 << (role & 63)
	return s
}

func (s roleSet) union(t roleSet) roleSet {
	for len(s) < len(t) {
		s = append(s, 0)
	}
	for i, w := range t {
		s[i] |= w
	}
	return s
}

// roleBlock is a block of a sparse set: the roles 64·block to 64·block+63.
type roleBlock struct {
	block int32
	bits  uint64
}

// common returns a role in both sets, or -1. Most policies have few roles, and most
// terminals a single block.
func common(blocks []roleBlock, s roleSet) int32 {
	if len(blocks) == 0 {
		return -1
	}
	return commonOf(blocks, s)
}

func commonOf(blocks []roleBlock, s roleSet) int32 {
	for i := range blocks {
		b := &blocks[i]
		if int(b.block) < len(s) {
			if both := b.bits & s[b.block]; both != 0 {
				return b.block<<6 + int32(bits.TrailingZeros64(both))
			}
		}
	}
	return -1
}

func addToBlocks(blocks []roleBlock, role int32) []roleBlock {
	for i := range blocks {
		if blocks[i].block == role>>6 {
			blocks[i].bits |= 1 << (role & 63)
			return blocks
		}
	}
	return append(blocks, roleBlock{block: role >> 6, bits: 1 << (role & 63)})
}
