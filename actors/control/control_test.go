package control_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

const sample = `
roles:
  admin:
    permissions:
      - actions: ["interlock:**"]
        resources: ["**"]
  helper:
    permissions:
      - actions: ["interlock:grant"]
        resources: ["roles/*"]
  reader:
    permissions:
      - actions: ["orders:read"]
        resources: ["orders/**"]
grants:
  - principal: user:root
    role: admin
  - principal: user:other
    role: admin
  - principal: user:desk
    role: helper
`

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func newSample(t *testing.T) *oplog.Memory {
	t.Helper()
	file, err := policyfile.Parse("sample.yaml", []byte(sample))
	require.NoError(t, err)
	m, err := oplog.NewMemoryWith(slices.Collect(maps.Values(file.Roles)), file.Grants)
	require.NoError(t, err)
	return m
}

// propose evaluates the preconditions of an update on the sample, as the log does.
func propose(t *testing.T, a control.Author, changes ...policy.Change) error {
	t.Helper()
	m := newSample(t)
	var result error
	require.NoError(t, m.View(func(tip policy.View) {
		before, after := a.Preconditions(changes, func() time.Time { return now })
		if result = before(tip); result != nil {
			return
		}
		d := policy.NewDraft(tip, tip.Revision()+1)
		for _, c := range changes {
			require.NoError(t, d.Apply(c))
		}
		result = after(tip, d)
	}))
	return result
}

func by(id string) control.Author { return control.Author{Principal: policy.MustPrincipal(id)} }

func grantOf(id, role string) policy.Grant {
	return policy.Grant{Principal: policy.MustPrincipal(id), Role: role}
}

func TestPreconditions(t *testing.T) {
	require.NoError(t, propose(t, by("user:root"), policy.GrantRole(grantOf("user:new", "admin"))))
	require.NoError(t, propose(t, by("user:desk"), policy.GrantRole(grantOf("user:new", "reader"))))
	require.ErrorIs(t, propose(t, by("user:desk"), policy.GrantRole(grantOf("user:desk", "admin"))), control.ErrNeedsFullRights)
	require.ErrorIs(t, propose(t, by("user:nobody"), policy.GrantRole(grantOf("user:new", "reader"))), actors.ErrDenied)

	everyone, err := policy.ParsePrincipalPattern("user:*")
	require.NoError(t, err)
	require.ErrorIs(t, propose(t, by("user:root"), policy.GrantRole(policy.Grant{Principals: everyone, Role: "admin"})), control.ErrExactOnly)
}

func TestFullRightsAreNotLostByMistake(t *testing.T) {
	own := policy.RevokeRole(grantOf("user:root", "admin"))
	require.ErrorIs(t, propose(t, by("user:root"), own, policy.RevokeRole(grantOf("user:other", "admin"))), control.ErrLastAdministrator)
	require.ErrorIs(t, propose(t, by("user:root"), own), control.ErrLosesControl)

	forced := by("user:root")
	forced.Force = true
	require.NoError(t, propose(t, forced, own))

	// The last principal that has connected loses its rights to one that never did.
	granter := by("user:other")
	granter.Connected = func(p policy.Principal) bool { return p.String() == "user:root" }
	require.ErrorIs(t, propose(t, granter, own), control.ErrLosesControl)
	granter.Connected = func(p policy.Principal) bool { return true }
	require.NoError(t, propose(t, granter, own))
}

func TestCredentialEndsRights(t *testing.T) {
	a := by("user:root")
	a.Credential = actors.NewCredential([32]byte{1}, [32]byte{2}, "3", now.Add(-time.Hour), now)
	err := propose(t, a, policy.GrantRole(grantOf("user:new", "reader")))
	var denied *actors.DeniedError
	require.True(t, errors.As(err, &denied))
	require.Equal(t, policy.ReasonCredentialExpired, denied.Decision.Reason)

	a.Credential = actors.NewCredential([32]byte{1}, [32]byte{2}, "3", now.Add(-time.Hour), now.Add(time.Hour))
	require.NoError(t, propose(t, a, policy.GrantRole(grantOf("user:new", "reader"))))
	a.Ended = func(*actors.Credential) bool { return true }
	require.ErrorIs(t, propose(t, a, policy.GrantRole(grantOf("user:new", "reader"))), actors.ErrDenied)
}

func TestFullRights(t *testing.T) {
	m := newSample(t)
	require.NoError(t, m.View(func(v policy.View) {
		require.True(t, control.FullRights(v, policy.MustPrincipal("user:root")))
		require.False(t, control.FullRights(v, policy.MustPrincipal("user:desk")))
	}))
}
