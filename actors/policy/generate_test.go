package policy_test

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
)

// The small world that generated policies are about.
var (
	someRoles      = []string{"a", "b", "c", "d", "e", "f"}
	somePrincipals = []string{"user:a", "user:b", "user:a/b", "spiffe://td/a", "spiffe://td/a/b", "spiffe://other/a"}
	someSubjects   = []string{"user:*", "user:**", "user:a/*", "spiffe://td/*", "spiffe://td/**", "spiffe://td/a/*"}
	someActions    = names(":", 3, "interlock", "x", "y")
	someResources  = names("/", 4, "x", "y")
	someInstants   = []time.Time{
		{}, instant("2030-01-01T00:00:00Z"), instant("2031-01-01T00:00:00.25Z"), instant("2032-06-01T00:00:00Z"),
	}
	someReasons = []string{
		"", "plain words", "a: b", "- a", "# no", "yes", "12", "1e5", "null", "it's", `"quoted"`, `it's "both"`, " lead", "trail ",
		"two\nlines\n", "\ttab", "é ü 漢字 😀", "\x00\x1f\x7f\u0085\u2028\ufeff", "{a}", "[a]", "*", "&a", "!x", "%x", "@x", "`x`",
		"a #b", "a:", "a,b", "? a", "|", ">", "a\\nb", "~", ".inf", "0x1f", "...", "---", "<<", "=", "a\rb",
	}
	// Conditions beside what they mean when n and flag are set or not.
	someConditions = []condition{
		{"", func(properties) (bool, bool) { return true, true }},
		{"resource.properties.n < 5", func(p properties) (bool, bool) { return p.n < 5, p.n >= 0 }},
		{"context.flag", func(p properties) (bool, bool) { return p.flag, p.n >= 0 }},
		{"has(resource.properties.n) && resource.properties.n == 7", func(p properties) (bool, bool) { return p.n == 7, true }},
		{"action.name == 'x' || principal.id == 'user:a'", func(p properties) (bool, bool) { return p.action == "x" || p.who == "user:a", true }},
		{"now < timestamp('2031-01-01T00:00:00Z')", func(p properties) (bool, bool) { return p.now.Before(instant("2031-01-01T00:00:00Z")), true }},
	}
)

type properties struct {
	n           int // -1: not there, nor the flag
	flag        bool
	who, action string
	now         time.Time
}

// condition is a text and what it means: the value, and whether it can be evaluated.
type condition struct {
	text string
	mean func(properties) (value, ok bool)
}

func conditionOf(text string) condition {
	return someConditions[slices.IndexFunc(someConditions, func(c condition) bool { return c.text == text })]
}

func (p properties) query() *policy.Properties {
	if p.n < 0 {
		return nil
	}
	return &policy.Properties{
		Resource: map[string]any{"n": float64(p.n)}, Context: map[string]any{"flag": p.flag},
	}
}

func genSubset(from []string, most int) *rapid.Generator[[]string] {
	if len(from) == 0 {
		return rapid.Just([]string(nil))
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, most, rapid.ID)
}

func genPermission() *rapid.Generator[policy.PermissionSpec] {
	return rapid.Custom(func(t *rapid.T) policy.PermissionSpec {
		return policy.PermissionSpec{
			Effect:    rapid.SampledFrom([]string{"", "", "deny"}).Draw(t, "effect"),
			Actions:   rapid.SliceOfN(genPattern(":", "interlock", "x", "y"), 1, 2).Draw(t, "actions"),
			Resources: rapid.SliceOfN(genPattern("/", "x", "y"), 1, 2).Draw(t, "resources"),
			When:      rapid.SampledFrom(someConditions).Draw(t, "when").text,
		}
	})
}

// genRoles draws roles, each of which inherits only of those before it in an order that
// is drawn too.
func genRoles(t *rapid.T) []policy.RoleSpec {
	order := rapid.Permutation(someRoles).Draw(t, "order")[:rapid.IntRange(0, len(someRoles)).Draw(t, "count")]
	roles := make([]policy.RoleSpec, len(order))
	for i, name := range order {
		roles[i] = policy.RoleSpec{
			Name: name, Inherits: genSubset(order[:i], 2).Draw(t, "inherits"),
			Permissions: rapid.SliceOfN(genPermission(), 0, 3).Draw(t, "permissions"),
		}
	}
	return roles
}

func genGrant(t *rapid.T, role string) policy.GrantSpec {
	g := policy.GrantSpec{Role: role, Reason: rapid.SampledFrom(someReasons).Draw(t, "reason")}
	if rapid.Bool().Draw(t, "exact") {
		g.Principal = rapid.SampledFrom(somePrincipals).Draw(t, "principal")
	} else {
		g.Principals = rapid.SampledFrom(someSubjects).Draw(t, "principals")
	}
	g.Within = rapid.SliceOfNDistinct(genPattern("/", "x", "y"), 0, 2, rapid.ID).Draw(t, "within")
	if e := rapid.SampledFrom(someInstants).Draw(t, "expires"); !e.IsZero() {
		g.Expires = e.Format(time.RFC3339Nano)
	}
	return g
}

// genFile draws a policy that is consistent.
func genFile(t *rapid.T) *policy.File {
	f := &policy.File{Roles: map[string]*policy.Role{}}
	var names []string
	for _, spec := range genRoles(t) {
		role, err := spec.Role(spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		f.Roles[spec.Name], names = role, append(names, spec.Name)
	}
	if len(names) == 0 {
		return f
	}
	for range rapid.IntRange(0, 8).Draw(t, "grants") {
		g, err := genGrant(t, rapid.SampledFrom(names).Draw(t, "role")).Grant()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(f.Grants, func(h policy.Grant) bool { return h.Same(&g) }) {
			f.Grants = append(f.Grants, g)
		}
	}
	return f
}

func genProperties(t *rapid.T) properties {
	return properties{
		n: rapid.SampledFrom([]int{-1, 3, 5, 7}).Draw(t, "n"), flag: rapid.Bool().Draw(t, "flag"),
		now:    rapid.SampledFrom([]time.Time{instant("2029-01-01T00:00:00Z"), instant("2030-01-01T00:00:00Z"), instant("2031-07-01T00:00:00Z")}).Draw(t, "now"),
		who:    rapid.SampledFrom(somePrincipals).Draw(t, "who"),
		action: rapid.SampledFrom(someActions).Draw(t, "action"),
	}
}

func (p properties) String() string {
	return fmt.Sprintf("%s does %s at %s with n %d, flag %v", p.who, p.action, p.now.Format(time.RFC3339), p.n, p.flag)
}
