package policy_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func TestG6_ZeroDecisionDenies(t *testing.T) {
	var d policy.Decision
	require.False(t, d.Allowed)
	require.Equal(t, policy.ReasonUnset, d.Reason)
	ex := d.Explain()
	require.False(t, ex.Allowed)
	require.Equal(t, "denied (unset)", ex.String())

	var e policy.Effective
	table, err := policy.NewTable(3, []*policy.Role{policytest.MustRole(t, "r", policy.RoleSpec{Permissions: []policy.PermissionSpec{policytest.Allow("**", "**")}})}, nil)
	require.NoError(t, err)
	d = table.Decide(&e, &policy.Query{Action: "a", Resource: "b"})
	require.False(t, d.Allowed, "who holds nothing may nothing")
	require.Equal(t, policy.ReasonNoPermission, d.Reason)
	require.EqualValues(t, 3, d.Revision)

	d = policy.Denied(policy.ReasonOverloaded, policy.MustPrincipal("user:a"), 5, 6)
	require.False(t, d.Allowed)
	require.Equal(t, "denied (overloaded)", d.Explain().String())
	require.EqualValues(t, 5, d.Revision)
	require.EqualValues(t, 6, d.Time)
}

func TestG6_EveryReasonHasItsName(t *testing.T) {
	seen := map[string]bool{}
	for r := policy.ReasonUnset; r <= policy.ReasonFenced; r++ {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		require.False(t, seen[string(text)])
		require.NotContains(t, r.String(), "(")
		seen[string(text)] = true
	}
	require.Equal(t, "reason(200)", policy.Reason(200).String())
}

func TestG6_MalformedAndUnknownRequestsAreDenied(t *testing.T) {
	f := policytest.ParseYAML(t, "roles: {r: {permissions: [{actions: ['**'], resources: ['**']}]}, s: {permissions: [{actions: ['interlock:x'], resources: [a]}]}}\ngrants: [{principal: 'user:a', role: r}]")
	for _, c := range []struct {
		action, resource string
		want             policy.Reason
	}{
		{"", "r", policy.ReasonMalformed}, {"a", "", policy.ReasonMalformed},
		{strings.Repeat("a", policy.MaxAction+1), "r", policy.ReasonMalformed},
		{"a", strings.Repeat("a", policy.MaxResource+1), policy.ReasonMalformed},
		{"a", "r", policy.ReasonAllowed}, {strings.Repeat("a:", 100) + "b", strings.Repeat("a/", 900), policy.ReasonAllowed},
		{"interlock:y", "r", policy.ReasonUnknownAction}, {"interlock:x", "a", policy.ReasonNoPermission},
		{"interlock:x", "b", policy.ReasonNoPermission},
	} {
		d := policytest.DecideIn(t, f, &policy.Query{Principal: policy.MustPrincipal("user:a"), Action: c.action, Resource: c.resource}, time.Unix(1, 0))
		require.Equal(t, c.want, d.Reason, "%.40s on %.40s", c.action, c.resource)
		require.Equal(t, c.want == policy.ReasonAllowed, d.Allowed)
	}
}

// oracle decides in the plainest way: over all grants, roles and permissions.
func oracle(f *policyfile.File, p policytest.Properties, resource string) policy.Reason {
	known := false
	for _, r := range f.Roles {
		for _, perm := range r.Permissions() {
			known = known || slices.ContainsFunc(perm.Actions, func(a policy.ActionPattern) bool { return actionOracle(a.String(), p.Action) })
		}
	}
	if !known {
		return policy.ReasonUnknownAction
	}
	var o oracleTally
	for _, g := range f.Grants {
		if g.ExpiredAt(p.Now.UnixNano()) || !subjectOracle(&g, p.Who) {
			continue
		}
		within := len(g.Within) == 0 || matchesAny(policy.Allow, g.Within, resource)
		for _, perm := range reachable(f, g.Role) {
			if !slices.ContainsFunc(perm.Actions, func(a policy.ActionPattern) bool { return actionOracle(a.String(), p.Action) }) ||
				!matchesAny(perm.Effect, perm.Resources, resource) || (perm.Effect == policy.Allow && !within) {
				continue
			}
			o.count(perm, p)
		}
	}
	return o.reason()
}

type oracleTally struct{ allowed, failed, denied, deniedIf, denyFailed bool }

func (o *oracleTally) count(perm policy.Permission, p policytest.Properties) {
	value, ok := policytest.ConditionOf(perm.When.String()).Mean(p)
	switch {
	case perm.Effect == policy.Allow:
		o.allowed = o.allowed || (ok && value)
		o.failed = o.failed || !ok
	case perm.When == nil:
		o.denied = true
	default:
		o.deniedIf = o.deniedIf || (ok && value)
		o.denyFailed = o.denyFailed || !ok
	}
}

