package policy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

// chain returns roles each of which inherits the next; the last inherits more.
func chain(t testing.TB, n int, more ...string) map[string]*policy.Role {
	roles := make(map[string]*policy.Role, n)
	for i := range n {
		inherits := []string{fmt.Sprintf("r%06d", i+1)}
		if i == n-1 {
			inherits = more
		}
		name := fmt.Sprintf("r%06d", i)
		roles[name] = policytest.MustRole(t, name, policy.RoleSpec{Inherits: inherits})
	}
	return roles
}

func TestALongChainOfRolesIsChecked(t *testing.T) {
	const n = 20_000
	require.ErrorIs(t, policy.CheckRoles(chain(t, n)), policy.ErrInvalid)
	require.NoError(t, policy.CheckRoles(chain(t, policy.MaxInheritance)))
	err := policy.CheckRoles(chain(t, policy.MaxInheritance+1))
	require.ErrorContains(t, err, `roles.r000000.inherits: invalid: role "r000000" has a chain of more than 100 roles`)
	ordered := policy.ParentsFirst(chain(t, n))
	require.Len(t, ordered, n)
	require.Equal(t, "r019999", ordered[0].Name())

	err = policy.CheckRoles(chain(t, n, "r000000"))
	var cycle *policy.CycleError
	require.ErrorAs(t, err, &cycle)
	require.Len(t, cycle.Roles, 100)
	require.Equal(t, n-100, cycle.More)
	require.ErrorContains(t, err, "r000099 → … 19900 more … → r000000")
	require.ErrorIs(t, policy.CheckRoles(chain(t, n, "missing")), policy.ErrUnknownRole)
}

func TestADraftRefusesARoleThatClosesACycle(t *testing.T) {
	view := policytest.NewView(policytest.ParseYAML(t, "roles: {a: {inherits: [b]}, b: {inherits: [c]}, c: {}, d: {inherits: [c]}}"))
	put := func(name string, inherits ...string) error {
		return policy.NewDraft(view, 2).Apply(policy.PutRole(policytest.MustRole(t, name, policy.RoleSpec{Inherits: inherits}), ""))
	}
	var cycle *policy.CycleError
	require.ErrorAs(t, put("c", "d", "a"), &cycle)
	require.ErrorAs(t, put("c", "a"), &cycle)
	require.Equal(t, []string{"c", "a", "b"}, cycle.Roles)
	require.ErrorAs(t, put("new", "new"), &cycle)
	require.ErrorAs(t, put("b", "c", "a"), &cycle)
	require.NoError(t, put("a", "c", "d", "b"))
	require.NoError(t, put("new", "a", "d"))
	require.ErrorIs(t, put("a", "b", "missing"), policy.ErrUnknownRole)
}

// SECURITY, line 23.
func TestADraftRefusesAChainThatIsTooLong(t *testing.T) {
	view := policytest.NewView(policytest.ParseYAML(t, "roles: {top: {}, heir: {inherits: [top]}}"))
	put := func(d *policy.Draft, name string, inherits ...string) {
		require.NoError(t, d.Apply(policy.PutRole(policytest.MustRole(t, name, policy.RoleSpec{Inherits: inherits}), "")))
	}
	grow := func(n int, from string) *policy.Draft {
		d := policy.NewDraft(view, 2)
		for i := range n {
			name := fmt.Sprintf("r%d", i)
			put(d, name, from)
			from = name
		}
		return d
	}
	require.NoError(t, grow(policy.MaxInheritance-2, "heir").Check())
	require.ErrorIs(t, grow(policy.MaxInheritance-1, "heir").Check(), policy.ErrInvalid)

	down := func(n int) *policy.Draft { // each new role below the last, so that the roles above get deeper
		d, last := policy.NewDraft(view, 2), "top"
		for i := range n {
			name := fmt.Sprintf("r%d", i)
			put(d, name)
			put(d, last, name)
			last = name
		}
		return d
	}
	require.NoError(t, down(policy.MaxInheritance-2).Check())
	require.ErrorContains(t, down(policy.MaxInheritance-1).Check(), `role "heir" has a chain of more than 100 roles`)
}

func BenchmarkCheckRoles(b *testing.B) {
	for _, n := range []int{4_000, 100_000} {
		b.Run(fmt.Sprintf("chain-%d", n), func(b *testing.B) {
			roles := chain(b, n)
			b.ReportAllocs()
			for b.Loop() {
				require.ErrorIs(b, policy.CheckRoles(roles), policy.ErrInvalid)
			}
		})
	}
}

// BenchmarkDraftOfAChain puts the roles of a chain one after the other.
func BenchmarkDraftOfAChain(b *testing.B) {
	for _, n := range []int{4_000, 100_000} {
		b.Run(fmt.Sprintf("chain-%d", n), func(b *testing.B) {
			ordered := policy.ParentsFirst(chain(b, n))
			view := policytest.NewView(policytest.ParseYAML(b, "{}"))
			for b.Loop() {
				d := policy.NewDraft(view, 2)
				for _, r := range ordered {
					require.NoError(b, d.Apply(policy.PutRole(r, "")))
				}
			}
		})
	}
}
