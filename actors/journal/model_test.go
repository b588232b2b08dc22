package journal_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// model is the state that a list of updates leads to, kept in the plainest way. It is a
// [policy.View], and immutable.
type model struct {
	revision uint64
	roles    map[string]*policy.Role
	records  map[policy.Principal]*policy.Record
	patterns []policy.Grant
	revoked  map[policy.CertificateID]bool
}

// then returns the state that an update leads to, as the next revision.
func (m *model) then(changes []policy.Change) (*model, error) {
	d := policy.NewDraft(m, m.revision+1)
	for _, c := range changes {
		if err := d.Apply(c); err != nil {
			return nil, err
		}
	}
	next := &model{
		revision: m.revision + 1, roles: maps.Clone(m.roles), records: maps.Clone(m.records),
		patterns: m.patterns, revoked: maps.Clone(m.revoked),
	}
	next.init()
	for name, r := range d.RolesPut {
		if next.roles[name] = r; r == nil {
			delete(next.roles, name)
		}
	}
	for p, r := range d.Records {
		if r != nil {
			next.records[p] = r
		}
	}
	next.patterns = m.patternsThen(changes)
	for i := range changes {
		switch c := &changes[i]; c.Op {
		case policy.OpRevokeCertificate:
			next.revoked[c.Certificate] = true
		case policy.OpUnrevokeCertificate:
			delete(next.revoked, c.Certificate)
		}
	}
	return next, nil
}

func (m *model) init() {
	if m.roles == nil {
		m.roles, m.records = map[string]*policy.Role{}, map[policy.Principal]*policy.Record{}
		m.revoked = map[policy.CertificateID]bool{}
	}
}

// Revision implements [policy.View].
func (m *model) Revision() uint64 { return m.revision }

// Role implements [policy.View].
func (m *model) Role(name string) *policy.Role { return m.roles[name] }

// Roles implements [policy.View].
func (m *model) Roles() iter.Seq[*policy.Role] { return maps.Values(m.roles) }

// Record implements [policy.View].
func (m *model) Record(p policy.Principal) *policy.Record { return m.records[p] }

// Patterns implements [policy.View].
func (m *model) Patterns() *policy.PatternGrants { return policy.NewPatternGrants(m.patterns) }

// patternsThen returns the grants to patterns after an update, in the plainest way.
func (m *model) patternsThen(changes []policy.Change) []policy.Grant {
	grants := slices.Clone(m.patterns)
	for i := range changes {
		g := &changes[i].Grant
		if g.Principals.IsZero() {
			continue
		}
		grants = slices.DeleteFunc(grants, func(h policy.Grant) bool {
			return h.Holding() == g.Holding() && (h.Same(g) || changes[i].Op == policy.OpRevoke && len(g.Within) == 0)
		})
		if changes[i].Op == policy.OpGrant {
			grants = append(grants, *g)
		}
	}
	return grants
}

// Holders implements [policy.View].
func (m *model) Holders(role string) iter.Seq[policy.Principal] {
	return func(yield func(policy.Principal) bool) {
		for p, r := range m.records {
			if slices.ContainsFunc(r.Grants, func(g policy.Grant) bool { return g.Role == role }) && !yield(p) {
				return
			}
		}
	}
}

// Revoked implements [policy.View].
func (m *model) Revoked(id policy.CertificateID) bool { return m.revoked[id] }

// differs says in what a view is not the model, of the cast and of all that the model has.
func (m *model) differs(v policy.View) error {
	if v.Revision() != m.revision {
		return fmt.Errorf("it is of revision %d, not %d", v.Revision(), m.revision)
	}
	if err := m.differsInRoles(v); err != nil {
		return err
	}
	if got := v.Patterns().Sorted(); !sameGrants(got, m.patterns) {
		return fmt.Errorf("grants to patterns are %v, not %v", got, m.patterns)
	}
	for _, p := range theCast.everybody {
		if err := sameRecord(v.Record(p), m.records[p]); err != nil {
			return fmt.Errorf("the record of %s: %w", p, err)
		}
	}
	for _, c := range theCast.credentials {
		for _, id := range c.IDs() {
			if v.Revoked(id) != m.revoked[id] {
				return fmt.Errorf("certificate %s: revoked is %v", id, v.Revoked(id))
			}
		}
	}
	return nil
}

func (m *model) differsInRoles(v policy.View) error {
	n := 0
	for r := range v.Roles() {
		n++
		if own := m.roles[r.Name()]; own == nil || !reflect.DeepEqual(policy.SpecOfRole(own), policy.SpecOfRole(r)) {
			return fmt.Errorf("role %s is another", r.Name())
		}
	}
	if n != len(m.roles) {
		return fmt.Errorf("%d roles, not %d", n, len(m.roles))
	}
	for name := range m.roles {
		if v.Role(name) == nil {
			return fmt.Errorf("role %s is missing", name)
		}
		if theirs, own := holders(v, name), holders(m, name); !slices.Equal(theirs, own) {
			return fmt.Errorf("holders of %s are %v, not %v", name, theirs, own)
		}
	}
	return nil
}

func holders(v policy.View, role string) (names []string) {
	for p := range v.Holders(role) {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return names
}

// sameGrants compares grants to patterns, whose order means nothing.
func sameGrants(a []*policy.Grant, b []policy.Grant) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(g *policy.Grant) bool {
		return !slices.ContainsFunc(b, func(h policy.Grant) bool { return g.Equal(&h) })
	})
}

func sameRecord(got, want *policy.Record) error {
	switch {
	case got == nil && want == nil:
		return nil
	case got == nil || want == nil:
		return fmt.Errorf("it is %v, not %v", got, want)
	case got.Revision != want.Revision:
		return fmt.Errorf("it is of revision %d, not %d", got.Revision, want.Revision)
	case !slices.EqualFunc(got.Grants, want.Grants, func(a, b policy.Grant) bool { return a.Equal(&b) }):
		return fmt.Errorf("its grants are %v, not %v", got.Grants, want.Grants)
	}
	return nil
}

// verdicts are how the answers of an engine compare with those of the model.
type verdicts struct{ right, faults int }

// judge asks the engine everything that the cast can ask. An answer that is neither the
// model's nor a fault is an error.
func (m *model) judge(ctx context.Context, e *actors.Engine) (v verdicts, err error) {
	for i, who := range theCast.principals {
		asker := policy.NewAsker(m, who, time.Now().UnixNano())
		for _, c := range []*actors.Credential{nil, theCast.credentials[i]} {
			for _, q := range theCast.questions {
				d, err := e.Decide(ctx, actors.Request{Principal: who, Credential: c, Action: q[0], Resource: q[1]})
				if errors.Is(err, actors.ErrFault) {
					v.faults++
					continue
				}
				if err != nil {
					return v, fmt.Errorf("%s, %v: %w", who, q, err)
				}
				own := asker.Ask(&policy.Query{Principal: who, Action: q[0], Resource: q[1]})
				allowed := own.Allowed && !m.revokes(c)
				if d.Allowed != allowed || d.Revision != m.revision {
					return v, fmt.Errorf("%s, %v with credential %v: allowed is %v at revision %d (%s), and has to be %v at %d",
						who, q, c != nil, d.Allowed, d.Revision, d.Reason, allowed, m.revision)
				}
				v.right++
			}
		}
	}
	return v, nil
}

func (m *model) revokes(c *actors.Credential) bool {
	return c != nil && slices.ContainsFunc(c.IDs(), m.Revoked)
}
