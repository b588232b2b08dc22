package policy_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/interlock-authz/interlock/actors/policy"
)

// derivation is a policy that changes in random steps, and the table that follows it. A role
// inherits only roles with lower numbers.
type derivation struct {
	rng      *rand.Rand
	roles    map[string]*policy.Role
	patterns []policy.Grant
	table    *policy.Table
}

func (d *derivation) pick(from ...string) string { return from[d.rng.IntN(len(from))] }

// pattern draws a pattern over ten segments with common prefixes.
func (d *derivation) pattern(sep string) string {
	var segs []string
	for range 1 + d.rng.IntN(3) {
		seg := fmt.Sprintf("s%d", d.rng.IntN(10))
		segs = append(segs, d.pick(seg, seg, seg, "*", "s*", seg+"*"))
	}
	if d.rng.IntN(4) == 0 {
		segs = append(segs, "**")
	}
	return strings.Join(segs, sep)
}

func (d *derivation) permission() policy.PermissionSpec {
	p := policy.PermissionSpec{Effect: d.pick("", "", "", "deny"), When: d.pick("", "", "action.name == 's1'", "principal.id == 'user:a'")}
	n := 1 + d.rng.IntN(2)
	if d.rng.IntN(20) == 0 {
		n = 20 // too many pairs to multiply them
	}
	for range n {
		p.Actions, p.Resources = append(p.Actions, d.pattern(":")), append(p.Resources, d.pattern("/"))
	}
	return p
}

func (d *derivation) role(t *rapid.T, i int) *policy.Role {
	var spec policy.RoleSpec
	for j := range i {
		if name := fmt.Sprintf("r%d", j); d.roles[name] != nil && d.rng.IntN(4) == 0 {
			spec.Inherits = append(spec.Inherits, name)
		}
	}
	name := fmt.Sprintf("r%d", i)
	if before := d.roles[name]; before != nil && d.rng.IntN(2) == 0 {
		spec.Inherits = before.Inherits()
	}
	for range d.rng.IntN(40) {
		spec.Permissions = append(spec.Permissions, d.permission())
	}
	role, err := spec.Role(name)
	require.NoError(t, err)
	if before := d.roles[name]; before != nil && d.rng.IntN(2) == 0 { // an edit of a part
		kept := slices.Concat(role.Permissions()[:min(3, len(role.Permissions()))], before.Permissions()[len(before.Permissions())/4:])
		role, err = policy.NewRole(name, role.Inherits(), kept)
		require.NoError(t, err)
	}
	return role
}

func grantOf(t *rapid.T, spec policy.GrantSpec) policy.Grant {
	g, err := spec.Grant()
	require.NoError(t, err)
	return g
}

// inUse reports whether a role is granted or inherited, so that it cannot be deleted.
func (d *derivation) inUse(name string) bool {
	for _, r := range d.roles {
		if slices.Contains(r.Inherits(), name) {
			return true
		}
	}
	return slices.ContainsFunc(d.patterns, func(g policy.Grant) bool { return g.Role == name })
}

// step changes up to three roles, and sometimes pattern grants.
func (d *derivation) step(t *rapid.T, revision uint64) {
	changed := map[string]*policy.Role{}
	for range 1 + d.rng.IntN(3) {
		i := d.rng.IntN(12)
		name := fmt.Sprintf("r%d", i)
		switch {
		case d.roles[name] == nil || d.rng.IntN(3) > 0:
			changed[name] = d.role(t, i)
			d.roles[name] = changed[name]
		case !d.inUse(name):
			changed[name] = nil
			delete(d.roles, name)
		}
	}
	var patterns []policy.PatternEdit
	if d.rng.IntN(2) == 0 {
		if len(d.patterns) > 0 && d.rng.IntN(2) == 0 {
			i := d.rng.IntN(len(d.patterns))
			patterns = append(patterns, policy.PatternEdit{Grant: &d.patterns[i], Removed: true})
			d.patterns = slices.Concat(d.patterns[:i], d.patterns[i+1:])
		} else if name := fmt.Sprintf("r%d", d.rng.IntN(12)); d.roles[name] != nil {
			g := grantOf(t, policy.GrantSpec{Principals: d.pick("user:*", "user:**", "user:a/*", "spiffe://td/**"), Role: name})
			patterns = append(patterns, policy.PatternEdit{Grant: &g})
			if !slices.ContainsFunc(d.patterns, func(h policy.Grant) bool { return h.Same(&g) }) {
				d.patterns = append(slices.Clip(d.patterns), g)
			}
		}
	}
	d.table = d.table.Next(revision, changed, patterns)
}

// ask returns the decision of a table and checks its explanation.
func (d *derivation) ask(t *rapid.T, table *policy.Table, record *policy.Record, q *policy.Query) policy.Reason {
	decision := table.Decide(table.Compile(table.Hold(q.Principal, record, 0)), q)
	decision.AttachRecord(record, 0)
	ex := decision.Explain()
	if ex.Role != "" {
		require.NotNil(t, ex.Permission)
		require.Equal(t, d.roles[ex.Role].Permissions()[ex.Number].String(), ex.Permission.String())
		require.True(t, matchesAny(ex.Permission.Effect, ex.Permission.Resources, q.Resource))
		require.NotNil(t, ex.Grant)
		require.Equal(t, ex.Role, ex.Path[len(ex.Path)-1])
	}
	return decision.Reason
}

// compare asks the derived table and a fresh one the same.
func (d *derivation) compare(t *rapid.T) {
	all := []*policy.Role{}
	for _, r := range d.roles {
		all = append(all, r)
	}
	fresh, err := policy.NewTable(1, all, policy.NewPatternGrants(d.patterns))
	require.NoError(t, err)
	name := func(sep string) string {
		var segs []string
		for range 1 + d.rng.IntN(3) {
			segs = append(segs, d.pick("s", fmt.Sprintf("s%d", d.rng.IntN(11)), fmt.Sprintf("s%dx", d.rng.IntN(10)), ""))
		}
		return strings.Join(segs, sep) + "s"[:d.rng.IntN(2)]
	}
	for range 20 {
		q := &policy.Query{Principal: policy.MustPrincipal(d.pick("user:a", "user:a/b", "spiffe://td/a")), Action: name(":"), Resource: name("/")}
		record := &policy.Record{}
		if role := fmt.Sprintf("r%d", d.rng.IntN(12)); d.roles[role] != nil {
			record.Grants = []policy.Grant{grantOf(t, policy.GrantSpec{Principal: q.Principal.String(), Role: role})}
		}
		require.Equal(t, d.ask(t, fresh, record, q), d.ask(t, d.table, record, q), "%s does %q on %q", q.Principal, q.Action, q.Resource)
	}
}

// A table that many random steps lead to decides like a fresh one: with prefixes,
// inheritance, deletions, many permissions, and permissions that are not multiplied out. The
// tables before stay as they were.
func TestADerivedTableDecidesLikeAFreshOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &derivation{rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), roles: map[string]*policy.Role{}, table: new(policy.Table)}
		var kept []derivation
		for i := range rapid.IntRange(1, 12).Draw(t, "steps") {
			d.step(t, uint64(i+1))
			if i%4 == 0 {
				before := *d
				before.roles = maps.Clone(d.roles)
				kept = append(kept, before)
			}
		}
		d.compare(t)
		for i := range kept {
			kept[i].compare(t)
		}
	})
}
