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
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// baseView has role a, role b that inherits it, and three grants of b to alice.
func baseView(t *testing.T) *policytest.View {
	return policytest.NewView(policytest.ParseYAML(t, `
roles:
  a: {}
  b: {inherits: [a]}
  free: {}
  parent: {}
  kid: {inherits: [parent]}
grants:
  - {principal: "user:alice", role: b}
  - {principal: "user:alice", role: b, within: [x, y]}
  - {principal: "user:alice", role: b, within: [z]}
  - {principals: "user:*", role: a}
`))
}

func TestDraftsDoNotChangeTheirView(t *testing.T) {
	v := baseView(t)
	before := v.Lines()
	d := policy.NewDraft(v, 9)
	cert, err := policy.ByFingerprint(strings.Repeat("AB:", 31) + "ab")
	require.NoError(t, err)
	for _, c := range []policy.Change{
		policy.PutRole(policytest.MustRole(t, "c", policy.RoleSpec{Inherits: []string{"b"}}), "why"),
		policy.GrantRole(policytest.MustGrant(t, policytest.GrantOf("user:alice", "c"))),
		policy.GrantRole(policytest.MustGrant(t, policytest.GrantOf("user:bob", "a"))),
		policy.GrantRole(policytest.MustGrant(t, policy.GrantSpec{Principals: "user:**", Role: "b"})),
		policy.RevokeRole(policytest.MustGrant(t, policy.GrantSpec{Principals: "user:*", Role: "a"})),
		policy.RevokeRole(policytest.MustGrant(t, policytest.GrantOf("user:alice", "b"))),
		policy.DeleteRole("free", ""),
		policy.RevokeCertificate(cert, "lost"),
		policy.RevokeCertificate(cert, "lost again"),
	} {
		require.NoError(t, d.Apply(c), c.String())
	}
	require.Equal(t, before, v.Lines())
	require.EqualValues(t, 9, d.Revision())
	require.True(t, d.Revoked(cert))
	require.Len(t, d.Certificates(true), 1)
	require.Nil(t, d.Role("free"))
	require.EqualValues(t, 9, d.Record(policy.MustPrincipal("user:alice")).Revision)
	require.Equal(t, []policy.Principal{policy.MustPrincipal("user:bob")}, slices.Collect(d.Holders("a")))
	require.Empty(t, slices.Collect(d.Holders("b")))

	next := v.Commit(d)
	require.Equal(t, `roles:
  a: {}
  b:
    inherits: [a]
  c:
    inherits: [b]
  kid:
    inherits: [parent]
  parent: {}
grants:
  - principal: user:alice
    role: c
  - principal: user:bob
    role: a
  - principals: user:**
    role: b
`, next.Lines())
	require.False(t, policy.NewDraft(next, 10).Revoked(policy.CertificateID{Serial: "1", Issuer: "2"}))
	require.NoError(t, policy.NewDraft(next, 10).Apply(policy.RevokeCertificate(cert, "")))
}

// A draft lists a certificate once if it ends otherwise than it began, whatever came between.
func TestDraftTakesRevocationsOfCertificatesBack(t *testing.T) {
	old, other := policy.CertificateID{SHA256: "01"}, policy.CertificateID{SHA256: "02"}
	revoke := func(id policy.CertificateID) policy.Change { return policy.RevokeCertificate(id, "") }
	unrevoke := func(id policy.CertificateID) policy.Change { return policy.UnrevokeCertificate(id, "") }
	v := baseView(t)
	d := policy.NewDraft(v, 9)
	require.NoError(t, d.Apply(revoke(old)))
	v = v.Commit(d)
	for _, c := range []struct {
		changes            []policy.Change
		revoked, unrevoked []policy.CertificateID
	}{
		{[]policy.Change{unrevoke(old)}, nil, []policy.CertificateID{old}},
		{[]policy.Change{unrevoke(old), unrevoke(old)}, nil, []policy.CertificateID{old}},
		{[]policy.Change{unrevoke(old), revoke(old)}, nil, nil},
		{[]policy.Change{unrevoke(old), revoke(old), unrevoke(old)}, nil, []policy.CertificateID{old}},
		{[]policy.Change{unrevoke(other)}, nil, nil},
		{[]policy.Change{revoke(other), unrevoke(other)}, nil, nil},
		{[]policy.Change{revoke(other), unrevoke(other), revoke(other), unrevoke(old)}, []policy.CertificateID{other}, []policy.CertificateID{old}},
	} {
		d := policy.NewDraft(v, 10)
		for _, change := range c.changes {
			require.NoError(t, d.Apply(change))
		}
		require.ElementsMatch(t, c.revoked, d.Certificates(true), c.changes)
		require.ElementsMatch(t, c.unrevoked, d.Certificates(false), c.changes)
		next := v.Commit(d)
		for _, id := range []policy.CertificateID{old, other} {
			require.Equal(t, d.Revoked(id), next.Revoked(id))
		}
	}
}

