package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	Principal  string `json:"principal,omitempty" yaml:"principal,omitempty"`
	Principals string `json:"principals,omitempty" yaml:"principals,omitempty"`
	Role       string `json:"role" yaml:"role"`
	Within     Limits `json:"within,omitzero" yaml:"within,omitempty"`
	Expires    string `json:"expires,omitempty" yaml:"expires,omitempty"`
	Reason     string `json:"reason,omitempty" yaml:"reason,omitempty"`
}

// Limits is the member "within" of a grant. Nil means no limit. An empty list is an error, and
// null in JSON stands for one: a list that came out empty by mistake must not remove the limits.
type Limits []string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (l *Limits) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if err := json.UnmarshalDecode(dec, (*[]string)(l)); err != nil {
		return err
	}
	if *l == nil {
		*l = Limits{}
	}
	return nil
}

// faults collects the errors of one role or one grant, each with its field.
type faults []*FieldError

// add adds an error in field, or below it if the error names a field itself.
func (f *faults) add(field string, err error) {
	if err != nil {
		*f = append(*f, At(field, err))
	}
}

// addf adds an error that wraps [ErrInvalid].
func (f *faults) addf(field, format string, args ...any) {
	f.add(field, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
}

// first returns the first of the errors, nil if there is none.
func (f faults) first() error {
	if len(f) == 0 {
		return nil
	}
	return f[0]
}

// Role checks the specification and makes the role of that name. s.Name must be empty or
// the same. Every error is a [*FieldError] with a path such as "permissions[1].actions[0]",
// and wraps [ErrInvalid], [ErrMalformed] or [ErrCondition]. Role returns the first error;
// [RoleSpec.Build] returns all of them.
func (s RoleSpec) Role(name string) (*Role, error) {
	r, f := s.Build(name)
	return r, faults(f).first()
}

// Build is [RoleSpec.Role] with all errors. The role is nil if there is any.
func (s RoleSpec) Build(name string) (*Role, []*FieldError) {
	var f faults
	if s.Name != "" && s.Name != name {
		f.addf("name", "role %q has the name %q inside", name, s.Name)
	}
	f.add("name", CheckRoleName(name))
	checkInherits(s.Inherits, &f)
	var size sizes
	for i := range s.Permissions {
		p := &s.Permissions[i]
		size.add(len(p.Actions), len(p.Resources), p.When)
	}
	if !size.within(&f) {
		return nil, f
	}
	permissions := make([]Permission, len(s.Permissions))
	for i := range s.Permissions {
		permissions[i] = s.Permissions[i].build(fmt.Sprintf("permissions[%d].", i), &f)
	}
	if len(f) > 0 {
		return nil, f
	}
	return &Role{name: name, inherits: slices.Clone(s.Inherits), permissions: permissions}, nil
}

func (s *PermissionSpec) build(at string, f *faults) Permission {
	var p Permission
	switch s.Effect {
	case "", "allow":
	case "deny":
		p.Effect = Deny
	default:
		f.addf(at+"effect", "%q is neither allow nor deny", s.Effect)
	}
	p.Actions = parseAll(s.Actions, at+"actions", ParseActionPattern, f)
	p.Resources = parseAll(s.Resources, at+"resources", ParseResourcePattern, f)
	p.check(at, f)
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

// Grant checks the specification and makes the grant. It does not check that the role
// exists. Every error is a [*FieldError], and wraps [ErrInvalid] or [ErrMalformed]. Grant
// returns the first error; [GrantSpec.Build] returns all of them.
func (s GrantSpec) Grant() (Grant, error) {
	g, f := s.Build()
	return g, faults(f).first()
}

// Build is [GrantSpec.Grant] with all errors. The grant is zero if there is any.
func (s GrantSpec) Build() (Grant, []*FieldError) {
	var f faults
	g := Grant{Role: s.Role, Reason: s.Reason}
	var err error
	switch {
	case s.Principal != "" && s.Principals != "":
		f.addf("principals", "a grant has principal or principals, not both")
	case s.Principals != "":
		g.Principals, err = ParsePrincipalPattern(s.Principals)
		f.add("principals", err)
	case s.Principal != "":
		g.Principal, err = ParsePrincipal(s.Principal)
		f.add("principal", err)
	}
	named := len(f) == 0
	if s.Within != nil && len(s.Within) == 0 {
		f.add("within", errNoLimits)
	}
	if len(s.Within) <= MaxWithin {
		g.Within = parseAll(s.Within, "within", ParseResourcePattern, &f)
	} else {
		f.count("within", len(s.Within), MaxWithin, "limits")
	}
	if s.Expires != "" {
		g.Expires, err = ParseExpiry(s.Expires)
		f.add("expires", err)
	}
	for _, e := range g.problems() {
		if named || e.Field != "principal" {
			f = append(f, e)
		}
	}
	if len(f) > 0 {
		return Grant{}, f
	}
	return g, nil
}

// ParseExpiry reads the expiry of a grant, an instant of RFC 3339 in the years 1970 to 2261,
// and returns it in UTC. It is stricter than package time, which accepts an hour of one
// digit and a comma before the fraction. The error wraps [ErrInvalid].
func ParseExpiry(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || text[len("2027-01-01T00")] != ':' || strings.Contains(text, ",") {
		return time.Time{}, fmt.Errorf("%w: %q is not an instant such as 2027-01-01T00:00:00Z", ErrInvalid, text)
	}
	if err := checkExpiry(t); err != nil {
		return time.Time{}, err
	}
	return t.UTC(), nil
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
