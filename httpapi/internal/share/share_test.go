package share

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSharesAreBoundedInAllAndForEach(t *testing.T) {
	s := New[string](3, 2)
	enter := func(key string) func() {
		leave, ok := s.Enter(key)
		require.True(t, ok)
		return leave
	}
	full := func(key string) {
		leave, ok := s.Enter(key)
		require.False(t, ok)
		leave()
	}
	one := enter("a")
	enter("a")
	full("a")
	enter("b")
	full("b")
	full("c")
	one()
	one()
	require.Equal(t, map[string]int{"a": 1, "b": 1}, s.each, "a place is given back once")
	enter("c")
	full("a")
	require.Equal(t, 2, s.MostOfEach())
}
