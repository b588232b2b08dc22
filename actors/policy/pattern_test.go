package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
)

// matchOracle says what a pattern matches.
func matchOracle(pattern, name, sep string) bool {
	all := func(string) bool { return true }
	return matchSegments(strings.Split(pattern, sep), strings.Split(name, sep), all, all)
}

// resourceOracle says what a pattern of a permission with that effect matches.
func resourceOracle(effect policy.Effect, pattern, resource string) bool {
	ok := func(segment string) bool {
		return effect == policy.Deny || strings.Trim(segment, ".") != "" || len(segment) > 2
	}
	return matchSegments(strings.Split(pattern, "/"), strings.Split(resource, "/"), ok, func(segment string) bool { return segment == "" || ok(segment) })
}

// matchSegments says by recursion what segments match. one and rest say what wildcards may match.
func matchSegments(pattern, name []string, one, rest func(segment string) bool) bool {
	switch {
	case len(pattern) == 0:
		return len(name) == 0
	case pattern[0] == "**":
		return len(pattern) == 1 && !slices.ContainsFunc(name, func(n string) bool { return !rest(n) })
	case len(name) == 0:
		return false
	}
	prefix, wild := strings.CutSuffix(pattern[0], "*")
	return (pattern[0] == name[0] || wild && (one(name[0]) || rest(name[0]) && slices.Equal(pattern, []string{"*", "**"})) && strings.HasPrefix(name[0], prefix)) && matchSegments(pattern[1:], name[1:], one, rest)
}

func actionOracle(pattern, action string) bool {
	const control = "interlock:"
	return strings.HasPrefix(pattern, control) == strings.HasPrefix(action, control) && matchOracle(pattern, action, ":")
}

func TestResourcePatternsAgainstAllNames(t *testing.T) {
	t.Run("prefixes", func(t *testing.T) {
		checkResourcePatterns(t, policytest.Names("/", 4, "a", "ab", "az", "abz"), policytest.GenPattern("/", "a", "ab"))
	})
	t.Run("odd segments", func(t *testing.T) {
		gen := policytest.GenPattern("/", "", "..").Filter(func(pattern string) bool { return pattern != "" })
		checkResourcePatterns(t, policytest.Names("/", 4, "", "..", "..z"), gen)
	})
}

func checkResourcePatterns(t *testing.T, all []string, gen *rapid.Generator[string]) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := policy.ParseResourcePattern(gen.Draw(t, "p"))
		require.NoError(t, err)
		q, err := policy.ParseResourcePattern(gen.Draw(t, "q"))
		require.NoError(t, err)
		covers, overlaps := true, false
		for _, name := range all {
			inP, inQ := resourceOracle(policy.Allow, p.String(), name), resourceOracle(policy.Allow, q.String(), name)
			require.Equal(t, inP, p.Matches(name), "%s on %s", p, name)
			covers = covers && (inP || !inQ)
			inP, inQ = resourceOracle(policy.Deny, p.String(), name), resourceOracle(policy.Deny, q.String(), name)
			require.Equal(t, inP, p.MatchesDeny(name), "deny %s on %s", p, name)
			overlaps = overlaps || (inP && inQ)
		}
		require.Equal(t, covers, p.Covers(q), "%s covers %s", p, q)
		require.Equal(t, overlaps, p.Overlaps(q), "%s overlaps %s", p, q)
	})
}

func TestActionPatternsAgainstAllNames(t *testing.T) {
	all := policytest.Names(":", 4, "interlock", "a", "interlockz", "az")
	rapid.Check(t, func(t *rapid.T) {
		gen := policytest.GenPattern(":", "interlock", "a")
		p, err := policy.ParseActionPattern(gen.Draw(t, "p"))
		require.NoError(t, err)
		q, err := policy.ParseActionPattern(gen.Draw(t, "q"))
		require.NoError(t, err)
		overlaps, control := false, false
		for _, name := range all {
			in := actionOracle(p.String(), name)
			require.Equal(t, in, p.Matches(name), "%s on %s", p, name)
			overlaps = overlaps || (in && actionOracle(q.String(), name))
			control = control || (in && strings.HasPrefix(name, policy.ControlPrefix))
		}
		require.Equal(t, overlaps, p.Overlaps(q), "%s overlaps %s", p, q)
		require.Equal(t, control, p.ReachesControl())
	})
}

func TestControlActionsAreNeverMatchedByChance(t *testing.T) {
	for _, wide := range []string{"*", "**", "*:*", "*:**", "*:grant", "interlock", "inter*:*", "interlock*:grant", "interlock*:**", "i*:**"} {
		p, err := policy.ParseActionPattern(wide)
		require.NoError(t, err)
		require.False(t, p.Matches("interlock:grant"), wide)
	}
	p, err := policy.ParseActionPattern("interlock:*")
	require.NoError(t, err)
	require.True(t, p.Matches("interlock:grant"))
	require.False(t, p.Matches("interlock"))
}

