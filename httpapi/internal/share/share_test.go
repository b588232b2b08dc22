package share

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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

func TestSharesOfSeveralPlaces(t *testing.T) {
	s := New[string](10, 6)
	leave, ok := s.EnterMany("a", 100)
	require.True(t, ok, "one user may have all the places of its key")
	_, ok = s.Enter("a")
	require.False(t, ok)
	_, ok = s.EnterMany("b", 5)
	require.False(t, ok)
	_, ok = s.EnterMany("b", 4)
	require.True(t, ok)
	leave()
	require.Equal(t, map[string]int{"b": 4}, s.each)
	require.Equal(t, 4, s.all)
}

// One key that has a hundred in the line delays another by one of them.
func TestKeysInALineTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLine[string](1)
		hold, err := l.Enter(t.Context(), "a")
		require.NoError(t, err)
		var order []string
		for i, key := range []string{"a", "a", "a", "b", "b", "c"} {
			go func() {
				leave, err := l.Enter(t.Context(), key)
				require.NoError(t, err)
				order = append(order, fmt.Sprint(key, i)) // one at a time
				leave()
			}()
			synctest.Wait()
		}
		hold()
		synctest.Wait()
		require.Equal(t, []string{"a0", "b3", "c5", "a1", "b4", "a2"}, order)
		require.Equal(t, 1, l.free)
		require.Empty(t, l.waiting)
		require.Empty(t, l.turns)
	})
}

func TestALineForgetsCanceledUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLine[string](2)
		var leaves []func()
		for range 2 {
			leave, err := l.Enter(t.Context(), "a")
			require.NoError(t, err)
			leaves = append(leaves, leave)
		}
		wait := func(ctx context.Context, key string) <-chan error {
			done := make(chan error, 1)
			go func() {
				leave, err := l.Enter(ctx, key)
				if err == nil {
					leave()
				}
				done <- err
			}()
			synctest.Wait()
			return done
		}
		gone, cancel := context.WithCancel(t.Context())
		first, second, third := wait(gone, "b"), wait(t.Context(), "b"), wait(gone, "c")
		cancel()
		require.ErrorIs(t, <-first, context.Canceled)
		require.ErrorIs(t, <-third, context.Canceled)
		require.Equal(t, []string{"b"}, l.turns)
		leaves[0]()
		require.NoError(t, <-second)
		leaves[1]()
		require.Equal(t, 2, l.free)
	})
}

// A context that ends while its user is let in loses no place.
func TestALineLosesNoPlace(t *testing.T) {
	l := NewLine[int](2)
	var users sync.WaitGroup
	for key := range 8 {
		users.Go(func() {
			for i := range 500 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%50)*time.Microsecond)
				if leave, err := l.Enter(ctx, key); err == nil {
					runtime.Gosched()
					leave()
				}
				cancel()
			}
		})
	}
	users.Wait()
	require.Equal(t, 2, l.free)
	require.Empty(t, l.waiting)
	require.Empty(t, l.turns)
}
