package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

func randomName(rng *rand.Rand, areas int) string {
	return fmt.Sprintf("area-%d/unit-%d/shelf-%d/item-%d", rng.IntN(areas), rng.IntN(4), rng.IntN(4), rng.IntN(1000))
}

// randomRole draws a role of permissions with prefixes of names, one in twenty of which
// denies.
func randomRole(t testing.TB, rng *rand.Rand, role string, areas, permissions int) *policy.Role {
	spec := policy.RoleSpec{Permissions: make([]policy.PermissionSpec, permissions)}
	for i := range spec.Permissions {
		segments := strings.SplitAfter(randomName(rng, areas), "/")[:1+rng.IntN(3)]
		spec.Permissions[i] = policytest.Allow(fmt.Sprintf("api:do%d", rng.IntN(4)), strings.Join(segments, "")+"**")
		if rng.IntN(20) == 0 {
			spec.Permissions[i].Effect = "deny"
		}
	}
	return policytest.MustRole(t, role, spec)
}

func BenchmarkJudge(b *testing.B) {
	for _, c := range []struct{ roles, perRole, each int }{{50, 20, 3}, {100, 1000, 100}} {
		b.Run(fmt.Sprintf("%d-roles-of-%d-%d-held", c.roles, c.perRole, c.each), func(b *testing.B) {
			rng := rand.New(rand.NewPCG(1, 2))
			areas := max(20, c.roles*c.perRole/50)
			var roles []*policy.Role
			for r := range c.roles {
				roles = append(roles, randomRole(b, rng, fmt.Sprintf("role-%d", r), areas, c.perRole))
			}
			table, err := policy.NewTable(1, roles, nil)
			require.NoError(b, err)
			who := policy.MustPrincipal("user:a")
			record := &policy.Record{}
			for _, r := range rng.Perm(c.roles)[:c.each] {
				record.Grants = append(record.Grants, policytest.MustGrant(b, policy.GrantSpec{Principal: "user:a", Role: fmt.Sprintf("role-%d", r)}))
			}
			held := table.Compile(table.Hold(who, record, 0))
			queries := make([]policy.Query, 4096)
			for i := range queries {
				queries[i] = policy.Query{Principal: who, Action: fmt.Sprintf("api:do%d", rng.IntN(4)), Resource: randomName(rng, areas)}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.Judge(held, &queries[i%len(queries)])
			}
		})
	}
}
