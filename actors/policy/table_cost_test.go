package policy_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// live returns how many bytes what f returns keeps in use.
func live[T any](f func() T) (T, uint64) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	made := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return made, after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// storm returns a table of roles of 20 random permissions each.
func storm(t testing.TB, rng *rand.Rand, roles int) *policy.Table {
	list := make([]*policy.Role, roles)
	for i := range list {
		list[i] = randomRole(t, rng, fmt.Sprintf("role-%d", i), roles*20/50, 20)
	}
	table, err := policy.NewTable(1, list, nil)
	require.NoError(t, err)
	return table
}

// An update that replaces all 20 permissions of a role allocates at most 64 KB, whatever the
// size of the table, and the table does not grow by such updates.
func TestAnUpdateAllocatesForWhatItChanges(t *testing.T) {
	for _, roles := range []int{50, 5_000} {
		rng := rand.New(rand.NewPCG(1, 2))
		table := storm(t, rng, roles)
		const updates = 200
		changed := make([]map[string]*policy.Role, updates)
		for i := range changed {
			name := fmt.Sprintf("role-%d", rng.IntN(roles))
			changed[i] = map[string]*policy.Role{name: randomRole(t, rng, name, roles*20/50, 20)}
		}
		n := allocated(func() {
			for i := range changed {
				table = table.Next(uint64(i+2), changed[i], nil)
			}
		})
		require.LessOrEqual(t, n/updates, uint64(64<<10), "%d roles", roles)
	}
}

func TestRemovedRolesLeaveNothingInATable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := storm(t, rng, 50)
	_, grown := live(func() *policy.Table {
		for i := range 2_000 {
			role := randomRole(t, rng, "new", 1_000_000, 20)
			table = table.Next(uint64(2*i+2), map[string]*policy.Role{"new": role}, nil)
			table = table.Next(uint64(2*i+3), map[string]*policy.Role{"new": nil}, nil)
		}
		return table
	})
	require.LessOrEqual(t, grown, uint64(256<<10))
	runtime.KeepAlive(table)
}

// flat returns many roles of one permission each that inherit nothing.
func flat(t testing.TB, n int) []*policy.Role {
	roles := make([]*policy.Role, n)
	for i := range roles {
		spec := policy.RoleSpec{Permissions: []policy.PermissionSpec{policytest.Allow("orders:read", fmt.Sprintf("orders/area-%d/**", i))}}
		roles[i] = policytest.MustRole(t, fmt.Sprintf("role-%d", i), spec)
	}
	return roles
}

func TestManyFlatRolesTakeLittleMemory(t *testing.T) {
	table, size := live(func() *policy.Table {
		table, err := policy.NewTable(1, flat(t, 100_000), nil)
		require.NoError(t, err)
		return table
	})
	require.LessOrEqual(t, size, uint64(64<<20))
	record := &policy.Record{Grants: []policy.Grant{policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "role-99999"})}}
	held := table.Hold(policy.MustPrincipal("user:a"), record, 0)
	require.LessOrEqual(t, allocated(func() { table.Compile(held) }), uint64(4<<10), "a principal's sets are sparse")
}

// A permission's actions are not multiplied by its resources.
func TestAPermissionOfManyActionsOnManyResourcesIsLinear(t *testing.T) {
	const n = 2_500
	spec := policy.PermissionSpec{}
	for i := range n {
		spec.Actions = append(spec.Actions, fmt.Sprintf("api:do%d", i))
		spec.Resources = append(spec.Resources, fmt.Sprintf("area-%d/**", i))
	}
	denied := policytest.Deny("api:do7", "area-7/secret")
	role := policytest.MustRole(t, "r", policy.RoleSpec{Permissions: []policy.PermissionSpec{denied, spec}})
	var table *policy.Table
	require.LessOrEqual(t, allocated(func() {
		var err error
		table, err = policy.NewTable(1, []*policy.Role{role, policytest.MustRole(t, "other", policy.RoleSpec{})}, nil)
		require.NoError(t, err)
	}), uint64(16<<20))

	who := policy.MustPrincipal("user:a")
	record := &policy.Record{Grants: []policy.Grant{policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "r"})}}
	decide := func(record *policy.Record, action, resource string) policy.Explanation {
		d := table.Decide(table.Compile(table.Hold(who, record, 0)), &policy.Query{Principal: who, Action: action, Resource: resource})
		d.AttachRecord(record, 0)
		return d.Explain()
	}
	require.Equal(t, 1, decide(record, "api:do2499", "area-1/x").Number)
	require.Equal(t, policy.ReasonAllowed, decide(record, "api:do2499", "area-1/x").Reason)
	require.Equal(t, policy.ReasonNoPermission, decide(record, "api:do2499", "area-2500").Reason)
	require.Equal(t, policy.ReasonDeniedByRule, decide(record, "api:do7", "area-7/secret").Reason)
	require.Equal(t, policy.ReasonUnknownAction, decide(record, "api:do2500", "area-7").Reason)
	other := &policy.Record{Grants: []policy.Grant{policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "other"})}}
	require.Equal(t, policy.ReasonNoPermission, decide(other, "api:do2499", "area-1/x").Reason)

	table = table.Next(2, map[string]*policy.Role{"r": policytest.MustRole(t, "r", policy.RoleSpec{Permissions: []policy.PermissionSpec{denied}})}, nil)
	require.Equal(t, policy.ReasonUnknownAction, decide(record, "api:do2499", "area-1/x").Reason)
	require.Equal(t, policy.ReasonDeniedByRule, decide(record, "api:do7", "area-7/secret").Reason)
}

