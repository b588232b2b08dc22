package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

func requireField(t *testing.T, err error, field string, cause error) {
	t.Helper()
	require.ErrorIs(t, err, cause)
	f, ok := err.(*policy.FieldError)
	require.True(t, ok, "%T: %v", err, err)
	require.Equal(t, field, f.Field)
}

func TestRoleSpecsThatAreRefused(t *testing.T) {
	good := policytest.Allow("a", "b")
	for _, c := range []struct {
		name  string
		spec  policy.RoleSpec
		field string
		cause error
	}{
		{"", policy.RoleSpec{}, "name", policy.ErrMalformed},
		{strings.Repeat("x", policy.MaxRoleName+1), policy.RoleSpec{}, "name", policy.ErrMalformed},
		{"r", policy.RoleSpec{Name: "s"}, "name", policy.ErrInvalid},
		{"r", policy.RoleSpec{Inherits: []string{"a", ""}}, "inherits[1]", policy.ErrMalformed},
		{"r", policy.RoleSpec{Inherits: []string{"a", "a"}}, "inherits[1]", policy.ErrInvalid},
		{"r", policy.RoleSpec{Permissions: []policy.PermissionSpec{good, policytest.Allow("a *b", "c")}}, "permissions[1].actions[1]", policy.ErrMalformed},
		{"r", policy.RoleSpec{Permissions: []policy.PermissionSpec{policytest.Allow("a", "")}}, "permissions[0].resources", policy.ErrInvalid},
		{"r", policy.RoleSpec{Permissions: []policy.PermissionSpec{policytest.Allow("", "a")}}, "permissions[0].actions", policy.ErrInvalid},
		{"r", policy.RoleSpec{Permissions: []policy.PermissionSpec{{Effect: "Allow", Actions: []string{"a"}, Resources: []string{"a"}}}}, "permissions[0].effect", policy.ErrInvalid},
		{"r", policy.RoleSpec{Permissions: []policy.PermissionSpec{{When: "1", Actions: []string{"a"}, Resources: []string{"a"}}}}, "permissions[0].when", policy.ErrCondition},
	} {
		_, err := c.spec.Role(c.name)
		requireField(t, err, c.field, c.cause)
	}
}

func TestRolesThatAreMadeByHand(t *testing.T) {
	_, err := policy.NewRole("r", nil, []policy.Permission{{Effect: 7}})
	requireField(t, err, "permissions[0].effect", policy.ErrInvalid)
	_, err = policy.NewRole("r", nil, []policy.Permission{{}})
	requireField(t, err, "permissions[0].actions", policy.ErrInvalid)
	action, err := policy.ParseActionPattern("a")
	require.NoError(t, err)
	actions := []policy.ActionPattern{action}
	_, err = policy.NewRole("r", nil, []policy.Permission{{Actions: actions}})
	requireField(t, err, "permissions[0].resources", policy.ErrInvalid)

	inherits := []string{"a"}
	r, err := policy.NewRole("r", inherits, nil)
	require.NoError(t, err)
	inherits[0] = "b"
	require.Equal(t, []string{"a"}, r.Inherits(), "a role is not changed from outside")
}

func TestGrantSpecsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		spec  policy.GrantSpec
		field string
		cause error
	}{
		{policy.GrantSpec{Role: "r"}, "principal", policy.ErrInvalid},
		{policy.GrantSpec{Principal: "user:a"}, "role", policy.ErrMalformed},
		{policy.GrantSpec{Principal: "user:a", Role: "a b"}, "role", policy.ErrMalformed},
		{policy.GrantSpec{Principal: "a", Role: "r"}, "principal", policy.ErrMalformed},
		{policy.GrantSpec{Principals: "user:a", Role: "r"}, "principals", policy.ErrMalformed},
		{policy.GrantSpec{Principal: "user:a", Principals: "user:*", Role: "r"}, "principals", policy.ErrInvalid},
		{policy.GrantSpec{Principal: "user:a", Role: "r", Within: []string{"a", "*b"}}, "within[1]", policy.ErrMalformed},
		{policy.GrantSpec{Principal: "user:a", Role: "r", Within: []string{"a", "a"}}, "within[1]", policy.ErrInvalid},
		{policy.GrantSpec{Principal: "user:a", Role: "r", Reason: "\xff"}, "reason", policy.ErrInvalid},
		{policy.GrantSpec{Principal: "user:a", Role: "r", Reason: strings.Repeat("x", policy.MaxReason+1)}, "reason", policy.ErrInvalid},
	} {
		_, err := c.spec.Grant()
		requireField(t, err, c.field, c.cause)
	}
	for _, expires := range []string{
		"tomorrow", "2027-01-01", "2027-01-01T00:00:00", "2027-01-01 00:00:00Z", "2027-1-1T00:00:00Z", "2027-01-01T0:00:00Z",
		"2027-01-01T00:00:00,5Z", "2027-02-30T00:00:00Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z",
		"9999-12-31T23:59:59Z", "1798761600",
	} {
		g, err := policy.GrantSpec{Principal: "user:a", Role: "r", Expires: expires}.Grant()
		requireField(t, err, "expires", policy.ErrInvalid)
		require.Zero(t, g)
	}
}

func TestGrantsExpireAtTheInstant(t *testing.T) {
	g := policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "r", Expires: "2027-01-01T01:00:00.5+01:00"})
	require.Equal(t, "2027-01-01T00:00:00.5Z", policy.SpecOfGrant(&g).Expires)
	require.False(t, g.ExpiredAt(g.Expires.UnixNano()-1))
	require.True(t, g.ExpiredAt(g.Expires.UnixNano()))
	last := policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "r", Expires: "2261-12-31T23:59:59Z"})
	require.False(t, last.ExpiredAt(g.Expires.UnixNano()))
	g.Expires = last.Expires
	require.True(t, g.Same(&last))
	require.True(t, g.Equal(&last))
}

func TestSpecsOfAnyRoleAndGrant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		for name, r := range f.Roles {
			again, err := policy.SpecOfRole(r).Role(name)
			require.NoError(t, err)
			require.Equal(t, policy.SpecOfRole(r), policy.SpecOfRole(again))
		}
		for _, g := range f.Grants {
			again, err := policy.SpecOfGrant(&g).Grant()
			require.NoError(t, err)
			require.True(t, g.Equal(&again))
		}
	})
}

// SECURITY, line 23.
func TestARoleAndAGrantHaveLimits(t *testing.T) {
	many := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf("x%d", i)
		}
		return list
	}
	for name, c := range map[string]struct {
		field string
		role  policy.RoleSpec
	}{
		"inherits":   {"inherits", policy.RoleSpec{Inherits: many(policy.MaxInherits + 1)}},
		"patterns":   {"permissions", policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"a"}, Resources: many(policy.MaxRolePatterns)}}}},
		"conditions": {"permissions", policy.RoleSpec{Permissions: slices.Repeat([]policy.PermissionSpec{{Actions: []string{"a"}, Resources: []string{"r"}, When: strings.Repeat(" ", 4000) + "true"}}, 17)}},
	} {
		_, err := c.role.Role("r")
		require.ErrorIs(t, err, policy.ErrInvalid, name)
		require.Equal(t, c.field, err.(*policy.FieldError).Field, name)
	}
	_, err := policy.GrantSpec{Principal: "user:a", Role: "r", Within: many(policy.MaxWithin + 1)}.Grant()
	require.ErrorContains(t, err, "within: invalid: 1001 limits; the limit is 1000")
	_, err = policy.GrantSpec{Principal: "user:a", Role: "r", Within: policy.Limits{}}.Grant()
	require.ErrorContains(t, err, "within: invalid: an empty list")
	g := policy.Grant{Principal: policy.MustPrincipal("user:a"), Role: "r", Within: []policy.ResourcePattern{}}
	require.ErrorContains(t, g.Check(), "within: invalid: an empty list")
}
