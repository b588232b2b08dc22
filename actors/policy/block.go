package policy

import "math/bits"

// block is up to fifteen bytes of a segment, in the order of memory, with their number in
// the last byte. A longer segment has several blocks; all but its last have fifteen bytes
// and the flag moreBlocks. So two segments are equal if their blocks are.
type block struct{ low, high uint64 }

const (
	blockBytes        = 15
	moreBlocks uint64 = 1 << 63
)

// branch is no block of a segment.
var branch = block{^uint64(0), ^uint64(0)}

const (
	kidBits = 3                            // of a block's path choose a kid
	levels  = (64 + kidBits - 1) / kidBits // are in 64 bits of a path
)

// hash returns the path of a block at the root.
func (b block) hash() uint64 { return mix(b.low^m1, b.high^m2) }

// next returns the path at a level, given that at the level before. Each level takes kidBits
// of it. The hash comes first and then the block itself, so the paths of two blocks differ.
func (b block) next(path uint64, level int) uint64 {
	switch level {
	case levels:
		return b.low
	case 2 * levels:
		return b.high
	}
	return path >> kidBits
}

// path returns the path at a level.
func (b block) path(level int) uint64 {
	path := b.hash()
	for l := 1; l <= level; l++ {
		path = b.next(path, l)
	}
	return path
}

// cutBlock cuts the first block off a name, with the separator if that ends a segment. It
// reports whether anything follows: the rest of the segment or, even if rest is empty,
// another one.
func cutBlock(name string, sep byte) (b block, rest string, more bool) {
	low := load(name)
	n := find(low, sep)
	if n < 8 {
		if n >= len(name) {
			return block{low, uint64(len(name)) << 56}, "", false
		}
		return block{low & (1<<(8*n) - 1), uint64(n) << 56}, name[n+1:], true
	}
	if len(name) <= 8 {
		return block{low, uint64(len(name)) << 56}, "", false
	}
	high := load(name[8:])
	n = find(high, sep)
	switch {
	case n == 8 && len(name) > blockBytes:
		return block{low, high&(1<<56-1) | blockBytes<<56 | moreBlocks}, name[blockBytes:], true
	case n+8 >= len(name):
		return block{low, high | uint64(len(name))<<56}, "", false
	}
	return block{low, high&(1<<(8*n)-1) | uint64(n+8)<<56}, name[n+9:], true
}

// mayBeOdd reports whether a resource may have an odd segment. It reports true for all that
// do, and for few others. It reads eight bytes at a time, because each decision asks it.
func mayBeOdd(resource string) bool {
	n := len(resource)
	if resource[0] == '/' || resource[0] == '.' || resource[n-1] == '/' {
		return true
	}
	if n < 8 {
		return mayHoldOdd(load(resource))
	}
	for i := 0; i < n-8; i += 7 {
		if mayHoldOdd(word(resource[i:])) {
			return true
		}
	}
	return mayHoldOdd(word(resource[n-8:]))
}

// mayHoldOdd reports whether a slash may come before a dot or another slash in w.
func mayHoldOdd(w uint64) bool {
	slashes := bytesOf(w, '/') // and each dot after one, which differs in the lowest bit
	return slashes<<8&slashes != 0
}

// find returns the index of the first byte of w that is c, or 8.
func find(w uint64, c byte) int {
	return bits.TrailingZeros64(bytesOf(w, c)) / 8
}

// bytesOf returns a word that has 0x80 for each byte of w that is c, and for each c^1 right
// above one of these. Other bytes are zero.
func bytesOf(w uint64, c byte) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	x := w ^ uint64(c)*ones
	return (x - ones) &^ x & highs
}