func TestRevocationWithLimitsTakesOnlyThat(t *testing.T) {
	v := baseView(t)
	alice := policy.MustPrincipal("user:alice")
	d := policy.NewDraft(v, 2)
	require.NoError(t, d.Apply(policy.RevokeRole(policytest.MustGrant(t, policytest.GrantOf("user:alice", "b", "y", "x")))))
	require.Len(t, d.Record(alice).Grants, 2)
	require.NoError(t, d.Apply(policy.RevokeRole(policytest.MustGrant(t, policytest.GrantOf("user:alice", "b", "x")))), "what is not there is gone")
	require.Len(t, d.Record(alice).Grants, 2)
	require.NoError(t, d.Apply(policy.RevokeRole(policytest.MustGrant(t, policytest.GrantOf("user:alice", "b")))))
	require.NotNil(t, d.Record(alice))
	require.Empty(t, d.Record(alice).Grants)
}

func TestAGrantAgainReplacesExpiryAndReason(t *testing.T) {
	d := policy.NewDraft(baseView(t), 2)
	spec := policytest.GrantOf("user:alice", "b", "y", "x")
	spec.Reason, spec.Expires = "new", "2030-01-01T00:00:00Z"
	require.NoError(t, d.Apply(policy.GrantRole(policytest.MustGrant(t, spec))))
	grants := d.Record(policy.MustPrincipal("user:alice")).Grants
	require.Len(t, grants, 3)
	require.Equal(t, "new", grants[1].Reason)
	require.Equal(t, 2030, grants[1].Expires.Year())
}

func TestChangesThatADraftRefuses(t *testing.T) {
	self := policytest.MustRole(t, "a", policy.RoleSpec{Inherits: []string{"b"}})
	for _, c := range []struct {
		change policy.Change
		field  string
		cause  error
	}{
		{policy.GrantRole(policytest.MustGrant(t, policytest.GrantOf("user:x", "none"))), "role", policy.ErrUnknownRole},
		{policy.RevokeRole(policytest.MustGrant(t, policytest.GrantOf("user:x", "none"))), "role", policy.ErrUnknownRole},
		{policy.GrantRole(policy.Grant{Role: "a"}), "principal", policy.ErrInvalid},
		{policy.RevokeRole(policy.Grant{Role: "a"}), "principal", policy.ErrInvalid},
		{policy.GrantRole(policy.Grant{Principal: policy.MustPrincipal("user:x"), Role: "no name"}), "role", policy.ErrMalformed},
		{policy.GrantRole(policy.Grant{Principal: policy.MustPrincipal("user:x"), Role: "a", Expires: policytest.Instant("9999-01-01T00:00:00Z")}), "expires", policy.ErrInvalid},
		{policy.GrantRole(policy.Grant{Principal: policy.MustPrincipal("user:x"), Role: "a", Reason: "\xff"}), "reason", policy.ErrInvalid},
		{policy.PutRole(nil, ""), "role", policy.ErrInvalid},
		{policy.PutRole(self, ""), "inherits", policy.ErrCycle},
		{policy.PutRole(policytest.MustRole(t, "n", policy.RoleSpec{Inherits: []string{"a", "none"}}), ""), "inherits[1]", policy.ErrUnknownRole},
		{policy.DeleteRole("none", ""), "role", policy.ErrUnknownRole},
		{policy.DeleteRole("b", ""), "role", policy.ErrRoleInUse},
		{policy.DeleteRole("a", ""), "role", policy.ErrRoleInUse},
		{policy.DeleteRole("parent", ""), "role", policy.ErrRoleInUse},
		{policy.RevokeCertificate(policy.CertificateID{}, ""), "sha256", policy.ErrInvalid},
		{policy.UnrevokeCertificate(policy.CertificateID{}, ""), "sha256", policy.ErrInvalid},
		{policy.Change{Op: "other"}, "op", policy.ErrInvalid},
	} {
		err := policy.NewDraft(baseView(t), 2).Apply(c.change)
		require.ErrorIs(t, err, c.cause)
		var field *policy.FieldError
		require.ErrorAs(t, err, &field)
		require.Equal(t, c.field, field.Field)
	}
}

