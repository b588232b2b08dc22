package control_test

import (
	"errors"
	"fmt"
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
  - principal: user:reader
    role: reader
  - principal: user:former
    role: admin
    expires: 2001-01-01T00:00:00Z
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
	return proposeOn(t, newSample(t), a, changes...)
}

func proposeOn(t *testing.T, m *oplog.Memory, a control.Author, changes ...policy.Change) error {
	t.Helper()
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

func TestMayPropose(t *testing.T) {
	m := newSample(t)
	may := func(a control.Author) (err error) {
		require.NoError(t, m.View(func(v policy.View) { err = a.MayPropose(v, now) }))
		return err
	}
	require.NoError(t, may(by("user:root")))
	require.NoError(t, may(by("user:desk")))
	require.ErrorIs(t, may(by("user:reader")), actors.ErrDenied)
	require.ErrorIs(t, may(by("user:nobody")), actors.ErrDenied)
	require.ErrorIs(t, may(by("user:former")), actors.ErrDenied, "its grant has expired")

	ended := by("user:root")
	ended.Credential = actors.NewCredential([32]byte{1}, [32]byte{2}, "3", now.Add(-time.Hour), now)
	require.ErrorIs(t, may(ended), actors.ErrDenied)
}

// SECURITY, line 27.
func TestAnAuthorGivesWhatItHas(t *testing.T) {
	const policyText = `
roles:
  names: {permissions: [{actions: ["interlock:*"], resources: [roles/names, roles/given]}]}
  decides: {permissions: [{actions: ["interlock:decide"], resources: ["principals/**"]}]}
  when: {permissions: [{actions: ["interlock:read"], resources: ["**"], when: "1 < 2"}]}
  stopped: {permissions: [{effect: deny, actions: ["interlock:decide"], resources: [principals/eu/x], when: "1 > 2"}]}
  admin: {permissions: [{actions: ["interlock:**"], resources: ["**"]}]}
grants:
  - {principal: "user:root", role: admin}
  - {principal: "user:a", role: names}
  - {principal: "user:a", role: decides, within: ["principals/eu/**"]}
  - {principal: "user:a", role: when}
  - {principal: "user:a", role: stopped, expires: "2001-01-01T00:00:00Z"}
`
	file, err := policyfile.Parse("sample.yaml", []byte(policyText))
	require.NoError(t, err)
	m, err := oplog.NewMemoryWith(slices.Collect(maps.Values(file.Roles)), file.Grants)
	require.NoError(t, err)
	put := func(action, resource string) (err error) {
		role, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{action}, Resources: []string{resource}}}}.Role("given")
		require.NoError(t, err)
		return proposeOn(t, m, by("user:a"), policy.PutRole(role, ""))
	}
	require.NoError(t, put("interlock:decide", "principals/eu/y"))
	require.ErrorIs(t, put("interlock:decide", "principals/*"), control.ErrNeedsFullRights, "it has that within eu")
	require.ErrorIs(t, put("interlock:read", "policy"), control.ErrNeedsFullRights, "it has that with a condition")
	require.NoError(t, put("interlock:grant", "roles/given"))
	require.ErrorIs(t, put("interlock:**", "roles/given"), control.ErrNeedsFullRights, "it has one segment")
	require.NoError(t, put("interlock:*", "roles/given"))
	require.ErrorIs(t, put("interlock:decide", "principals/eu/*"), control.ErrNeedsFullRights, "a deny overlaps it")
}

func TestComparingRightsIsBounded(t *testing.T) {
	own := policy.PermissionSpec{Actions: []string{"interlock:change"}, Resources: []string{"roles/given"}}
	given := policy.PermissionSpec{}
	for i := range 3_000 {
		own.Resources = append(own.Resources, fmt.Sprintf("own/%d", i))
		given.Actions = append(given.Actions, fmt.Sprintf("interlock:x%d", i))
		given.Resources = append(given.Resources, fmt.Sprintf("given/%d", i))
	}
	few := policy.PermissionSpec{Actions: []string{"interlock:change", "interlock:grant"}, Resources: []string{"roles/given", "roles/few"}}
	own.Actions = append(own.Actions, "interlock:grant")
	own.Resources = append(own.Resources, "roles/few")
	own.Actions = append(own.Actions, given.Actions...)
	own.Resources = append(own.Resources, given.Resources...)
	role := func(name string, p policy.PermissionSpec) *policy.Role {
		r, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{p}}.Role(name)
		require.NoError(t, err)
		return r
	}
	m, err := oplog.NewMemoryWith([]*policy.Role{role("own", own), role("few", few)}, []policy.Grant{grantOf("user:a", "own")})
	require.NoError(t, err)
	require.ErrorIs(t, proposeOn(t, m, by("user:a"), policy.PutRole(role("given", given), "")), control.ErrNeedsFullRights)

	// A role is compared once, however often it is granted.
	grants := make([]policy.Change, 1_000)
	for i := range grants {
		grants[i] = policy.GrantRole(grantOf(fmt.Sprintf("user:n%d", i), "few"))
	}
	require.NoError(t, proposeOn(t, m, by("user:a"), grants...))
}

// The role of a canary gives nothing on the control plane, so it is no administrative role: it can
// be granted to a pattern.
func TestTheRoleOfTheCanaryIsNotAdministrative(t *testing.T) {
	pattern, err := policy.ParsePrincipalPattern(policy.CanaryKind + ":*")
	require.NoError(t, err)
	root := control.Author{Principal: policy.MustPrincipal("user:root")}
	require.NoError(t, propose(t, root, policy.PutRole(policy.NewCanaryRole(), ""),
		policy.GrantRole(policy.Grant{Principals: pattern, Role: policy.CanaryRole})))
}
