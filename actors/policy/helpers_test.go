package policy_test

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
)

// memView is a policy in memory, for drafts to start from.
type memView struct {
	revision uint64
	roles    map[string]*policy.Role
	records  map[policy.Principal]*policy.Record
	patterns []policy.Grant
	revoked  map[policy.CertificateID]bool
}

func newView(f *policy.File) *memView {
	v := &memView{
		revision: 1, roles: maps.Clone(f.Roles),
		records: map[policy.Principal]*policy.Record{}, revoked: map[policy.CertificateID]bool{},
	}
	for _, g := range f.Grants {
		if !g.Exact() {
			v.patterns = append(v.patterns, g)
			continue
		}
		r := v.records[g.Principal]
		if r == nil {
			r = &policy.Record{Revision: 1}
			v.records[g.Principal] = r
		}
		r.Grants = append(r.Grants, g)
	}
	return v
}

func (v *memView) Revision() uint64                         { return v.revision }
func (v *memView) Role(name string) *policy.Role            { return v.roles[name] }
func (v *memView) Roles() iter.Seq[*policy.Role]            { return maps.Values(v.roles) }
func (v *memView) Record(p policy.Principal) *policy.Record { return v.records[p] }
func (v *memView) Patterns() []policy.Grant                 { return v.patterns }
func (v *memView) Revoked(id policy.CertificateID) bool     { return v.revoked[id] }

func (v *memView) Holders(role string) iter.Seq[policy.Principal] {
	return func(yield func(policy.Principal) bool) {
		for p, r := range v.records {
			if slices.ContainsFunc(r.Grants, func(g policy.Grant) bool { return g.Role == role }) && !yield(p) {
				return
			}
		}
	}
}

func (v *memView) grants() []policy.Grant {
	all := slices.Clone(v.patterns)
	for _, r := range v.records {
		all = append(all, r.Grants...)
	}
	return all
}

// commit returns the view with what the draft changed.
func (v *memView) commit(d *policy.Draft) *memView {
	next := &memView{
		revision: d.Revision(), roles: maps.Clone(v.roles), records: maps.Clone(v.records),
		patterns: slices.Clone(d.Patterns()), revoked: maps.Clone(v.revoked),
	}
	for name, r := range d.RolesPut {
		if r == nil {
			delete(next.roles, name)
		} else {
			next.roles[name] = r
		}
	}
	for p, r := range d.Records {
		if r != nil {
			next.records[p] = r
		}
	}
	for _, id := range d.Certificates {
		next.revoked[id] = true
	}
	return next
}

// lines writes the view as sorted lines that two equal policies agree in.
func (v *memView) lines() string {
	return string(policy.FormatYAML(v.Roles(), slices.Values(v.grants())))
}

func parseYAML(t testing.TB, text string) *policy.File {
	t.Helper()
	f, err := policy.ParseFile("policy.yaml", []byte(text))
	require.NoError(t, err)
	return f
}

// decideIn decides as an engine would, at the instant now.
func decideIn(t testing.TB, f *policy.File, q *policy.Query, now time.Time) policy.Decision {
	t.Helper()
	table, err := f.Table(7)
	require.NoError(t, err)
	record := newView(f).Record(q.Principal)
	e := table.Compile(table.Hold(q.Principal, record, now.UnixNano()))
	d := table.Decide(e, q)
	d.Concern(record, now.UnixNano())
	return d
}

func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func mustRole(t testing.TB, name string, spec policy.RoleSpec) *policy.Role {
	t.Helper()
	r, err := spec.Role(name)
	require.NoError(t, err)
	return r
}

func mustGrant(t testing.TB, spec policy.GrantSpec) policy.Grant {
	t.Helper()
	g, err := spec.Grant()
	require.NoError(t, err)
	return g
}

func allow(actions, resources string) policy.PermissionSpec {
	return policy.PermissionSpec{Actions: strings.Fields(actions), Resources: strings.Fields(resources)}
}

func deny(actions, resources string) policy.PermissionSpec {
	p := allow(actions, resources)
	p.Effect = "deny"
	return p
}
