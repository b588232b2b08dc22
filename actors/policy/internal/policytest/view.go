package policytest

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// View is a policy in memory, for drafts to start from.
type View struct {
	revision uint64
	roles    map[string]*policy.Role
	records  map[policy.Principal]*policy.Record
	patterns *policy.PatternGrants
	revoked  map[policy.CertificateID]bool
}

// NewView returns the view of what the file says, at revision 1.
func NewView(f *policyfile.File) *View {
	v := &View{
		revision: 1, roles: maps.Clone(f.Roles),
		records: map[policy.Principal]*policy.Record{}, revoked: map[policy.CertificateID]bool{},
	}
	var patterns []policy.Grant
	for _, g := range f.Grants {
		if !g.Exact() {
			patterns = append(patterns, g)
			continue
		}
		r := v.records[g.Principal]
		if r == nil {
			r = &policy.Record{Revision: 1}
			v.records[g.Principal] = r
		}
		r.Grants = append(r.Grants, g)
	}
	v.patterns = policy.NewPatternGrants(patterns)
	return v
}

// Revision implements [policy.View].
func (v *View) Revision() uint64 { return v.revision }

// Role implements [policy.View].
func (v *View) Role(name string) *policy.Role { return v.roles[name] }

// Roles implements [policy.View].
func (v *View) Roles() iter.Seq[*policy.Role] { return maps.Values(v.roles) }

// Record implements [policy.View].
func (v *View) Record(p policy.Principal) *policy.Record { return v.records[p] }

// Patterns implements [policy.View].
func (v *View) Patterns() *policy.PatternGrants { return v.patterns }

// Revoked implements [policy.View].
func (v *View) Revoked(id policy.CertificateID) bool { return v.revoked[id] }

// Holders implements [policy.View].
func (v *View) Holders(role string) iter.Seq[policy.Principal] {
	return func(yield func(policy.Principal) bool) {
		for p, r := range v.records {
			if slices.ContainsFunc(r.Grants, func(g policy.Grant) bool { return g.Role == role }) && !yield(p) {
				return
			}
		}
	}
}

// Grants returns all grants.
func (v *View) Grants() []policy.Grant {
	var all []policy.Grant
	for g := range v.patterns.All() {
		all = append(all, *g)
	}
	for _, r := range v.records {
		all = append(all, r.Grants...)
	}
	return all
}

// Commit returns the view with what the draft changed.
func (v *View) Commit(d *policy.Draft) *View {
	next := &View{
		revision: d.Revision(), roles: maps.Clone(v.roles), records: maps.Clone(v.records),
		patterns: d.Patterns(), revoked: maps.Clone(v.revoked),
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
	for _, id := range d.Certificates(true) {
		next.revoked[id] = true
	}
	for _, id := range d.Certificates(false) {
		delete(next.revoked, id)
	}
	return next
}

// File returns the view as a file.
func (v *View) File() *policyfile.File { return &policyfile.File{Roles: v.roles, Grants: v.Grants()} }

// Lines writes the view as a file in YAML. It is equal for equal policies.
func (v *View) Lines() string {
	return string(policyfile.FormatYAML(v.Roles(), slices.Values(v.Grants())))
}

// ParseYAML reads a policy file that has no errors.
func ParseYAML(t testing.TB, text string) *policyfile.File {
	t.Helper()
	f, err := policyfile.Parse("policy.yaml", []byte(text))
	require.NoError(t, err)
	return f
}

// DecideIn decides as an engine would, at the instant now.
func DecideIn(t testing.TB, f *policyfile.File, q *policy.Query, now time.Time) policy.Decision {
	t.Helper()
	table, err := f.Table(7)
	require.NoError(t, err)
	record := NewView(f).Record(q.Principal)
	e := table.Compile(table.Hold(q.Principal, record, now.UnixNano()))
	d := table.Decide(e, q)
	d.AttachRecord(record, now.UnixNano())
	return d
}

// Instant reads an instant of RFC 3339.
func Instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

// MustRole makes a role of a specification without errors.
func MustRole(t testing.TB, name string, spec policy.RoleSpec) *policy.Role {
	t.Helper()
	r, err := spec.Role(name)
	require.NoError(t, err)
	return r
}

// MustGrant makes a grant of a specification without errors.
func MustGrant(t testing.TB, spec policy.GrantSpec) policy.Grant {
	t.Helper()
	g, err := spec.Grant()
	require.NoError(t, err)
	return g
}

// Allow is a permission of actions and resources, each separated by spaces.
func Allow(actions, resources string) policy.PermissionSpec {
	return policy.PermissionSpec{Actions: strings.Fields(actions), Resources: strings.Fields(resources)}
}

// Deny is the permission that denies what [Allow] allows.
func Deny(actions, resources string) policy.PermissionSpec {
	p := Allow(actions, resources)
	p.Effect = "deny"
	return p
}

// GrantOf is a grant to one principal.
func GrantOf(principal, role string, within ...string) policy.GrantSpec {
	return policy.GrantSpec{Principal: principal, Role: role, Within: within}
}

// SeedYAML is a policy file that has every field.
const SeedYAML = `roles:
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
        actions: ["orders:*"]
        resources: [orders/frozen/**]
grants:
  - principal: spiffe://interlock.test/alice      # exactly one
    role: order-writer
    within: [orders/eu/**]
    expires: 2027-01-01T00:00:00Z
    reason: on call in the winter
  - principals: spiffe://interlock.test/ns/*/sa/* # a pattern has a field of its own
    role: order-reader
`
