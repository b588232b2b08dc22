package policyfile_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

// The view of a file answers as the table of the file does.
func TestAFileIsAskedLikeAPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, p := policytest.GenFile(t), policytest.GenProperties(t)
		view, want := f.View(7), policytest.NewView(f)
		require.EqualValues(t, 7, view.Revision())
		who := policy.MustPrincipal(p.Who)
		for name := range f.Roles {
			require.ElementsMatch(t, slices.Collect(want.Holders(name)), slices.Collect(view.Holders(name)))
		}
		table, err := f.Table(7)
		require.NoError(t, err)
		for range 5 {
			q := &policy.Query{
				Principal: who, Action: rapid.SampledFrom(policytest.Actions).Draw(t, "action"),
				Resource:   rapid.SampledFrom(policytest.Resources).Draw(t, "resource"),
				Properties: p.Query(), Now: func() time.Time { return p.Now },
			}
			got := policy.Ask(view, q, p.Now.UnixNano())
			held := table.Compile(table.Hold(who, want.Record(who), p.Now.UnixNano()))
			require.Equal(t, table.Decide(held, q).Allowed, got.Allowed)
			require.EqualValues(t, 7, got.Revision)
		}
	})
}

func TestAFileExplainsAndAnswersTheControlPlane(t *testing.T) {
	f := policytest.ParseYAML(t, `
roles:
  admin: {permissions: [{actions: ["interlock:**"], resources: ["**"]}]}
  chief: {inherits: [admin]}
grants: [{principal: "user:root", role: chief}]
`)
	view := f.View(1)
	now := policytest.Instant("2026-01-01T00:00:00Z").UnixNano()
	root := policy.MustPrincipal("user:root")
	d := policy.Ask(view, &policy.Query{Principal: root, Action: "interlock:grant", Resource: "roles/x"}, now)
	ex := d.Explain()
	require.True(t, ex.Allowed)
	require.Equal(t, []string{"chief", "admin"}, ex.Path)
	require.True(t, control.FullRights(view, root))
	require.False(t, control.FullRights(view, policy.MustPrincipal("user:other")))
}