func TestCertificateIDs(t *testing.T) {
	issuer := strings.Repeat("0a", 32)
	a, err := policy.BySerial("00:0A", strings.ToUpper(issuer))
	require.NoError(t, err)
	b, err := policy.BySerial("a", issuer)
	require.NoError(t, err)
	require.Equal(t, a, b)
	require.Equal(t, "a@"+issuer, a.String())
	zero, err := policy.BySerial("0000", issuer)
	require.NoError(t, err)
	require.Equal(t, "0", zero.Serial)
	for _, serial := range []string{"", ":", "xyz", strings.Repeat("1", 65)} {
		_, err := policy.BySerial(serial, issuer)
		require.ErrorIs(t, err, policy.ErrMalformed)
	}
	_, err = policy.BySerial("1", "12")
	require.ErrorIs(t, err, policy.ErrMalformed)
	_, err = policy.ByFingerprint(issuer + "00")
	require.ErrorIs(t, err, policy.ErrMalformed)
}

func TestChangesOnOneLine(t *testing.T) {
	for _, c := range []struct {
		change policy.Change
		want   string
	}{
		{policy.GrantRole(policytest.MustGrant(t, policytest.GrantOf("user:x", "a", "y/*", "z"))), "grant user:x a within y/*, z"},
		{policy.RevokeRole(policytest.MustGrant(t, policy.GrantSpec{Principals: "user:*", Role: "a"})), "revoke user:* a"},
		{policy.PutRole(policytest.MustRole(t, "r", policy.RoleSpec{}), ""), "put-role r"},
		{policy.DeleteRole("r", ""), "delete-role r"},
		{policy.RevokeCertificate(policy.CertificateID{SHA256: "ab"}, ""), "revoke-certificate ab"},
		{policy.Change{Op: "x"}, "unknown change x"},
	} {
		require.Equal(t, c.want, c.change.String())
	}
}

// genChange draws a change of the small world that a draft may accept.
func genChange(t *rapid.T) policy.Change {
	role := rapid.SampledFrom(policytest.Roles).Draw(t, "role")
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0, 1:
		spec := policy.RoleSpec{Inherits: policytest.GenSubset(policytest.Roles, 2).Draw(t, "inherits")}
		r, err := spec.Role(role)
		require.NoError(t, err)
		return policy.PutRole(r, "")
	case 2:
		return policy.DeleteRole(role, "")
	}
	spec := policytest.GenGrant(t, role)
	revokes := rapid.Bool().Draw(t, "revokes")
	if revokes && rapid.Bool().Draw(t, "all") {
		spec.Within = nil
	}
	g, err := spec.Grant()
	require.NoError(t, err)
	if revokes {
		return policy.RevokeRole(g)
	}
	return policy.GrantRole(g)
}

// Many changes in one draft come to what they come to one by one, and are refused alike.
// SECURITY, line 23.
func TestAPrincipalHasALimitOfGrants(t *testing.T) {
	view := policytest.NewView(policytest.ParseYAML(t, "roles: {r: {}}"))
	d := policy.NewDraft(view, 2)
	give := func(i int) error {
		return d.Apply(policy.GrantRole(policytest.MustGrant(t, policy.GrantSpec{Principal: "user:a", Role: "r", Within: policy.Limits{fmt.Sprint(i)}})))
	}
	for i := range policy.MaxGrants {
		require.NoError(t, give(i))
	}
	require.NoError(t, give(0), "an earlier one again")
	require.ErrorContains(t, give(-1), "principal: invalid: user:a has 4096 grants, which is the limit")
}

