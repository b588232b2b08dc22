package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// View is the state of a policy at one revision. Callers must not change what it returns.
type View interface {
	// Revision returns the revision of the last change.
	Revision() uint64
	// Role returns the role of that name, or nil.
	Role(name string) *Role
	// Roles yields all roles in undefined order.
	Roles() iter.Seq[*Role]
	// Record returns the record of a principal, nil if it never had a grant.
	Record(p Principal) *Record
	// Patterns returns the pattern grants.
	Patterns() *PatternGrants
	// Holders yields the principals with an exact grant of the role.
	Holders(role string) iter.Seq[Principal]
	// Revoked reports whether the certificate was revoked.
	Revoked(id CertificateID) bool
}

// Draft applies changes to a view without changing it. It is a view itself, and has the
// parts that differ, for a store to keep. It belongs to one goroutine. Its fields and
// results are valid until the next change. The cost of a change does not grow with the
// number of changes.
type Draft struct {
	base     View
	revision uint64

	// RolesPut holds the roles that were put, nil for deleted ones.
	RolesPut map[string]*Role
	// Records holds the records of the principals that the changes name. An unchanged
	// record is the earlier one, nil if there was none.
	Records map[Principal]*Record
	// PatternEdits are the edits of the pattern grants.
	PatternEdits []PatternEdit

	revoked  map[CertificateID]bool // of the certificates for which it differs from base
	patterns *PatternGrants         // after PatternEdits; nil if there are none
	own      *token                 // of the edits of patterns
	named    map[string]bool        // which roles Records name; nil when they have to be gathered
	heirs    map[string]int         // how many roles inherit one; nil when it has to be counted
	deeper   deeper
}

// deeper says which roles of a draft can have a longer chain of inheritance than before.
type deeper struct {
	roles []string // the put ones
	heirs bool     // and any that inherits them
}

// NewDraft starts a draft on base. Its changes have the given revision, which is later than
// that of base.
func NewDraft(base View, revision uint64) *Draft {
	return &Draft{base: base, revision: revision, Records: map[Principal]*Record{}}
}

// Apply applies a change. After an error the draft must not be used; the error wraps
// [ErrUnknownRole], [ErrRoleInUse], [ErrCycle], [ErrInvalid] or [ErrMalformed]. A change
// without effect is not an error.
func (d *Draft) Apply(c Change) error {
	if err := checkReason(c.Reason); err != nil {
		return err
	}
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
		return d.setRevoked(c.Certificate, true)
	case OpUnrevokeCertificate:
		return d.setRevoked(c.Certificate, false)
	}
	return &FieldError{Field: "op", Err: fmt.Errorf("%w: unknown operation %q", ErrInvalid, c.Op)}
}

// setRevoked revokes a certificate or takes that back.
func (d *Draft) setRevoked(id CertificateID, revoked bool) error {
	if id == (CertificateID{}) {
		return &FieldError{Field: "sha256", Err: fmt.Errorf("%w: no certificate is named", ErrInvalid)}
	}
	if d.Revoked(id) == revoked {
		return nil
	}
	if _, differs := d.revoked[id]; differs {
		delete(d.revoked, id)
		return nil
	}
	if d.revoked == nil {
		d.revoked = map[CertificateID]bool{}
	}
	d.revoked[id] = revoked
	return nil
}

// Certificates returns the certificates that the draft revokes, or those whose revocation it
// takes back, sorted.
func (d *Draft) Certificates(revoked bool) []CertificateID {
	var ids []CertificateID
	for id, is := range d.revoked {
		if is == revoked {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b CertificateID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}

func (d *Draft) grant(g Grant) error {
	if err := g.Check(); err != nil {
		return err
	}
	if d.Role(g.Role) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, g.Role)}
	}
	if !g.Exact() {
		d.putPattern(&g)
		return nil
	}
	before := d.Record(g.Principal)
	i := before.find(&g)
	if i >= 0 && before.Grants[i].Equal(&g) {
		d.setRecord(g.Principal, before)
		return nil
	}
	if i < 0 && before != nil && len(before.Grants) >= MaxGrants {
		return &FieldError{Field: "principal", Err: fmt.Errorf("%w: %s has %d grants, which is the limit", ErrInvalid, g.Principal, MaxGrants)}
	}
	r := d.ownRecord(g.Principal, before)
	if i >= 0 {
		r.Grants[i] = g
	} else {
		r.add(&g)
	}
	return nil
}

func (d *Draft) revoke(g Grant) error {
	if err := g.Check(); err != nil {
		return err
	}
	if d.Role(g.Role) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, g.Role)}
	}
	if !g.Exact() {
		d.takePatterns(&g)
		return nil
	}
	before := d.Record(g.Principal)
	if before == nil || !slices.ContainsFunc(before.Grants, g.revokes) {
		d.setRecord(g.Principal, before)
		return nil
	}
	r := d.ownRecord(g.Principal, before)
	r.Grants = slices.DeleteFunc(r.Grants, g.revokes)
	return nil
}

// revokes reports whether the revocation g applies to h.
func (g *Grant) revokes(h Grant) bool {
	return h.Holding() == g.Holding() && (len(g.Within) == 0 || sameWithin(h.Within, g.Within))
}