func (o *oracleTally) reason() policy.Reason {
	switch {
	case o.denied:
		return policy.ReasonDeniedByRule
	case !o.allowed && o.failed:
		return policy.ReasonConditionError
	case !o.allowed:
		return policy.ReasonNoPermission
	case o.deniedIf && o.denyFailed:
		return policy.ReasonUnset // either of the two
	case o.deniedIf:
		return policy.ReasonDeniedByRule
	case o.denyFailed:
		return policy.ReasonConditionError
	}
	return policy.ReasonAllowed
}

func matchesAny(effect policy.Effect, patterns []policy.ResourcePattern, resource string) bool {
	return slices.ContainsFunc(patterns, func(p policy.ResourcePattern) bool { return resourceOracle(effect, p.String(), resource) })
}

func subjectOracle(g *policy.Grant, who string) bool {
	if g.Exact() {
		return g.Principal.String() == who
	}
	pk, pn, _ := strings.Cut(g.Principals.String(), ":")
	k, n, _ := strings.Cut(who, ":")
	return pk == k && matchOracle(pn, n, "/")
}

func reachable(f *policyfile.File, role string) []policy.Permission {
	perms := slices.Clone(f.Roles[role].Permissions())
	for _, parent := range f.Roles[role].Inherits() {
		perms = append(perms, reachable(f, parent)...)
	}
	return perms
}

// checkDecision compares one decision with the oracle's, and its explanation with the file.
func checkDecision(t *rapid.T, f *policyfile.File, table *policy.Table, e *policy.Effective, p policytest.Properties, resource string) {
	who := policy.MustPrincipal(p.Who)
	q := &policy.Query{
		Principal: who, Action: p.Action, Resource: resource, Properties: p.Query(),
		Now: func() time.Time { return p.Now },
	}
	d := table.Decide(e, q)
	want := oracle(f, p, resource)
	if want == policy.ReasonUnset {
		want = d.Reason
		require.False(t, d.Allowed)
	}
	require.Equal(t, want, d.Reason, "%v on %s\n%s", p, resource, policyfile.FormatYAML(f.AllRoles(), f.AllGrants()))
	require.Equal(t, want == policy.ReasonAllowed, d.Allowed)
	d.AttachRecord(policytest.NewView(f).Record(who), p.Now.UnixNano())
	checkExplanation(t, f, &d, p, resource)
}

func checkExplanation(t *rapid.T, f *policyfile.File, d *policy.Decision, p policytest.Properties, resource string) {
	ex := d.Explain()
	require.Equal(t, d.Allowed, ex.Allowed)
	if ex.Permission == nil {
		require.NotEqual(t, policy.ReasonAllowed, d.Reason)
		require.NotEqual(t, policy.ReasonDeniedByRule, d.Reason)
		return
	}
	require.Equal(t, f.Roles[ex.Role].Permissions()[ex.Number].String(), ex.Permission.String())
	require.True(t, slices.ContainsFunc(ex.Permission.Actions, func(a policy.ActionPattern) bool { return actionOracle(a.String(), p.Action) }))
	require.True(t, matchesAny(ex.Permission.Effect, ex.Permission.Resources, resource))
	require.Equal(t, ex.Allowed, ex.Permission.Effect == policy.Allow && d.Reason == policy.ReasonAllowed)
	require.NotNil(t, ex.Grant)
	require.True(t, subjectOracle(ex.Grant, p.Who))
	require.False(t, ex.Grant.ExpiredAt(p.Now.UnixNano()))
	if ex.Permission.Effect == policy.Allow && len(ex.Grant.Within) > 0 {
		require.True(t, matchesAny(policy.Allow, ex.Grant.Within, resource), "granted within %v, asked for %s", ex.Grant.Within, resource)
	}
	require.Equal(t, ex.Grant.Role, ex.Path[0])
	require.Equal(t, ex.Role, ex.Path[len(ex.Path)-1])
	for i := range ex.Path[1:] {
		require.Contains(t, f.Roles[ex.Path[i]].Inherits(), ex.Path[i+1])
	}
}

func TestDecisionsAgainstTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		table, err := f.Table(1)
		require.NoError(t, err)
		view := policytest.NewView(f)
		for range 10 {
			p := policytest.GenProperties(t)
			who := policy.MustPrincipal(p.Who)
			e := table.Compile(table.Hold(who, view.Record(who), p.Now.UnixNano()))
			checkDecision(t, f, table, e, p, rapid.SampledFrom(policytest.Resources).Draw(t, "resource"))
		}
	})
}

// patternsOf returns the grants to patterns.
func patternsOf(f *policyfile.File) []policy.Grant {
	return slices.DeleteFunc(slices.Clone(f.Grants), func(g policy.Grant) bool { return g.Exact() })
}

