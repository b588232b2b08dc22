package policy

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// alike is a hamtKey of which many have one hash.
type alike int

func (a alike) hash() uint64 { return uint64(a%3) << 62 }

// A map does what a Go map does, also for keys of one hash, and the maps before stay as they
// were.
func TestPersistentMapsAgainstMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m hamt[alike, int]
		want := map[alike]int{}
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			own := newToken()
			before, wantBefore := m, maps.Clone(want)
			for i, k := range rapid.SliceOf(rapid.IntRange(0, 20)).Draw(t, "keys") {
				if key := alike(k); rapid.Bool().Draw(t, "set") {
					m.set(own, key, i)
					want[key] = i
				} else {
					m.delete(own, key)
					delete(want, key)
				}
			}
			require.Equal(t, want, maps.Collect(m.all()))
			require.Equal(t, len(want), m.len)
			require.Equal(t, wantBefore, maps.Collect(before.all()))
			for k := range alike(21) {
				v, known := m.find(k)
				_, wanted := want[k]
				require.Equal(t, wanted, known)
				require.Equal(t, want[k], v)
			}
		}
	})
}

// Sets of roles in many blocks, and lists by role.
func TestRoleTreesAgainstMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m byRole[int]
		want := map[int32]bool{}
		gen := rapid.SliceOf(rapid.SampledFrom([]int32{0, 1, 63, 64, 65, 130, 200, 300, 1000})) // seven blocks
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			own := newToken()
			before, wantBefore := m, maps.Clone(want)
			for _, role := range gen.Draw(t, "roles") {
				if rapid.Bool().Draw(t, "add") {
					m = m.with(own, role, []int{int(role)})
					want[role] = true
				} else {
					m = m.with(own, role, nil)
					delete(want, role)
				}
			}
			held := gen.Draw(t, "held")
			requireRoles(t, want, &m, held)
			requireRoles(t, wantBefore, &before, held)
		}
	})
}

func requireRoles(t *rapid.T, want map[int32]bool, m *byRole[int], held []int32) {
	var set roleSet
	for _, role := range held {
		require.Equal(t, !set.has(role), set.add(role))
	}
	require.True(t, slices.IsSortedFunc(set, func(a, b roleBlock) int { return int(a.block - b.block) }))
	both := map[int32]bool{}
	for _, role := range held {
		if want[role] {
			both[role] = true
		}
	}
	found := map[int32]bool{}
	m.each(set, func(role int32, list []int) bool {
		require.Equal(t, []int{int(role)}, list)
		require.False(t, found[role])
		found[role] = true
		return true
	})
	require.Equal(t, both, found)
	require.Equal(t, len(want) == 0, m.roles.empty())
	if role := m.roles.common(set); len(both) == 0 {
		require.EqualValues(t, -1, role)
	} else {
		require.True(t, both[role])
	}
}