func TestADraftOfManyChangesIsThatOfEach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := policytest.NewView(policytest.GenFile(t))
		before, step := v.Lines(), v
		d := policy.NewDraft(v, 100)
		for i := range rapid.IntRange(1, 30).Draw(t, "changes") {
			c := genChange(t)
			one := policy.NewDraft(step, uint64(2+i))
			want, err := one.Apply(c), d.Apply(c)
			require.Equal(t, want, err, c.String())
			if err != nil {
				require.Equal(t, before, v.Lines())
				return
			}
			step = step.Commit(one)
			requireSameView(t, step, d)
		}
		require.Equal(t, step.Lines(), v.Commit(d).Lines())
		require.Equal(t, before, v.Lines(), "the view stays as it was")
	})
}

func requireSameView(t *rapid.T, want *policytest.View, d *policy.Draft) {
	require.ElementsMatch(t, want.Patterns().Sorted(), d.Patterns().Sorted())
	for _, name := range policytest.Roles {
		require.ElementsMatch(t, slices.Collect(want.Holders(name)), slices.Collect(d.Holders(name)), name)
	}
	for _, p := range policytest.Principals {
		who := policy.MustPrincipal(p)
		a, b := want.Record(who), d.Record(who)
		require.Equal(t, a == nil, b == nil)
		if a != nil {
			require.Equal(t, texts(a.Grants), texts(b.Grants))
		}
	}
}

func texts(grants []policy.Grant) []policy.GrantSpec {
	specs := make([]policy.GrantSpec, len(grants))
	for i := range grants {
		specs[i] = policy.SpecOfGrant(&grants[i])
	}
	return specs
}

// A grant to a pattern that is there is no edit, and one with another reason is.
func TestADraftOfAnEqualPatternGrant(t *testing.T) {
	g := policytest.MustGrant(t, policy.GrantSpec{Principals: "user:*", Role: "r"})
	v := policytest.NewView(&policyfile.File{
		Roles: map[string]*policy.Role{"r": policytest.MustRole(t, "r", policy.RoleSpec{})}, Grants: []policy.Grant{g},
	})
	d := policy.NewDraft(v, 2)
	require.NoError(t, d.Apply(policy.GrantRole(g)))
	require.Empty(t, d.PatternEdits)
	g.Reason = "another"
	require.NoError(t, d.Apply(policy.GrantRole(g)))
	require.Len(t, d.PatternEdits, 1)
	require.Equal(t, []*policy.Grant{&g}, d.Patterns().Sorted())
}

// A large update must not look through all of it for each of its changes: with that these
// take minutes.
func TestADraftOfVeryManyChanges(t *testing.T) {
	const many = 20_000
	v := policytest.NewView(&policyfile.File{Roles: map[string]*policy.Role{"r": policytest.MustRole(t, "r", policy.RoleSpec{})}})
	var changes []policy.Change
	for i := range many {
		name := fmt.Sprintf("r%d", i)
		changes = append(changes, policy.PutRole(policytest.MustRole(t, name, policy.RoleSpec{}), ""),
			policy.GrantRole(policytest.MustGrant(t, policy.GrantSpec{Principals: fmt.Sprintf("user:%d/*", i), Role: "r"})),
			policy.GrantRole(policytest.MustGrant(t, policytest.GrantOf(fmt.Sprintf("user:%d", i), "r"))))
	}
	for i := range many {
		changes = append(changes, policy.RevokeRole(policytest.MustGrant(t, policy.GrantSpec{Principals: fmt.Sprintf("user:%d/*", i), Role: "r"})))
	}
	for i := range many {
		changes = append(changes, policy.DeleteRole(fmt.Sprintf("r%d", i), ""))
	}
	d := policy.NewDraft(v, 2)
	for _, c := range changes {
		require.NoError(t, d.Apply(c))
	}
	require.Empty(t, d.Patterns().Sorted())
	require.Len(t, d.Records, many)
}