// ownRecord returns a record that the draft may change: the one of an earlier change, or a
// copy.
func (d *Draft) ownRecord(p Principal, before *Record) *Record {
	if r := d.Records[p]; r != nil && r.Revision == d.revision {
		d.named = nil
		return r
	}
	r := &Record{Revision: d.revision}
	if before != nil {
		r.Grants = append(make([]Grant, 0, len(before.Grants)+1), before.Grants...)
	}
	d.setRecord(p, r)
	return r
}

func (d *Draft) setRecord(p Principal, r *Record) { d.Records[p], d.named = r, nil }

// ownPatterns returns pattern grants that the draft may change.
func (d *Draft) ownPatterns() *PatternGrants {
	if d.patterns == nil {
		patterns := *d.base.Patterns()
		d.patterns, d.own = &patterns, newToken()
	}
	return d.patterns
}

func (d *Draft) putPattern(g *Grant) {
	if d.ownPatterns().put(d.own, g) {
		d.PatternEdits = append(d.PatternEdits, PatternEdit{Grant: g})
	}
}

// takePatterns removes what the revocation revokes.
func (d *Draft) takePatterns(revocation *Grant) {
	for _, g := range d.Patterns().With(revocation) {
		if revocation.revokes(*g) {
			d.ownPatterns().remove(d.own, g)
			d.PatternEdits = append(d.PatternEdits, PatternEdit{Grant: g, Removed: true})
		}
	}
}

// find returns the index of the grant that is the same as g, -1 if there is none.
func (r *Record) find(g *Grant) int {
	if r != nil {
		for i := range r.Grants {
			if r.Grants[i].Same(g) {
				return i
			}
		}
	}
	return -1
}

// add appends a grant. Most principals have few grants and all are in memory, so add keeps
// the capacity small.
func (r *Record) add(g *Grant) {
	if few := len(r.Grants); few == cap(r.Grants) && few < 8 {
		r.Grants = append(make([]Grant, 0, few+1), r.Grants...)
	}
	r.Grants = append(r.Grants, *g)
}

func (d *Draft) putRole(r *Role) error {
	if r == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: no role to put", ErrInvalid)}
	}
	added, err := checkPut(r, d.Role)
	if err != nil {
		return err
	}
	if len(added) > 0 {
		d.deeper.roles = append(d.deeper.roles, r.name)
		d.deeper.heirs = d.deeper.heirs || d.Role(r.name) != nil
	}
	d.setRole(r.name, r)
	d.heirs = nil
	return nil
}

// Check rejects what only all changes together show: a chain of more than [MaxInheritance]
// roles. Call it after the last change. The error is a [*FieldError] and wraps [ErrInvalid].
func (d *Draft) Check() error {
	names := d.deeper.roles
	if d.deeper.heirs {
		names = names[:0:0]
		for r := range d.Roles() {
			names = append(names, r.name)
		}
		slices.Sort(names)
	}
	return checkDepth(names, d.Role)
}

func (d *Draft) setRole(name string, r *Role) {
	if d.RolesPut == nil {
		d.RolesPut = map[string]*Role{}
	}
	d.RolesPut[name] = r
}

func (d *Draft) deleteRole(name string) error {
	if d.Role(name) == nil {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w %q", ErrUnknownRole, name)}
	}
	if d.granted(name) {
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: %q is granted; revoke its grants first", ErrRoleInUse, name)}
	}
	if d.inherited(name) {
		heir := "" // the first by name, so that the error is always the same
		for r := range d.Roles() {
			if slices.Contains(r.inherits, name) && (heir == "" || r.name < heir) {
				heir = r.name
			}
		}
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: %q is inherited by %q", ErrRoleInUse, name, heir)}
	}
	for _, parent := range d.Role(name).inherits {
		d.heirs[parent]--
	}
	d.setRole(name, nil)
	return nil
}

// inherited reports whether some role inherits the one of that name.
func (d *Draft) inherited(name string) bool {
	if d.heirs == nil {
		d.heirs = map[string]int{}
		for r := range d.Roles() {
			for _, parent := range r.inherits {
				d.heirs[parent]++
			}
		}
	}
	return d.heirs[name] > 0
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
func (d *Draft) Patterns() *PatternGrants {
	if d.patterns != nil {
		return d.patterns
	}
	return d.base.Patterns()
}

// granted reports whether any grant, exact or to a pattern, names the role.
func (d *Draft) granted(role string) bool {
	if d.Patterns().GrantsRole(role) {
		return true
	}
	if d.holdsNewly(role) {
		return true
	}
	for p := range d.base.Holders(role) {
		if _, ok := d.Records[p]; !ok {
			return true
		}
	}
	return false
}

// holdsNewly reports whether one of Records has a grant of the role.
func (d *Draft) holdsNewly(role string) bool {
	if d.named == nil {
		d.named = map[string]bool{}
		for _, r := range d.Records {
			for i := 0; r != nil && i < len(r.Grants); i++ {
				d.named[r.Grants[i].Role] = true
			}
		}
	}
	return d.named[role]
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
	if revoked, differs := d.revoked[id]; differs {
		return revoked
	}
	return d.base.Revoked(id)
}