// BenchmarkNext replaces all permissions of one role of 20.
func BenchmarkNext(b *testing.B) {
	for _, roles := range []int{50, 5_000, 50_000} {
		b.Run(fmt.Sprintf("%d-permissions", roles*20), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			table := storm(b, rng, roles)
			changed := make([]map[string]*policy.Role, 2048) // two of each role, in turn
			for i := range changed {
				name := fmt.Sprintf("role-%d", i%min(1024, roles))
				changed[i] = map[string]*policy.Role{name: randomRole(b, rng, name, roles*20/50, 20)}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table = table.Next(uint64(i+2), changed[i%len(changed)], nil)
			}
		})
	}
}

// A grant to a pattern allocates for itself, whatever the number of other grants: in the draft,
// and in the table.
func TestAPatternGrantAllocatesForWhatItChanges(t *testing.T) {
	for _, grants := range []int{100, 50_000} {
		all := make([]policy.Grant, grants)
		for i := range all {
			all[i] = policytest.MustGrant(t, policy.GrantSpec{Principals: fmt.Sprintf("user:team-%d/*", i), Role: "reader"})
		}
		f := &policyfile.File{Roles: map[string]*policy.Role{"reader": policytest.MustRole(t, "reader", policy.RoleSpec{})}, Grants: all}
		table, err := f.Table(1)
		require.NoError(t, err)
		view := policytest.NewView(f)
		const updates = 100
		n := allocated(func() {
			for i := range updates {
				d := policy.NewDraft(view, uint64(i)+2)
				require.NoError(t, d.Apply(policy.RevokeRole(all[i])))
				all[i].Reason = "another"
				require.NoError(t, d.Apply(policy.GrantRole(all[i])))
				table = table.Next(d.Revision(), nil, d.PatternEdits)
			}
		})
		require.LessOrEqual(t, n/updates, uint64(32<<10), "%d grants", grants)
	}
}

func TestPatternGrants(t *testing.T) {
	grant := func(s policy.GrantSpec) *policy.Grant {
		g := policytest.MustGrant(t, s)
		return &g
	}
	reader := grant(policy.GrantSpec{Principals: "user:*", Role: "reader"})
	limited := grant(policy.GrantSpec{Principals: "user:*", Role: "reader", Within: []string{"a/**"}})
	writer := grant(policy.GrantSpec{Principals: "user:a/**", Role: "writer"})
	s := policy.NewPatternGrants([]policy.Grant{*reader, *limited, *writer, *reader})
	require.Equal(t, []*policy.Grant{reader, limited, writer}, s.Sorted())
	require.ElementsMatch(t, []*policy.Grant{reader, limited}, s.With(reader))
	require.Empty(t, s.With(grant(policy.GrantSpec{Principals: "user:*/x", Role: "reader"})))
	require.Equal(t, []*policy.Grant{writer}, slices.Collect(s.Matching(policy.MustPrincipal("user:a/b"))))
	require.ElementsMatch(t, []string{"reader", "writer"}, slices.Collect(s.Roles()))

	copied := *s
	copied.Update([]policy.PatternEdit{{Grant: reader, Removed: true}, {Grant: limited, Removed: true}, {Grant: limited, Removed: true}})
	require.False(t, copied.GrantsRole("reader"))
	require.Equal(t, []*policy.Grant{writer}, copied.Sorted())
	require.True(t, s.GrantsRole("reader"), "a copy is a set of its own")
	require.Len(t, s.Sorted(), 3)
}