func TestPatternsThatAreRefused(t *testing.T) {
	for _, s := range []string{"", "*ord", "o*d", "ord**", "a/b**", "a/**/b", "**/a", "***", "a/*b", "a*/b*c", "a\x00", "\xff", strings.Repeat("x", policy.MaxResource+1)} {
		_, err := policy.ParseResourcePattern(s)
		require.ErrorIs(t, err, policy.ErrMalformed, s)
	}
	for _, s := range []string{"", "**:a", "*a", "a*b", "a:b**", strings.Repeat("x", policy.MaxAction+1)} {
		_, err := policy.ParseActionPattern(s)
		require.ErrorIs(t, err, policy.ErrMalformed, s)
	}
	for _, s := range []string{
		"", "*", "**", "user", "user:", ":*", "*:a", "user:alice", "user:al*", "user:**/x", "user:a/**/b", "spiffe:**",
		"spiffe://*/a", "spiffe://**", "spiffe://td", "spiffe://td*/**", "spiffe://td/a*", "spiffe://td/a*/**", "user:a*/*", "SPIFFE://td/**", "spiffe://td//**", "user:*\n",
	} {
		_, err := policy.ParsePrincipalPattern(s)
		require.ErrorIs(t, err, policy.ErrMalformed, s)
	}
}

func TestPrincipalPatterns(t *testing.T) {
	var zero policy.PrincipalPattern
	require.True(t, zero.IsZero())
	require.False(t, zero.Matches(policy.MustPrincipal("user:a")))
	require.False(t, zero.Matches(policy.Principal{}))
	for _, c := range []struct {
		pattern, principal string
		want               bool
	}{
		{"user:*", "user:a", true}, {"user:*", "user:a/b", false}, {"user:**", "user:a/b", true}, {"user:*", "group:a", false},
		{"user:a/*", "user:a/b", true}, {"user:*", "user:a:b", true}, {"spiffe://td/**", "spiffe://td/a", true},
		{"spiffe://td/**", "spiffe://td2/a", false}, {"spiffe://td/ns/*/sa/*", "spiffe://td/ns/a/sa/b", true},
		{"spiffe://td/ns/*/sa/*", "spiffe://td/ns/a/sa/b/c", false}, {"spiffe://td/*/**", "spiffe://td/a", true},
	} {
		p, err := policy.ParsePrincipalPattern(c.pattern)
		require.NoError(t, err, c.pattern)
		require.Equal(t, c.want, p.Matches(policy.MustPrincipal(c.principal)), "%s on %s", c.pattern, c.principal)
		require.False(t, p.Matches(policy.Principal{}))
	}
}

// The table in docs/policy.md.
func TestWhatWildcardsMatch(t *testing.T) {
	names := []string{"a", "a/", "a/b", "a/eu-", "a/eu-1", "a/eu-1/", "a/eu-1/x", "a/eu%2D1", "a/eu%2F1", "a//b", "a/.", "a/..", "a/../b", "a/...", "b"}
	for pattern, matches := range map[string][]string{
		"a/*":       {"a/b", "a/eu-", "a/eu-1", "a/eu%2D1", "a/eu%2F1", "a/..."},
		"a/eu-*":    {"a/eu-", "a/eu-1"},
		"a/eu-*/*":  {"a/eu-1/x"},
		"a/eu-*/**": {"a/eu-", "a/eu-1", "a/eu-1/", "a/eu-1/x"},
		"a/eu%*":    {"a/eu%2D1", "a/eu%2F1"},
		"a/**":      {"a", "a/", "a/b", "a/eu-", "a/eu-1", "a/eu-1/", "a/eu-1/x", "a/eu%2D1", "a/eu%2F1", "a//b", "a/..."},
		"a/*/**":    {"a/", "a//b", "a/b", "a/eu-", "a/eu-1", "a/eu-1/", "a/eu-1/x", "a/eu%2D1", "a/eu%2F1", "a/..."},
		"a//*":      {"a//b"},
		"a/..*":     {"a/..."},
		"a/../*":    {"a/../b"},
		"a//**":     {"a/", "a//b"},
		"a/../**":   {"a/..", "a/../b"},
		"*":         {"a", "b"},
	} {
		p, err := policy.ParseResourcePattern(pattern)
		require.NoError(t, err)
		f := policytest.ParseYAML(t, "roles: {r: {permissions: [{actions: [x], resources: ['"+pattern+"']}]}}\ngrants: [{principal: 'user:a', role: r}]")
		for _, name := range names {
			want := slices.Contains(matches, name)
			require.Equal(t, want, p.Matches(name), "%s on %s", pattern, name)
			q := &policy.Query{Principal: policy.MustPrincipal("user:a"), Action: "x", Resource: name}
			require.Equal(t, want, policytest.DecideIn(t, f, q, time.Unix(1, 0)).Allowed, "%s on %s", pattern, name)
		}
	}
}