// patternEdits are the grants to patterns in which two files differ.
func patternEdits(from, to *policyfile.File) (edits []policy.PatternEdit) {
	before, after := patternsOf(from), patternsOf(to)
	for i := range before {
		if !slices.ContainsFunc(after, func(g policy.Grant) bool { return g.Same(&before[i]) }) {
			edits = append(edits, policy.PatternEdit{Grant: &before[i], Removed: true})
		}
	}
	for i := range after {
		if !slices.ContainsFunc(before, func(g policy.Grant) bool { return g.Equal(&after[i]) }) {
			edits = append(edits, policy.PatternEdit{Grant: &after[i]})
		}
	}
	return edits
}

// changedRoles are the roles in which two files differ, nil for deleted ones.
func changedRoles(from, to *policyfile.File) map[string]*policy.Role {
	changed := map[string]*policy.Role{}
	for _, c := range policyfile.Diff(from.AllRoles(), from.AllGrants(), to) {
		switch c.Op {
		case policy.OpPutRole:
			changed[c.Role.Name()] = c.Role
		case policy.OpDeleteRole:
			changed[c.Name] = nil
		}
	}
	return changed
}

// Tables that descend from each other decide as fresh ones do, though numbers of deleted
// roles are used again; and what a principal held stays right until a change concerns it.
func TestDescendantsOfATableAgainstTheOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		table, err := f.Table(1)
		require.NoError(t, err)
		now := policytest.Instant("2029-01-01T00:00:00Z")
		compiled := map[string]*policy.Effective{}
		for revision := range rapid.IntRange(1, 5).Draw(t, "steps") {
			next := policytest.GenFile(t)
			changed := changedRoles(f, next)
			for who := range compiled {
				if !reflect.DeepEqual(policytest.NewView(f).Record(policy.MustPrincipal(who)), policytest.NewView(next).Record(policy.MustPrincipal(who))) {
					delete(compiled, who)
				}
			}
			table, f = table.Next(uint64(revision+2), changed, patternEdits(f, next)), next
			maps.DeleteFunc(compiled, func(_ string, e *policy.Effective) bool { return e.Shape() != table.Shape() })
			require.EqualValues(t, revision+2, table.Revision())
			view := policytest.NewView(f)
			for _, id := range policytest.Principals {
				p := policytest.GenProperties(t)
				p.Who, p.Now = id, now
				who := policy.MustPrincipal(id)
				if compiled[id] == nil {
					compiled[id] = table.Compile(table.Hold(who, view.Record(who), now.UnixNano()))
				}
				checkDecision(t, f, table, compiled[id], p, rapid.SampledFrom(policytest.Resources).Draw(t, "resource"))
			}
		}
	})
}

func TestHeldKeysAreEqualForEqualHoldings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := policytest.GenFile(t)
		table, err := f.Table(1)
		require.NoError(t, err)
		view := policytest.NewView(f)
		p := policytest.GenProperties(t)
		byKey := map[string]*policy.Effective{}
		for _, id := range policytest.Principals {
			p.Who = id
			who := policy.MustPrincipal(id)
			h := table.Hold(who, view.Record(who), p.Now.UnixNano())
			require.Equal(t, slices.ContainsFunc(f.Grants, func(g policy.Grant) bool { return subjectOracle(&g, id) }), h.Any)
			require.Equal(t, nextExpiryOracle(f, id, p.Now), h.NextExpiry)
			e, ok := byKey[h.Key]
			if !ok {
				e = table.Compile(h)
				byKey[h.Key] = e
			}
			checkDecision(t, f, table, e, p, rapid.SampledFrom(policytest.Resources).Draw(t, "resource"))
		}
	})
}

