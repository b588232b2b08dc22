// Package policytest has generated policies and a policy in memory, for the tests of the
// model and of policy files.
package policytest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// The names that generated policies use.
var (
	Roles      = []string{"a", "b", "c", "d", "e", "f"}
	Principals = []string{"user:a", "user:b", "user:a/b", "spiffe://td/a", "spiffe://td/a/b", "spiffe://other/a"}
	Subjects   = []string{"user:*", "user:**", "user:a/*", "spiffe://td/*", "spiffe://td/**", "spiffe://td/a/*"}
	Actions    = Names(":", 3, "interlock", "x", "xy")
	Resources  = slices.DeleteFunc(Names("/", 4, "x", "xy", "", ".."), func(name string) bool { return name == "" })
	Instants   = []time.Time{
		{}, Instant("2030-01-01T00:00:00Z"), Instant("2031-01-01T00:00:00.25Z"), Instant("2032-06-01T00:00:00Z"),
	}
	Reasons = []string{
		"", "plain words", "a: b", "- a", "# no", "yes", "12", "1e5", "null", "it's", `"quoted"`, `it's "both"`, " lead", "trail ",
		"two\nlines\n", "\ttab", "é ü 漢字 😀", "\x00\x1f\x7f\u0085\u2028\ufeff", "{a}", "[a]", "*", "&a", "!x", "%x", "@x", "`x`",
		"a #b", "a:", "a,b", "? a", "|", ">", "a\\nb", "~", ".inf", "0x1f", "...", "---", "<<", "=", "a\rb",
	}
	// Conditions, and their results when n and flag are set or not.
	Conditions = []Condition{
		{"", func(Properties) (bool, bool) { return true, true }},
		{"resource.properties.n < 5", func(p Properties) (bool, bool) { return p.N < 5, p.N >= 0 }},
		{"context.flag", func(p Properties) (bool, bool) { return p.Flag, p.N >= 0 }},
		{"has(resource.properties.n) && resource.properties.n == 7", func(p Properties) (bool, bool) { return p.N == 7, true }},
		{"action.name == 'x' || principal.id == 'user:a'", func(p Properties) (bool, bool) { return p.Action == "x" || p.Who == "user:a", true }},
		{"now < timestamp('2031-01-01T00:00:00Z')", func(p Properties) (bool, bool) { return p.Now.Before(Instant("2031-01-01T00:00:00Z")), true }},
	}
)

// Properties are the values that the conditions of generated policies read.
type Properties struct {
	N           int // -1: neither n nor flag is set
	Flag        bool
	Who, Action string
	Now         time.Time
}

// Condition is the text of a condition, its value, and whether it can be evaluated.
type Condition struct {
	Text string
	Mean func(Properties) (value, ok bool)
}

// ConditionOf returns the condition with that text.
func ConditionOf(text string) Condition {
	return Conditions[slices.IndexFunc(Conditions, func(c Condition) bool { return c.Text == text })]
}

// Query returns the properties as a query has them.
func (p Properties) Query() *policy.Properties {
	if p.N < 0 {
		return nil
	}
	return &policy.Properties{
		Resource: map[string]any{"n": float64(p.N)}, Context: map[string]any{"flag": p.Flag},
	}
}

// GenSubset draws up to most of the texts.
func GenSubset(from []string, most int) *rapid.Generator[[]string] {
	if len(from) == 0 {
		return rapid.Just([]string(nil))
	}
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, most, rapid.ID)
}

// GenPermission draws a permission.
func GenPermission() *rapid.Generator[policy.PermissionSpec] {
	return rapid.Custom(func(t *rapid.T) policy.PermissionSpec {
		return policy.PermissionSpec{
			Effect:    rapid.SampledFrom([]string{"", "", "deny"}).Draw(t, "effect"),
			Actions:   rapid.SliceOfN(GenPattern(":", "interlock", "x", "xy"), 1, 2).Draw(t, "actions"),
			Resources: rapid.SliceOfN(genResourcePattern(), 1, 2).Draw(t, "resources"),
			When:      rapid.SampledFrom(Conditions).Draw(t, "when").Text,
		}
	})
}

