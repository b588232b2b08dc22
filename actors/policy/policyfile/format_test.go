package policyfile_test

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func TestFormattedYAMLIsAsInTheDesign(t *testing.T) {
	f := policytest.ParseYAML(t, policytest.SeedYAML)
	require.Equal(t, `roles:
  order-reader:
    permissions:
      - actions: [orders:read, orders:list]
        resources: [orders/**]
  order-writer:
    inherits: [order-reader]
    permissions:
      - actions: [orders:write]
        resources: [orders/**]
        when: resource.properties.amount < 1000
      - effect: deny
        actions: [orders:*]
        resources: [orders/frozen/**]
grants:
  - principal: spiffe://interlock.test/alice
    role: order-writer
    within: [orders/eu/**]
    expires: 2027-01-01T00:00:00Z
    reason: on call in the winter
  - principals: spiffe://interlock.test/ns/*/sa/*
    role: order-reader
`, string(policyfile.FormatYAML(f.AllRoles(), f.AllGrants())))

	empty := policytest.ParseYAML(t, "{}")
	require.Equal(t, "roles: {}\ngrants: []\n", string(policyfile.FormatYAML(empty.AllRoles(), empty.AllGrants())))
	require.JSONEq(t, `{"roles":{},"grants":[]}`, string(policyfile.FormatJSON(empty.AllRoles(), empty.AllGrants())))
}

// requireSame requires that b says what a says, to the letter but for the order of grants.
func requireSame(t require.TestingT, a, b *policyfile.File) {
	require.Equal(t, len(a.Roles), len(b.Roles))
	for name, r := range a.Roles {
		require.Equal(t, policy.SpecOfRole(r), policy.SpecOfRole(b.Roles[name]))
	}
	require.Len(t, b.Grants, len(a.Grants))
	for _, g := range a.Grants {
		i := slices.IndexFunc(b.Grants, func(h policy.Grant) bool { return h.Same(&g) })
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, policy.SpecOfGrant(&g), policy.SpecOfGrant(&b.Grants[i]))
	}
}

func TestWhatIsWrittenIsReadAsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		for i := range f.Grants {
			if rapid.Bool().Draw(t, "other") {
				f.Grants[i].Reason = rapid.String().Draw(t, "reason")
			}
		}
		for name, data := range map[string][]byte{
			"p.yaml": policyfile.FormatYAML(f.AllRoles(), f.AllGrants()),
			"p.json": policyfile.FormatJSON(f.AllRoles(), f.AllGrants()),
			"j.yaml": policyfile.FormatJSON(f.AllRoles(), f.AllGrants()), // JSON is YAML but for control characters
		} {
			if name == "j.yaml" && bytes.ContainsFunc(data, unicode.IsControl) {
				continue
			}
			again, err := policyfile.Parse(name, data)
			require.NoError(t, err, "%s", data)
			requireSame(t, f, again)
			require.Equal(t, policyfile.FormatYAML(f.AllRoles(), f.AllGrants()), policyfile.FormatYAML(again.AllRoles(), again.AllGrants()))
		}
	})
}

// The decoder of package yaml reads what FormatYAML writes as Parse does.
func TestWrittenYAMLIsReadByOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		var other struct {
			Roles  map[string]policy.RoleSpec
			Grants []policy.GrantSpec
		}
		text := policyfile.FormatYAML(f.AllRoles(), f.AllGrants())
		in := yaml.NewDecoder(bytes.NewReader(text))
		in.KnownFields(true)
		require.NoError(t, in.Decode(&other), "%s", text)
		again := &policyfile.File{Roles: map[string]*policy.Role{}}
		for name, spec := range other.Roles {
			role, err := spec.Role(name)
			require.NoError(t, err)
			again.Roles[name] = role
		}
		for _, spec := range other.Grants {
			g, err := spec.Grant()
			require.NoError(t, err)
			again.Grants = append(again.Grants, g)
		}
		requireSame(t, f, again)
	})
}

func TestStringsThatNeedQuotes(t *testing.T) {
	for _, name := range []string{"null", "true", "No", "1", "1e3", "0x1", "-", "--", "---", "...", ".inf", "a.b-c", "y", "_", "12:30"} {
		if policy.CheckRoleName(name) != nil {
			continue
		}
		f := &policyfile.File{Roles: map[string]*policy.Role{
			name: policytest.MustRole(t, name, policy.RoleSpec{Permissions: []policy.PermissionSpec{
				{Actions: []string{"*", "null", "a, b", "{", "a]", "x y"}, Resources: []string{"**", "-", "'", "~", "# a", "12"}, When: `resource.id == "a: b" || 'x' == "#"`},
			}}),
		}}
		for _, reason := range policytest.Reasons {
			f.Grants = append(f.Grants, policytest.MustGrant(t, policy.GrantSpec{
				Principal: "user:" + time.Duration(len(f.Grants)).String(), Role: name, Reason: reason, Within: []string{"a b", "*"},
			}))
		}
		again, err := policyfile.Parse("p.yaml", policyfile.FormatYAML(f.AllRoles(), f.AllGrants()))
		require.NoError(t, err)
		requireSame(t, f, again)
	}
}
