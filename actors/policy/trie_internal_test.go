package policy

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// blocksOf returns the blocks of the segments of a name, and how many each segment has.
func blocksOf(name string, sep byte) (blocks []block, each []int) {
	n := 0
	for more := true; more; {
		var b block
		b, name, more = cutBlock(name, sep)
		blocks = append(blocks, b)
		if n++; b.high&moreBlocks == 0 {
			each, n = append(each, n), 0
		}
	}
	return blocks, each
}

// Names are equal if their blocks are, and segments end where the separators are.
func TestBlocksAgainstText(t *testing.T) {
	gen := rapid.StringOfN(rapid.SampledFrom([]rune("a/\x00\x01\x80é")), 0, 40, -1)
	rapid.Check(t, func(t *rapid.T) {
		name := gen.Draw(t, "name")
		other := gen.Draw(t, "other")
		if rapid.Bool().Draw(t, "near") {
			cut := rapid.IntRange(0, len(name)).Draw(t, "cut")
			other = name[:cut] + rapid.SampledFrom([]string{"", "a", "/", "\x00"}).Draw(t, "more") + name[cut:]
		}
		blocks, each := blocksOf(name, '/')
		segments := strings.Split(name, "/")
		require.Len(t, each, len(segments))
		for i, segment := range segments {
			require.Equal(t, 1+max(0, len(segment)-1)/blockBytes, each[i], "%q", segment)
		}
		again, _ := blocksOf(other, '/')
		require.Equal(t, name == other, blocksEqual(blocks, again), "%q %q", name, other)
	})
}

func blocksEqual(a, b []block) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// Kids whose paths share many levels, or all of the hash, are told apart, and the nodes before
// an edit stay as they were.
func TestKidsAgainstMaps(t *testing.T) {
	var choice []block
	for i := range uint64(30) {
		choice = append(choice,
			block{m1, i << 56}, // the hash is 0, and low is equal
			block{i << 60, m2}, // the hash is 0
			block{i, 1 << 56})
	}
	rapid.Check(t, func(t *rapid.T) {
		var n *trieNode[int]
		want := map[block]*int{}
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			own := newToken()
			before, wantBefore := n, maps.Clone(want)
			for _, i := range rapid.SliceOf(rapid.IntRange(0, len(choice)-1)).Draw(t, "blocks") {
				b := choice[i]
				if rapid.Bool().Draw(t, "set") {
					want[b] = new(int)
				} else {
					delete(want, b)
				}
				n = n.edited(own, func(n *trieNode[int]) {
					n.changeKid(own, b, 0, func(kid *trieNode[int]) { kid.rest = want[b] })
				})
			}
			for _, b := range choice {
				require.Same(t, want[b], restOf(n, b))
				require.Same(t, wantBefore[b], restOf(before, b))
			}
			require.Equal(t, len(want) == 0, n == nil)
		}
	})
}

// restOf returns what is kept for the kid that a block leads to.
func restOf(n *trieNode[int], b block) *int {
	if n == nil {
		return nil
	}
	kid := n.kid(b)
	if kid == nil {
		return nil
	}
	return kid.rest
}

// A walk finds the patterns that match, also by segments of several blocks, and the tries
// before an edit find what they found.
func TestTriesAgainstMatch(t *testing.T) {
	const long = "a-segment-of-four-blocks-that-begins-like-others-do"
	segments := []string{"", "a", long[:8], long[:14], long[:15], long[:16], long[:30], long[:31], long}
	wild := []string{"*", "a*", long[:15] + "*", long[:31] + "*"}
	find := func(n *trieNode[string], name string) []string {
		var found hits[string]
		n.walk(name, '/', &found)
		var texts []string
		for i := range found.n {
			texts = append(texts, *found.at(i))
		}
		slices.Sort(texts)
		return texts
	}
	join := func(t *rapid.T, from []string, what string) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 1, 3).Draw(t, what), "/")
	}
	rapid.Check(t, func(t *rapid.T) {
		var n *trieNode[string]
		want := map[string]bool{}
		for range rapid.IntRange(1, 3).Draw(t, "edits") {
			own := newToken()
			before, wantBefore := n, maps.Clone(want)
			for range rapid.IntRange(1, 12).Draw(t, "patterns") {
				pattern := join(t, slices.Concat(segments, wild), "pattern")
				if rapid.IntRange(0, 3).Draw(t, "rest") == 0 {
					pattern += "/**"
				}
				kept := rapid.IntRange(0, 2).Draw(t, "kept") > 0
				n = n.change(own, pattern, '/', func(*string) *string {
					if kept {
						return &pattern
					}
					return nil
				})
				if want[pattern] = true; !kept {
					delete(want, pattern)
				}
			}
			require.Equal(t, len(want) == 0, n == nil)
			for range 10 {
				name := join(t, segments, "name")
				require.Equal(t, matching(want, name), find(n, name), "%q", name)
				require.Equal(t, matching(wantBefore, name), find(before, name), "%q", name)
			}
		}
	})
}

// matching returns the patterns that match a name, sorted.
func matching(patterns map[string]bool, name string) []string {
	var found []string
	for pattern := range patterns {
		if match(pattern, name, '/') {
			found = append(found, pattern)
		}
	}
	slices.Sort(found)
	return found
}

// The search in strides finds an odd segment at each place of a resource.
func TestEachOddSegmentIsFound(t *testing.T) {
	for n := 1; n <= 40; n++ {
		plain := strings.Repeat("x", n)
		require.False(t, mayBeOdd(plain))
		for _, odd := range []string{"/", "/.", "/..", "//", "/./", "/../"} {
			for at := range n {
				name := plain[:at] + odd + plain[at:]
				require.False(t, isOdd(name) && !mayBeOdd(name), name)
			}
			require.True(t, isOdd(plain+odd) && mayBeOdd(plain+odd), plain+odd)
			start := odd[1:] + "/" + plain
			require.True(t, !isOdd(start) || mayBeOdd(start), start)
		}
	}
}

// A decision reads a cache line of each node and each terminal.
func TestNodesAndTerminalsFillACacheLine(t *testing.T) {
	if bits.UintSize < 64 {
		t.Skip("pointers are smaller")
	}
	require.EqualValues(t, 64, unsafe.Sizeof(trieNode[terminal]{}))
	require.EqualValues(t, 64, unsafe.Sizeof(terminal{}))
}
