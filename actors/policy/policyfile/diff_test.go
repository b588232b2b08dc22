package policyfile_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// From any policy to any other: a draft accepts all changes, and what comes of them is
// the other policy.
func TestDiffLeadsFromOnePolicyToTheOther(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := policytest.GenFile(t), policytest.GenFile(t)
		v := policytest.NewView(from)
		d := policy.NewDraft(v, 2)
		for _, c := range policyfile.Diff(from.AllRoles(), from.AllGrants(), to) {
			require.NoError(t, d.Apply(c), c.String())
		}
		next := v.Commit(d)
		require.Equal(t, policytest.NewView(to).Lines(), next.Lines())
		require.Empty(t, policyfile.Diff(next.Roles(), to.AllGrants(), to))
	})
}

func diffLines(t *testing.T, from, to string) []string {
	t.Helper()
	a, b := policytest.ParseYAML(t, from), policytest.ParseYAML(t, to)
	lines := []string{}
	for _, c := range policyfile.Diff(a.AllRoles(), a.AllGrants(), b) {
		lines = append(lines, c.String())
	}
	return lines
}

func TestDiffIsSmallAndInOrder(t *testing.T) {
	const grants = "roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a}\n- {principal: 'user:x', role: a, within: [p]}\n- {principal: 'user:x', role: a, within: [q, r]}\n"
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"nothing", grants, grants, []string{}},
		{"the order of limits does not matter", grants,
			"roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a, within: [r, q]}\n- {principal: 'user:x', role: a}\n- {principal: 'user:x', role: a, within: [p]}\n",
			[]string{}},
		{"a reason alone", grants,
			"roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a}\n- {principal: 'user:x', role: a, within: [p], reason: new}\n- {principal: 'user:x', role: a, within: [q, r]}\n",
			[]string{"grant user:x a within p"}},
		{"an expiry alone, of the one without limits", grants,
			"roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a, expires: '2030-01-01T00:00:00Z'}\n- {principal: 'user:x', role: a, within: [p]}\n- {principal: 'user:x', role: a, within: [q, r]}\n",
			[]string{"grant user:x a"}},
		{"one of several", grants,
			"roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a}\n- {principal: 'user:x', role: a, within: [p]}\n",
			[]string{"revoke user:x a within q, r"}},
		{"the one without limits takes all", grants,
			"roles: {a: {}}\ngrants:\n- {principal: 'user:x', role: a, within: [p]}\n",
			[]string{"revoke user:x a", "grant user:x a within p"}},
		{"inheritance turned round",
			"roles: {a: {inherits: [b]}, b: {}, c: {inherits: [a]}}", "roles: {a: {}, b: {inherits: [a]}, d: {inherits: [b]}}",
			[]string{"put-role a", "put-role b", "put-role d", "delete-role c"}},
		{"children are deleted first",
			"roles: {a: {}, b: {inherits: [a]}, c: {inherits: [b]}}\ngrants: [{principals: 'user:*', role: c}]", "roles: {}",
			[]string{"revoke user:* c", "delete-role c", "delete-role b", "delete-role a"}},
		{"parents are put first",
			"{}", "roles: {a: {inherits: [b]}, b: {inherits: [c]}, c: {}}\ngrants: [{principal: 'user:x', role: a}]",
			[]string{"put-role c", "put-role b", "put-role a", "grant user:x a"}},
	} {
		require.Equal(t, c.want, diffLines(t, c.from, c.to), c.name)
	}
}

func TestDiffOfNothingIsThatOfAnEmptyPolicy(t *testing.T) {
	file := policytest.ParseYAML(t, "roles: {a: {}}\ngrants: [{principal: 'user:x', role: a}]")
	var lines []string
	for _, c := range policyfile.Diff(nil, nil, file) {
		lines = append(lines, c.String())
	}
	require.Equal(t, []string{"put-role a", "grant user:x a"}, lines)
	require.Empty(t, policyfile.Diff(nil, nil, &policyfile.File{}))
}
