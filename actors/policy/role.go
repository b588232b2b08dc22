package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxReason is the most bytes that the reason of a grant may have.
const MaxReason = 4096

// Effect is what a permission does to the requests it matches.
type Effect uint8

// The zero Effect is Allow so that a permission in a file may leave it out; a decision's
// zero value denies all the same.
const (
	Allow Effect = iota
	Deny
)

// String returns "allow" or "deny".
func (e Effect) String() string {
	if e == Deny {
		return "deny"
	}
	return "allow"
}

// Permission is one rule of a role. It is immutable once made by [NewRole].
type Permission struct {
	Effect    Effect
	Actions   []ActionPattern
	Resources []ResourcePattern
	// When is the condition, nil if there is none.
	When *Condition
}

// Role is a named set of permissions and of the roles that it inherits. It is immutable
// and safe to share; make one with [NewRole].
type Role struct {
	name        string
	inherits    []string
	permissions []Permission
}

// NewRole checks and copies its arguments. Inherited roles are names only: that they exist
// and form no cycle is checked where the role is put into a policy. Every error but that of
// the name is a [*FieldError]; errors wrap [ErrMalformed] or [ErrInvalid].
func NewRole(name string, inherits []string, permissions []Permission) (*Role, error) {
	if err := CheckRoleName(name); err != nil {
		return nil, err
	}
	var f faults
	checkInherits(inherits, &f)
	var size sizes
	for i := range permissions {
		p := &permissions[i]
		size.add(len(p.Actions), len(p.Resources), p.When.String())
	}
	if !size.within(&f) {
		return nil, f.first()
	}
	r := &Role{name: name, inherits: slices.Clone(inherits), permissions: slices.Clone(permissions)}
	for i := range r.permissions {
		p := &r.permissions[i]
		p.check(fmt.Sprintf("permissions[%d].", i), &f)
		p.Actions, p.Resources = slices.Clone(p.Actions), slices.Clone(p.Resources)
	}
	if len(f) > 0 {
		return nil, f.first()
	}
	return r, nil
}

// checkInherits rejects names that are malformed or stand twice.
func checkInherits(inherits []string, f *faults) {
	if !f.count("inherits", len(inherits), MaxInherits, "roles") {
		return
	}
	seen := make(map[string]bool, len(inherits))
	for i, parent := range inherits {
		if err := CheckRoleName(parent); err != nil {
			f.add(fmt.Sprintf("inherits[%d]", i), err)
		} else if seen[parent] {
			f.addf(fmt.Sprintf("inherits[%d]", i), "role %q is inherited twice", parent)
		}
		seen[parent] = true
	}
}

// check rejects an unknown effect and empty lists of patterns.
func (p *Permission) check(at string, f *faults) {
	if p.Effect != Allow && p.Effect != Deny {
		f.addf(at+"effect", "effect %d is neither allow nor deny", p.Effect)
	}
	if len(p.Actions) == 0 {
		f.addf(at+"actions", "a permission needs at least one action pattern")
	}
	if len(p.Resources) == 0 {
		f.addf(at+"resources", "a permission needs at least one resource pattern")
	}
}

// CheckRoleName says whether s can name a role: 1 to [MaxRoleName] of [A-Za-z0-9_.:/-], but
// neither "." nor "..", which a client would take out of a path. The error wraps
// [ErrMalformed].
func CheckRoleName(s string) error {
	plain := roleNamePunctuation.Replace(s)
	if len(s) > MaxRoleName || !IsKind(plain) || s == "." || s == ".." {
		return malformed("role", s, "is not a name of 1 to %d of the characters A-Z a-z 0-9 _ . : / -", MaxRoleName)
	}
	return nil
}

// roleNamePunctuation replaces what the names of roles have beyond those of kinds.
var roleNamePunctuation = strings.NewReplacer(":", "_", "/", "_")

// Name returns the role's name.
func (r *Role) Name() string { return r.name }

// Inherits returns the names of the roles that r inherits; the caller must not change it.
func (r *Role) Inherits() []string { return r.inherits }

// Permissions returns r's own permissions; the caller must not change them.
func (r *Role) Permissions() []Permission { return r.permissions }

// Grant gives a role to one principal, or to all that match a pattern. Exactly one of
// Principal and Principals is set. A Grant is a value. Its slices do not change once it is
// part of a policy.
type Grant struct {
	Principal  Principal
	Principals PrincipalPattern
	Role       string
	// Within narrows what the grant allows to resources that match one of the patterns; nil
	// means no limit. An empty list that is not nil is an error: it is often a list that
	// came out empty by mistake. Within never narrows what the role denies.
	Within []ResourcePattern
	// Expires is the instant from which the grant gives nothing; zero means never.
	Expires time.Time
	// Reason says why the grant was given. It has no effect.
	Reason string
}

