package policy

import "math/bits"

// shortText is up to how many bytes texts of one length have different hashes if they differ.
const shortText = 8

// hashSegment mixes all of a short text by a bijection. It mixes longer texts in strides of
// sixteen bytes, by multiplications of 64 to 128 bits (as wyhash
// does). The author of the policy chooses the keys, and a request only looks them up, so
// requests cannot provoke collisions.
func hashSegment(s string) uint64 {
	const m1, m2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db
	if len(s) <= shortText {
		h := short(s) ^ uint64(len(s))*m1
		h = (h ^ h>>32) * m2
		return h ^ h>>29
	}
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
	}
	return mix(short(s)^h, m2)
}

// sameSegment reports whether two texts that have the same hash are equal. Of short texts it
// reads only the lengths.
func sameSegment(s, t string) bool {
	return len(s) == len(t) && (len(s) <= shortText || s == t)
}

// short returns the bytes of a text of up to eight.
func short(s string) uint64 {
	switch n := len(s); {
	case n == 8:
		return word(s)
	case n >= 4:
		return half(s) | half(s[n-4:])<<32
	case n > 0:
		return uint64(s[0])<<16 | uint64(s[n>>1])<<8 | uint64(s[n-1])
	}
	return 0
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