// GenRoles draws roles. Each inherits only from roles before it in a drawn order.
func GenRoles(t *rapid.T) []policy.RoleSpec {
	order := rapid.Permutation(Roles).Draw(t, "order")[:rapid.IntRange(0, len(Roles)).Draw(t, "count")]
	roles := make([]policy.RoleSpec, len(order))
	for i, name := range order {
		roles[i] = policy.RoleSpec{
			Name: name, Inherits: GenSubset(order[:i], 2).Draw(t, "inherits"),
			Permissions: rapid.SliceOfN(GenPermission(), 0, 3).Draw(t, "permissions"),
		}
	}
	return roles
}

// GenGrant draws a grant of the role.
func GenGrant(t *rapid.T, role string) policy.GrantSpec {
	g := policy.GrantSpec{Role: role, Reason: rapid.SampledFrom(Reasons).Draw(t, "reason")}
	if rapid.Bool().Draw(t, "exact") {
		g.Principal = rapid.SampledFrom(Principals).Draw(t, "principal")
	} else {
		g.Principals = rapid.SampledFrom(Subjects).Draw(t, "principals")
	}
	if within := rapid.SliceOfNDistinct(genResourcePattern(), 0, 2, rapid.ID).Draw(t, "within"); len(within) > 0 {
		g.Within = within
	}
	if e := rapid.SampledFrom(Instants).Draw(t, "expires"); !e.IsZero() {
		g.Expires = e.Format(time.RFC3339Nano)
	}
	return g
}

// GenFile draws a policy that is consistent.
func GenFile(t *rapid.T) *policyfile.File {
	f := &policyfile.File{Roles: map[string]*policy.Role{}}
	var names []string
	for _, spec := range GenRoles(t) {
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
		g, err := GenGrant(t, rapid.SampledFrom(names).Draw(t, "role")).Grant()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(f.Grants, func(h policy.Grant) bool { return h.Same(&g) }) {
			f.Grants = append(f.Grants, g)
		}
	}
	return f
}

// GenProperties draws the values that conditions read.
func GenProperties(t *rapid.T) Properties {
	return Properties{
		N: rapid.SampledFrom([]int{-1, 3, 5, 7}).Draw(t, "n"), Flag: rapid.Bool().Draw(t, "flag"),
		Now:    rapid.SampledFrom([]time.Time{Instant("2029-01-01T00:00:00Z"), Instant("2030-01-01T00:00:00Z"), Instant("2031-07-01T00:00:00Z")}).Draw(t, "now"),
		Who:    rapid.SampledFrom(Principals).Draw(t, "who"),
		Action: rapid.SampledFrom(Actions).Draw(t, "action"),
	}
}

// String describes the properties, for failures.
func (p Properties) String() string {
	return fmt.Sprintf("%s does %s at %s with n %d, flag %v", p.Who, p.Action, p.Now.Format(time.RFC3339), p.N, p.Flag)
}

// Names returns all names of up to a number of segments, from the alphabet and from one
// segment that no pattern has.
func Names(sep string, most int, alphabet ...string) []string {
	alphabet = append(slices.Clone(alphabet), "other")
	all, longest := alphabet, alphabet
	for range most - 1 {
		var longer []string
		for _, head := range longest {
			for _, seg := range alphabet {
				longer = append(longer, head+sep+seg)
			}
		}
		all, longest = append(slices.Clone(all), longer...), longer
	}
	return all
}

func genResourcePattern() *rapid.Generator[string] {
	return GenPattern("/", "x", "xy", "", "..").Filter(func(pattern string) bool { return pattern != "" })
}

// GenPattern draws a pattern over the alphabet, with prefixes of it.
func GenPattern(sep string, alphabet ...string) *rapid.Generator[string] {
	segments := append(slices.Clone(alphabet), "*")
	for _, seg := range alphabet {
		segments = append(segments, seg+"*")
	}
	return rapid.Custom(func(t *rapid.T) string {
		segs := rapid.SliceOfN(rapid.SampledFrom(segments), 0, 3).Draw(t, "segments")
		if len(segs) == 0 || rapid.IntRange(0, 2).Draw(t, "rest") == 0 {
			segs = append(segs, "**")
		}
		return strings.Join(segs, sep)
	})
}
