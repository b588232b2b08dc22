package policy

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The tags of kids rely on this: nothing else compares short segments.
func TestShortTextsOfOneLengthHaveDifferentHashes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := []byte(rapid.StringN(0, shortText, shortText).Draw(t, "a"))
		b := []byte(string(a))
		if len(b) > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
		}
		require.Equal(t, string(a) == string(b), hashSegment(string(a)) == hashSegment(string(b)))
	})
	seen := map[uint64]bool{}
	for i := range 1 << 16 {
		h := hashSegment(string([]byte{byte(i), byte(i >> 8)}))
		require.False(t, seen[h])
		seen[h] = true
	}
}
