package policy

import (
	"fmt"
	"strings"
	"time"
)

// PermissionSpec is a permission as files and the API write it.
type PermissionSpec struct {
	// Effect is "allow", "deny", or empty for allow.
	Effect    string   `json:"effect,omitempty" yaml:"effect,omitempty"`
	Actions   []string `json:"actions" yaml:"actions"`
	Resources []string `json:"resources" yaml:"resources"`
	// When is a condition, empty for none.
	When string `json:"when,omitempty" yaml:"when,omitempty"`
}

// RoleSpec is a role as files and the API write it. Name is set where nothing else names
// the role: in a list of roles, and in the change put-role.
type RoleSpec struct {
	Name        string           `json:"name,omitempty" yaml:"name,omitempty"`
	Inherits    []string         `json:"inherits,omitempty" yaml:"inherits,omitempty"`
	Permissions []PermissionSpec `json:"permissions,omitempty" yaml:"permissions,omitempty"`
}

// GrantSpec is a grant as files and the API write it: exactly one of Principal and
// Principals is set, and Expires is empty or an instant of RFC 3339.
type GrantSpec struct {
	Principal  string   `json:"principal,omitempty" yaml:"principal,omitempty"`
	Principals string   `json:"principals,omitempty" yaml:"principals,omitempty"`
	Role       string   `json:"role" yaml:"role"`
	Within     []string `json:"within,omitempty" yaml:"within,omitempty"`
	Expires    string   `json:"expires,omitempty" yaml:"expires,omitempty"`
	Reason     string   `json:"reason,omitempty" yaml:"reason,omitempty"`
}

// faults collects the errors of one role or one grant, each with its field.
type faults []*FieldError

func (f *faults) add(field string, err error) {
	if err != nil {
		e, _ := At(field, err).(*FieldError)
		*f = append(*f, e)
	}
}

// addField adds an error that names its field already, or lies in field.
func (f *faults) addField(field string, err error) {
	if e, ok := err.(*FieldError); ok {
		*f = append(*f, e)
		return
	}
	f.add(field, err)
}

// first returns the first of the errors, nil if there is none.
func (f faults) first() error {
	if len(f) == 0 {
		return nil
	}
	return f[0]
}

// Role checks the specification and makes the role of that name; s.Name has to be empty
// or the same. Every error is a [*FieldError] with a path such as
// "permissions[1].actions[0]", and wraps [ErrInvalid], [ErrMalformed] or [ErrCondition].
func (s RoleSpec) Role(name string) (*Role, error) {
	r, f := s.build(name)
	return r, f.first()
}

func (s RoleSpec) build(name string) (*Role, faults) {
	var f faults
	if s.Name != "" && s.Name != name {
		f.add("name", fmt.Errorf("%w: role %q is called %q inside", ErrInvalid, name, s.Name))
	}
	_, err := NewRole(name, s.Inherits, nil)
	f.addField("name", err)
	permissions := make([]Permission, len(s.Permissions))
	for i := range s.Permissions {
		permissions[i] = s.Permissions[i].build(fmt.Sprintf("permissions[%d].", i), &f)
	}
	if len(f) > 0 {
		return nil, f
	}
	r, err := NewRole(name, s.Inherits, permissions)
	f.addField("name", err)
	return r, f
}

func (s *PermissionSpec) build(at string, f *faults) Permission {
	var p Permission
	switch s.Effect {
	case "", "allow":
	case "deny":
		p.Effect = Deny
	default:
		f.add(at+"effect", fmt.Errorf("%w: %q is neither allow nor deny", ErrInvalid, s.Effect))
	}
	p.Actions = parseAll(s.Actions, at+"actions", ParseActionPattern, f)
	p.Resources = parseAll(s.Resources, at+"resources", ParseResourcePattern, f)
	if len(s.Actions) == 0 {
		f.add(at+"actions", fmt.Errorf("%w: a permission needs at least one action pattern", ErrInvalid))
	}
	if len(s.Resources) == 0 {
		f.add(at+"resources", fmt.Errorf("%w: a permission needs at least one resource pattern", ErrInvalid))
	}
	if s.When != "" {
		when, err := ParseCondition(s.When)
		f.add(at+"when", err)
		p.When = when
	}
	return p
}

// parseAll parses each text; the errors lie in field[i].
func parseAll[T any](texts []string, field string, parse func(string) (T, error), f *faults) []T {
	if len(texts) == 0 {
		return nil
	}
	parsed := make([]T, len(texts))
	for i, text := range texts {
		v, err := parse(text)
		f.add(fmt.Sprintf("%s[%d]", field, i), err)
		parsed[i] = v
	}
	return parsed
}

// Grant checks the specification and makes the grant. That its role exists is checked
// where the grant is put. Every error is a [*FieldError], and wraps [ErrInvalid] or
// [ErrMalformed].
func (s GrantSpec) Grant() (Grant, error) {
	g, f := s.build()
	if len(f) > 0 {
		return Grant{}, f.first()
	}
	return g, nil
}

func (s *GrantSpec) build() (Grant, faults) {
	var f faults
	var err error
	g := Grant{Role: s.Role, Reason: s.Reason}
	switch {
	case s.Principal != "" && s.Principals != "":
		f.add("principals", fmt.Errorf("%w: a grant has principal or principals, not both", ErrInvalid))
	case s.Principals != "":
		g.Principals, err = ParsePrincipalPattern(s.Principals)
		f.add("principals", err)
	case s.Principal != "":
		g.Principal, err = ParsePrincipal(s.Principal)
		f.add("principal", err)
	}
	if s.Role != "" {
		f.add("role", CheckRoleName(s.Role))
	}
	g.Within = parseAll(s.Within, "within", ParseResourcePattern, &f)
	if s.Expires != "" {
		g.Expires, err = parseExpiry(s.Expires)
		f.add("expires", err)
	}
	if len(f) == 0 {
		f.addField("role", g.check())
	}
	return g, f
}

// parseExpiry reads an instant of RFC 3339, to the letter: package time lets pass an hour
// of one digit and a comma before the fraction.
func parseExpiry(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || text[len("2027-01-01T00")] != ':' || strings.Contains(text, ",") {
		return time.Time{}, fmt.Errorf("%w: %q is no instant such as 2027-01-01T00:00:00Z", ErrInvalid, text)
	}
	return t.UTC(), checkExpiry(t)
}

// SpecOfRole writes the role as a specification with its name.
func SpecOfRole(r *Role) RoleSpec {
	s := RoleSpec{Name: r.name, Inherits: append([]string(nil), r.inherits...)}
	for i := range r.permissions {
		p := &r.permissions[i]
		spec := PermissionSpec{Actions: texts(p.Actions), Resources: texts(p.Resources), When: p.When.String()}
		if p.Effect == Deny {
			spec.Effect = "deny"
		}
		s.Permissions = append(s.Permissions, spec)
	}
	return s
}

// SpecOfGrant writes the grant as a specification; the time in UTC.
func SpecOfGrant(g *Grant) GrantSpec {
	s := GrantSpec{
		Principal: g.Principal.id, Principals: g.Principals.text,
		Role: g.Role, Within: texts(g.Within), Reason: g.Reason,
	}
	if !g.Expires.IsZero() {
		s.Expires = g.Expires.UTC().Format(time.RFC3339Nano)
	}
	return s
}

func texts[T fmt.Stringer](patterns []T) []string {
	if len(patterns) == 0 {
		return nil
	}
	s := make([]string, len(patterns))
	for i, p := range patterns {
		s[i] = p.String()
	}
	return s
}
