package policyfile_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// A policy with the probe of package canary does not differ from a file without it, or with it.
func TestDiffIgnoresTheCanary(t *testing.T) {
	probe := policy.MustPrincipal("interlock-canary:server")
	grant := policy.Grant{Principal: probe, Role: policy.CanaryRole, Reason: "canary"}
	role := policy.NewCanaryRole()
	roles, grants := slices.Values([]*policy.Role{role}), slices.Values([]policy.Grant{grant})
	none := slices.Values([]policy.Grant{})
	empty := &policyfile.File{Roles: map[string]*policy.Role{}}
	exported := &policyfile.File{Roles: map[string]*policy.Role{role.Name(): role}, Grants: []policy.Grant{grant}}
	require.Empty(t, policyfile.Diff(roles, none, empty))
	require.Empty(t, policyfile.Diff(roles, grants, empty), "during a round")
	require.Empty(t, policyfile.Diff(roles, none, exported), "a file that was exported during a round")
	require.Empty(t, policyfile.Diff(roles, grants, exported))
	require.Equal(t, []policy.Change{policy.PutRole(role, "")}, policyfile.Diff(nil, nil, exported), "a new store")

	// What is not exactly the canary's is a difference, because it could give access to something.
	other, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"orders:read"}, Resources: []string{"**"}}}}.Role(policy.CanaryRole)
	require.NoError(t, err)
	require.Len(t, policyfile.Diff(slices.Values([]*policy.Role{other}), none, empty), 1)
	within, err := policy.ParseResourcePattern("a/**")
	require.NoError(t, err)
	for _, g := range []policy.Grant{
		{Principal: policy.MustPrincipal("user:alice"), Role: policy.CanaryRole},
		{Principal: policy.MustPrincipal("interlock-canary2:x"), Role: policy.CanaryRole},
		{Principal: probe, Role: "other"},
		{Principal: probe, Role: policy.CanaryRole, Within: []policy.ResourcePattern{within}},
		{Principal: probe, Role: policy.CanaryRole, Expires: time.Unix(1e9, 0)},
	} {
		require.Len(t, policyfile.Diff(roles, slices.Values([]policy.Grant{g}), empty), 1, g.Subject())
	}
}
