package policyfile_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func TestChangesAreDescribedByField(t *testing.T) {
	from := policytest.ParseYAML(t, `
roles:
  base: {}
  gone: {}
  order-writer:
    inherits: [base]
    permissions:
      - {actions: [orders:read], resources: [orders/*]}
      - {effect: deny, actions: [orders:*], resources: [orders/frozen/**]}
  swap:
    permissions:
      - {actions: [a], resources: [x]}
      - {actions: [b], resources: [x]}
grants:
  - {principal: "user:alice", role: order-writer, reason: on call}
  - {principal: "user:bob", role: order-writer, within: [orders/eu/**, orders/us/**], expires: 2027-01-01T00:00:00Z}
  - {principals: "user:*", role: base}
  - {principal: "user:carol", role: gone}
`)
	to := policytest.ParseYAML(t, `
roles:
  base: {}
  fresh: {inherits: [base], permissions: [{actions: [a], resources: [b], when: "1 < 2"}]}
  order-writer:
    permissions:
      - {actions: [orders:write], resources: [orders/*]}
      - {effect: deny, actions: [orders:*], resources: [orders/frozen/**]}
  swap:
    permissions:
      - {actions: [b], resources: [x]}
      - {actions: [a], resources: [x]}
grants:
  - {principal: "user:alice", role: order-writer, reason: permanent, expires: 2027-01-01T00:00:00Z}
  - {principal: "user:bob", role: order-writer, within: [orders/eu/**], expires: 2027-01-01T00:00:00Z}
  - {principals: "user:*", role: base, expires: 2028-01-01T00:00:00Z}
`)
	changes := policyfile.Diff(from.AllRoles(), from.AllGrants(), to)
	descriptions, err := policyfile.DescribeChanges(from.View(1), changes)
	require.NoError(t, err)
	var described []policy.Change
	var lines []string
	for _, d := range descriptions {
		described, lines = append(described, d.Change), append(lines, d.Lines...)
	}
	require.Equal(t, changes, described)
	require.Equal(t, strings.TrimSpace(`
- grant user:bob order-writer within [orders/eu/**, orders/us/**] expires 2027-01-01T00:00:00Z
- grant user:carol gone
role fresh: new
role fresh: + inherits base
role fresh: + permission allow [a] on [b] when 1 < 2
role order-writer: - inherits base
role order-writer: - permission allow [orders:read] on [orders/*]
role order-writer: + permission allow [orders:write] on [orders/*]
role swap: another order
grant user:alice order-writer: expires never → 2027-01-01T00:00:00Z
grant user:alice order-writer: reason "on call" → "permanent"
+ grant user:bob order-writer within [orders/eu/**] expires 2027-01-01T00:00:00Z
grant user:* base: expires never → 2028-01-01T00:00:00Z
role gone: deleted
`), strings.Join(lines, "\n"))

	delta := policy.DeleteRole("swap", "")
	descriptions, err = policyfile.DescribeChanges(from.View(1), []policy.Change{
		policy.PutRole(from.Roles["base"], ""), policy.GrantRole(from.Grants[0]), delta,
		policy.RevokeRole(policy.Grant{Principal: policy.MustPrincipal("user:no"), Role: "base"}),
	})
	require.NoError(t, err)
	require.Equal(t, []policyfile.Description{{Change: delta, Lines: []string{"role swap: deleted"}}}, descriptions,
		"changes that change nothing are left out")
	_, err = policyfile.DescribeChanges(from.View(1), []policy.Change{policy.DeleteRole("base", "")})
	require.ErrorIs(t, err, policy.ErrRoleInUse)
}
