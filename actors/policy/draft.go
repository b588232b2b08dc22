package policy

import (
	"fmt"
	"iter"
	"slices"
)

// View is the state of a policy at one revision, as changes and their preconditions see
// it. What it returns must not be changed.
type View interface {
	// Revision is that of the last change in the view.
	Revision() uint64
	// Role returns the role of that name, or nil.
	Role(name string) *Role
	// Roles yields all roles, in no order.
	Roles() iter.Seq[*Role]
	// Record returns the record of a principal, nil if it never had a grant.
	Record(p Principal) *Record
	// Patterns returns all grants to patterns.
	Patterns() []Grant
	// Granted reports whether any grant, exact or to a pattern, names the role.
	Granted(role string) bool
	// Holders yields the principals with an exact grant of the role.
	Holders(role string) iter.Seq[Principal]
	// Revoked reports whether the certificate was revoked.
	Revoked(id CertificateID) bool
}

// Draft is what a list of changes makes of a view, without changing it: a view itself,
// and the parts that differ, for a store to keep. It belongs to one goroutine.
type Draft struct {
	base     View
	revision uint64

	// Roles that were put, and nil for those deleted.
	RolesPut map[string]*Role
	// Records of the principals that the changes name. Where nothing changed it is the one
	// that was there, nil if there was none.
	Records map[Principal]*Record
	// PatternsPut, when not nil, replaces all grants to patterns.
	PatternsPut *[]Grant
	// Certificates that were revoked and had not been.
	Certificates []CertificateID
}

// NewDraft starts a draft on base whose changes shall have that revision.
func NewDraft(base View, revision uint64) *Draft {
	return &Draft{base: base, revision: revision, RolesPut: map[string]*Role{}, Records: map[Principal]*Record{}}
}

// Apply applies a change. An error leaves the draft in a state to be thrown away; it
// wraps [ErrUnknownRole], [ErrRoleInUse], [ErrCycle], [ErrInvalid] or [ErrMalformed]. A
// change that changes nothing is no error: what is asked for holds afterwards.
func (d *Draft) Apply(c Change) error {
	switch c.Op {
	case OpGrant:
		return d.grant(c.Grant)
	case OpRevoke:
		return d.revoke(c.Grant)
	case OpPutRole:
		return d.putRole(c.Role)
	case OpDeleteRole:
		return d.deleteRole(c.Name)
	case OpRevokeCertificate:
		if c.Certificate == (CertificateID{}) {
			return &FieldError{Field: "sha256", Err: fmt.Errorf("%w: no certificate is named", ErrInvalid)}
		}
		if !d.Revoked(c.Certificate) {
			d.Certificates = append(d.Certificates, c.Certificate)
		}
		return nil
	}
	return &FieldError{Field: "op", Err: fmt.Errorf("%w: unknown operation %q", ErrInvalid, c.Op)}
}

func (d *Draft) grant(g Grant) error {
	if err := g.check(); err != nil {
		return err
	}
	if d.Role(g.Role) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, g.Role)}
	}
	d.setGrants(&g, func(held []Grant) []Grant {
		i := slices.IndexFunc(held, func(h Grant) bool { return h.Same(&g) })
		if i < 0 {
			return append(held, g)
		}
		held[i] = g
		return held
	})
	return nil
}

func (d *Draft) revoke(g Grant) error {
	if err := g.check(); err != nil {
		return err
	}
	if d.Role(g.Role) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, g.Role)}
	}
	d.setGrants(&g, func(held []Grant) []Grant {
		return slices.DeleteFunc(held, func(h Grant) bool {
			return h.Subject() == g.Subject() && h.Role == g.Role && (len(g.Within) == 0 || sameWithin(h.Within, g.Within))
		})
	})
	return nil
}

// setGrants lets edit work on a copy of the grants that g's holder has.
func (d *Draft) setGrants(g *Grant, edit func([]Grant) []Grant) {
	if !g.Exact() {
		edited := edit(slices.Clone(d.Patterns()))
		d.PatternsPut = &edited
		return
	}
	before := d.Record(g.Principal)
	var held []Grant
	if before != nil {
		held = make([]Grant, len(before.Grants), len(before.Grants)+1)
		copy(held, before.Grants)
	}
	edited := slices.Clip(edit(held))
	if before.holds(edited) {
		d.Records[g.Principal] = before
		return
	}
	d.Records[g.Principal] = &Record{Revision: d.revision, Grants: edited}
}

// holds reports whether the record's grants are these; a missing record has none.
func (r *Record) holds(grants []Grant) bool {
	if r == nil {
		return len(grants) == 0
	}
	return slices.EqualFunc(r.Grants, grants, func(a, b Grant) bool { return a.Equal(&b) })
}

func (d *Draft) putRole(r *Role) error {
	if r == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: no role to put", ErrInvalid)}
	}
	if err := checkInheritance(r, d.Role); err != nil {
		return err
	}
	d.RolesPut[r.name] = r
	return nil
}

func (d *Draft) deleteRole(name string) error {
	if d.Role(name) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, name)}
	}
	if d.Granted(name) {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: %q is granted; revoke its grants first", ErrRoleInUse, name)}
	}
	for r := range d.Roles() {
		if slices.Contains(r.inherits, name) {
			return &FieldError{Field: "role", Err: fmt.Errorf("%w: %q is inherited by %q", ErrRoleInUse, name, r.name)}
		}
	}
	d.RolesPut[name] = nil
	return nil
}

// Revision implements [View].
func (d *Draft) Revision() uint64 { return d.revision }

// Role implements [View].
func (d *Draft) Role(name string) *Role {
	if r, ok := d.RolesPut[name]; ok {
		return r
	}
	return d.base.Role(name)
}

// Roles implements [View].
func (d *Draft) Roles() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		for _, r := range d.RolesPut {
			if r != nil && !yield(r) {
				return
			}
		}
		for r := range d.base.Roles() {
			if _, ok := d.RolesPut[r.name]; !ok && !yield(r) {
				return
			}
		}
	}
}

// Record implements [View].
func (d *Draft) Record(p Principal) *Record {
	if r, ok := d.Records[p]; ok {
		return r
	}
	return d.base.Record(p)
}

// Patterns implements [View].
func (d *Draft) Patterns() []Grant {
	if d.PatternsPut != nil {
		return *d.PatternsPut
	}
	return d.base.Patterns()
}

// Granted implements [View].
func (d *Draft) Granted(role string) bool {
	if slices.ContainsFunc(d.Patterns(), func(g Grant) bool { return g.Role == role }) {
		return true
	}
	for range d.Holders(role) {
		return true
	}
	return false
}

// Holders implements [View].
func (d *Draft) Holders(role string) iter.Seq[Principal] {
	return func(yield func(Principal) bool) {
		for p, r := range d.Records {
			if r.grants(role) && !yield(p) {
				return
			}
		}
		for p := range d.base.Holders(role) {
			if _, ok := d.Records[p]; !ok && !yield(p) {
				return
			}
		}
	}
}

func (r *Record) grants(role string) bool {
	return r != nil && slices.ContainsFunc(r.Grants, func(g Grant) bool { return g.Role == role })
}

// Revoked implements [View].
func (d *Draft) Revoked(id CertificateID) bool {
	return slices.Contains(d.Certificates, id) || d.base.Revoked(id)
}
