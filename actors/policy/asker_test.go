package policy_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

// An asker decides as an engine does that has published the view.
func TestAnAskerDecidesAsTheTableDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, p := policytest.GenFile(t), policytest.GenProperties(t)
		v, who := policytest.NewView(f), policy.MustPrincipal(p.Who)
		asker := policy.NewAsker(v, who, p.Now.UnixNano())
		table, err := f.Table(v.Revision())
		require.NoError(t, err)
		held := table.Compile(table.Hold(who, v.Record(who), p.Now.UnixNano()))
		for range 5 {
			q := &policy.Query{
				Action:   rapid.SampledFrom(policytest.Actions).Draw(t, "action"),
				Resource: rapid.SampledFrom(policytest.Resources).Draw(t, "resource"), Now: func() time.Time { return p.Now },
			}
			got := asker.Ask(q)
			require.True(t, q.Principal.IsZero(), "the query is the caller's")
			q.Principal = who
			want := table.Decide(held, q)
			require.Equal(t, want.Allowed, got.Allowed)
			require.Equal(t, v.Revision(), got.Revision)
			if got.Reason == policy.ReasonUnknownAction { // it knows what its principal can reach
				require.Contains(t, []policy.Reason{policy.ReasonNoPermission, policy.ReasonUnknownAction}, want.Reason)
				continue
			}
			require.Equal(t, want.Reason, got.Reason)
		}
	})
}