// Subject returns the text of the principal or of the pattern.
func (g *Grant) Subject() string {
	if !g.Principal.IsZero() {
		return g.Principal.id
	}
	return g.Principals.text
}

// Exact reports whether the grant names one principal.
func (g *Grant) Exact() bool { return !g.Principal.IsZero() }

// ExpiredAt reports whether the grant has expired at the instant now, in nanoseconds of Unix
// time.
func (g *Grant) ExpiredAt(now int64) bool {
	return !g.Expires.IsZero() && g.Expires.UnixNano() <= now
}

// Same reports whether g and h have the same holder, role and limits. Expiry and reason do
// not count.
func (g *Grant) Same(h *Grant) bool {
	return g.Principal == h.Principal && g.Principals == h.Principals && g.Role == h.Role && sameWithin(g.Within, h.Within)
}

// Equal reports whether g and h are equal in every field.
func (g *Grant) Equal(h *Grant) bool {
	return g.Same(h) && g.Expires.Equal(h.Expires) && g.Reason == h.Reason
}

// fewLimits is up to how many limits of a grant comparing each with each is cheapest.
const fewLimits = 8

// sameWithin reports whether both have the same limits, in any order. Neither has one twice.
func sameWithin(a, b []ResourcePattern) bool {
	if len(a) != len(b) {
		return false
	}
	if len(a) <= fewLimits {
		for _, p := range a {
			if !slices.Contains(b, p) {
				return false
			}
		}
		return true
	}
	in := make(map[ResourcePattern]bool, len(b))
	for _, p := range b {
		in[p] = true
	}
	for _, p := range a {
		if !in[p] {
			return false
		}
	}
	return true
}

// Check rejects a grant that no policy may have. It does not check that the role exists.
// The error is a [*FieldError] and wraps [ErrInvalid] or [ErrMalformed].
func (g *Grant) Check() error { return g.problems().first() }

func (g *Grant) problems() (f faults) {
	if g.Principal.IsZero() == g.Principals.IsZero() {
		f.addf("principal", "a grant needs either principal or principals")
	}
	f.add("role", CheckRoleName(g.Role))
	checkLimits(g.Within, &f)
	if !g.Expires.IsZero() {
		f.add("expires", checkExpiry(g.Expires))
	}
	if err := checkReason(g.Reason); err != nil {
		f = append(f, err)
	}
	return f
}

// errNoLimits rejects an empty list of limits.
var errNoLimits = fmt.Errorf("%w: an empty list; leave within out for a grant without limits", ErrInvalid)

// checkLimits rejects an empty list, too many limits, and limits that stand twice. A zero
// pattern is one that did not parse.
func checkLimits(within []ResourcePattern, f *faults) {
	if within != nil && len(within) == 0 {
		f.add("within", errNoLimits)
	}
	if !f.count("within", len(within), MaxWithin, "limits") {
		return
	}
	var seen map[ResourcePattern]bool
	if len(within) > fewLimits {
		seen = make(map[ResourcePattern]bool, len(within))
	}
	for i, w := range within {
		twice := seen[w] || seen == nil && slices.Contains(within[:i], w)
		if twice && w.text != "" {
			f.addf(fmt.Sprintf("within[%d]", i), "%q stands twice", w)
		}
		if seen != nil {
			seen[w] = true
		}
	}
}

func checkReason(reason string) *FieldError {
	if len(reason) > MaxReason || !utf8.ValidString(reason) {
		return &FieldError{Field: "reason", Err: fmt.Errorf("%w: a reason is valid UTF-8 of at most %d bytes", ErrInvalid, MaxReason)}
	}
	return nil
}

// checkExpiry rejects instants that overflow nanoseconds of Unix time, in which
// [Grant.ExpiredAt] compares them.
func checkExpiry(t time.Time) error {
	if year := t.UTC().Year(); year < 1970 || year > 2261 {
		return fmt.Errorf("%w: the year %d is not between 1970 and 2261; leave expires out for a grant without end", ErrInvalid, year)
	}
	return nil
}

// Record holds the exact grants of one principal and the revision of their last change. A
// principal whose last grant was revoked keeps an empty record, unlike one that never had a
// grant. Records are immutable.
type Record struct {
	Revision uint64
	Grants   []Grant
}
