package policy

import "math/bits"

const m1, m2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db

// hashSegment mixes a text in strides of sixteen bytes, by multiplications of 64 to 128 bits
// (as wyhash does). The author of the policy chooses the keys, and a request only looks them
// up, so requests cannot provoke collisions.
func hashSegment(s string) uint64 {
	h := uint64(len(s)) ^ m1
	for len(s) > 16 {
		h = mix(word(s)^h, word(s[8:])^m2)
		s = s[16:]
	}
	if n := len(s); n > 8 {
		return mix(word(s)^h, word(s[n-8:])^m2)
	}
	return mix(load(s)^h, m2)
}

func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// load returns the first eight bytes of a text, or fewer followed by zeros, in the order of
// memory.
func load(s string) uint64 {
	switch n := len(s); {
	case n >= 8:
		return word(s)
	case n >= 4:
		return half(s) | half(s[n-4:])<<(8*(n-4))
	case n > 0:
		return uint64(s[0]) | uint64(s[n>>1])<<(8*(n>>1)) | uint64(s[n-1])<<(8*(n-1))
	}
	return 0
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