func nextExpiryOracle(f *policyfile.File, who string, now time.Time) int64 {
	next := int64(0)
	for _, g := range f.Grants {
		if at := g.Expires.UnixNano(); subjectOracle(&g, who) && g.Expires.After(now) && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

func TestDecideAllocatesNothing(t *testing.T) {
	f := policytest.ParseYAML(t, policytest.SeedYAML)
	table, err := f.Table(1)
	require.NoError(t, err)
	who := policy.MustPrincipal("spiffe://interlock.test/alice")
	e := table.Compile(table.Hold(who, policytest.NewView(f).Record(who), 0))
	for _, resource := range []string{"orders/eu/1", "orders/us/1", "orders/frozen/x", "orders/eu/1/2/3/4/5/6", "none"} {
		q := &policy.Query{Principal: who, Action: "orders:read", Resource: resource}
		require.Zero(t, testing.AllocsPerRun(200, func() { table.Decide(e, q) }), resource)
	}
}

// Names of many segments, and many patterns that match one, go beyond what is kept
// without memory.
func TestDeepNamesAndManyMatches(t *testing.T) {
	const depth = 20
	var perms []policy.PermissionSpec
	for i := range depth {
		perms = append(perms, policytest.Allow("a", strings.Repeat("s/", i)+"**"), policytest.Allow("b", strings.Repeat("*/", i)+"**"))
	}
	perms = append(perms, policytest.Deny("a", strings.Repeat("s/", depth)+"*"), policytest.Deny("b", strings.Repeat("*/", depth)+"x"))
	f := &policyfile.File{
		Roles:  map[string]*policy.Role{"r": policytest.MustRole(t, "r", policy.RoleSpec{Permissions: perms})},
		Grants: []policy.Grant{policytest.MustGrant(t, policy.GrantSpec{Principals: "user:**", Role: "r"})},
	}
	for resource, want := range map[string]bool{
		strings.Repeat("s/", depth-1) + "x": true, strings.Repeat("s/", depth) + "x": false, strings.Repeat("s/", depth+1) + "x": true,
	} {
		for _, action := range []string{"a", "b"} {
			q := &policy.Query{Principal: policy.MustPrincipal("user:" + strings.Repeat("p/", depth) + "q"), Action: action, Resource: resource}
			require.Equal(t, want, policytest.DecideIn(t, f, q, time.Unix(1, 0)).Allowed, "%s %s", action, resource)
		}
	}
}

func TestTableReachesInheritedRoles(t *testing.T) {
	f := policytest.ParseYAML(t, "roles: {a: {inherits: [b]}, b: {inherits: [c]}, c: {}, d: {}}")
	table, err := f.Table(4)
	require.NoError(t, err)
	for _, c := range []struct {
		from, to string
		want     bool
	}{{"a", "a", true}, {"a", "c", true}, {"c", "a", false}, {"a", "d", false}, {"a", "x", false}, {"x", "a", false}} {
		require.Equal(t, c.want, table.Reaches(c.from, c.to), "%s %s", c.from, c.to)
	}
	require.Zero(t, table.Shape())
	everyone := policytest.MustGrant(t, policy.GrantSpec{Principals: "user:**", Role: "a"})
	later := table.Next(5, nil, []policy.PatternEdit{{Grant: &everyone}})
	require.EqualValues(t, 5, later.Revision())
	require.EqualValues(t, 5, later.Shape(), "pattern grants are a part of the shape")
	later = later.Next(6, map[string]*policy.Role{"d": nil}, nil)
	require.EqualValues(t, 5, later.Shape(), "no principal can hold a role that is deleted")
	e, err := policy.NewRole("e", nil, nil)
	require.NoError(t, err)
	later = later.Next(7, map[string]*policy.Role{"e": e}, nil)
	require.EqualValues(t, 5, later.Shape(), "a new role gets a new number")
	b, err := policy.NewRole("b", nil, nil)
	require.NoError(t, err)
	later = later.Next(8, map[string]*policy.Role{"b": b}, nil)
	require.EqualValues(t, 8, later.Shape(), "b inherits nothing any more")
	for r := range f.AllRoles() {
		require.Equal(t, "a", r.Name())
		break
	}
}

func TestTablesRefuseWhatIsInconsistent(t *testing.T) {
	pattern, err := policy.ParsePrincipalPattern("user:*")
	require.NoError(t, err)
	_, err = policy.NewTable(1, nil, policy.NewPatternGrants([]policy.Grant{{Principals: pattern, Role: "r"}}))
	require.ErrorIs(t, err, policy.ErrUnknownRole)
	_, err = policy.NewTable(1, []*policy.Role{policytest.MustRole(t, "r", policy.RoleSpec{Inherits: []string{"s"}})}, nil)
	require.ErrorIs(t, err, policy.ErrUnknownRole)
	_, err = policy.NewTable(1, []*policy.Role{policytest.MustRole(t, "r", policy.RoleSpec{Inherits: []string{"r"}})}, nil)
	var cycle *policy.CycleError
	require.ErrorAs(t, err, &cycle)
	require.Equal(t, []string{"r"}, cycle.Roles)
	require.Contains(t, err.Error(), "r → r")

	table, err := policy.NewTable(1, []*policy.Role{policytest.MustRole(t, "r", policy.RoleSpec{}), policytest.MustRole(t, "a", policy.RoleSpec{})},
		policy.NewPatternGrants([]policy.Grant{{Principals: pattern, Role: "r"}}))
	require.NoError(t, err)
	require.Nil(t, table.Role("s"))
	require.Equal(t, "r", table.Role("r").Name())
	var got []string
	for r := range table.Roles() {
		got = append(got, r.Name())
	}
	require.Equal(t, []string{"a", "r"}, got)
	require.Len(t, table.Patterns().Sorted(), 1)
	require.Len(t, slices.Collect(table.Patterns().Matching(policy.MustPrincipal("user:a"))), 1)
	require.Empty(t, slices.Collect(table.Patterns().Matching(policy.MustPrincipal("group:a"))))
}
