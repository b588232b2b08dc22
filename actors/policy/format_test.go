package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
)

func TestFormattedYAMLIsAsInTheDesign(t *testing.T) {
	f := parseYAML(t, seedYAML)
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
`, string(policy.FormatYAML(f.AllRoles(), f.AllGrants())))

	empty := parseYAML(t, "{}")
	require.Equal(t, "roles: {}\ngrants: []\n", string(policy.FormatYAML(empty.AllRoles(), empty.AllGrants())))
	require.JSONEq(t, `{"roles":{},"grants":[]}`, string(policy.FormatJSON(empty.AllRoles(), empty.AllGrants())))
}

// requireSame requires that b says what a says, to the letter but for the order of grants.
func requireSame(t require.TestingT, a, b *policy.File) {
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
		f := genFile(t)
		for i := range f.Grants {
			if rapid.Bool().Draw(t, "other") {
				f.Grants[i].Reason = rapid.String().Draw(t, "reason")
			}
		}
		for name, data := range map[string][]byte{
			"p.yaml": policy.FormatYAML(f.AllRoles(), f.AllGrants()),
			"p.json": policy.FormatJSON(f.AllRoles(), f.AllGrants()),
			"j.yaml": policy.FormatJSON(f.AllRoles(), f.AllGrants()), // JSON is YAML
		} {
			again, err := policy.ParseFile(name, data)
			require.NoError(t, err, "%s", data)
			requireSame(t, f, again)
			require.Equal(t, policy.FormatYAML(f.AllRoles(), f.AllGrants()), policy.FormatYAML(again.AllRoles(), again.AllGrants()))
		}
	})
}

// Other people's reader of YAML reads what we write as we do.
func TestWrittenYAMLIsReadByOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := genFile(t)
		var other struct {
			Roles  map[string]policy.RoleSpec
			Grants []policy.GrantSpec
		}
		text := policy.FormatYAML(f.AllRoles(), f.AllGrants())
		require.NoError(t, yaml.UnmarshalWithOptions(text, &other, yaml.Strict()), "%s", text)
		again := &policy.File{Roles: map[string]*policy.Role{}}
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
		f := &policy.File{Roles: map[string]*policy.Role{
			name: mustRole(t, name, policy.RoleSpec{Permissions: []policy.PermissionSpec{
				{Actions: []string{"*", "null", "a, b", "{", "a]", "x y"}, Resources: []string{"**", "-", "'", "~", "# a", "12"}, When: `resource.id == "a: b" || 'x' == "#"`},
			}}),
		}}
		for _, reason := range someReasons {
			f.Grants = append(f.Grants, mustGrant(t, policy.GrantSpec{
				Principal: "user:" + time.Duration(len(f.Grants)).String(), Role: name, Reason: reason, Within: []string{"a b", "*"},
			}))
		}
		again, err := policy.ParseFile("p.yaml", policy.FormatYAML(f.AllRoles(), f.AllGrants()))
		require.NoError(t, err)
		requireSame(t, f, again)
	}
}
