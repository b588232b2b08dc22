package policy

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ChangeSpec is a change as the API writes it, in JSON by
// github.com/go-json-experiment/json. Which fields belong to it depends on Op; reason
// belongs to every one.
//
//	{"op":"grant","principal":…,"role":"x","within":[…],"expires":…,"reason":…}
//	{"op":"revoke","principals":…,"role":"x"}
//	{"op":"put-role","role":{"name":"x","inherits":[…],"permissions":[…]}}
//	{"op":"delete-role","role":"x"}
//	{"op":"revoke-certificate","sha256":…}
//	{"op":"revoke-certificate","serial":…,"issuer":…}
type ChangeSpec struct {
	Op         Op      `json:"op"`
	Principal  string  `json:"principal,omitempty"`
	Principals string  `json:"principals,omitempty"`
	Role       RoleRef `json:"role,omitzero"`
	Within     Limits  `json:"within,omitzero"`
	Expires    string  `json:"expires,omitempty"`
	SHA256     string  `json:"sha256,omitempty"`
	Serial     string  `json:"serial,omitempty"`
	Issuer     string  `json:"issuer,omitempty"`
	Reason     string  `json:"reason,omitempty"`
}

// RoleRef is the member "role" of a change: a role's name, a string in JSON, or its
// definition, an object. The zero value is neither.
type RoleRef struct {
	Name       string
	Definition *RoleSpec
}

// IsZero reports whether r is neither a name nor a definition.
func (r RoleRef) IsZero() bool { return r == RoleRef{} }

// MarshalJSONTo implements [json.MarshalerTo].
func (r RoleRef) MarshalJSONTo(enc *jsontext.Encoder) error {
	if r.Definition != nil {
		return json.MarshalEncode(enc, r.Definition)
	}
	return enc.WriteToken(jsontext.String(r.Name))
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]. Unknown members of a definition
// are errors, whatever the decoder's options.
func (r *RoleRef) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	switch kind := dec.PeekKind(); kind {
	case '"':
		*r = RoleRef{}
		return json.UnmarshalDecode(dec, &r.Name)
	case '{':
		*r = RoleRef{Definition: new(RoleSpec)}
		return json.UnmarshalDecode(dec, r.Definition, json.RejectUnknownMembers(true))
	case 0: // the decoder's own error
		_, err := dec.ReadToken()
		return err
	default:
		return fmt.Errorf("%w: a role is a name or an object, not a %v", ErrInvalid, kind)
	}
}

// changeFields lists the fields of each operation, besides op and reason.
var changeFields = map[Op][]string{
	OpGrant:               {"principal", "principals", "role", "within", "expires"},
	OpRevoke:              {"principal", "principals", "role", "within"},
	OpPutRole:             {"role"},
	OpDeleteRole:          {"role"},
	OpRevokeCertificate:   {"sha256", "serial", "issuer"},
	OpUnrevokeCertificate: {"sha256", "serial", "issuer"},
}

// Change checks the specification and makes the change. Every error is a [*FieldError]
// and wraps [ErrInvalid], [ErrMalformed] or [ErrCondition].
func (s ChangeSpec) Change() (Change, error) {
	if err := s.checkFields(); err != nil {
		return Change{}, err
	}
	switch s.Op {
	case OpGrant, OpRevoke:
		return s.grantChange()
	case OpPutRole:
		role, err := s.Role.Definition.Role(s.Role.Definition.Name)
		if err != nil {
			return Change{}, At("role", err)
		}
		return PutRole(role, s.Reason), nil
	case OpDeleteRole:
		if err := CheckRoleName(s.Role.Name); err != nil {
			return Change{}, At("role", err)
		}
		return DeleteRole(s.Role.Name, s.Reason), nil
	default:
		return s.certificateChange()
	}
}

// checkFields refuses unknown operations and what does not belong to a known one.
func (s *ChangeSpec) checkFields() error {
	allowed, ok := changeFields[s.Op]
	if !ok {
		return &FieldError{Field: "op", Err: fmt.Errorf("%w: unknown operation %q", ErrInvalid, s.Op)}
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"principal", s.Principal != ""}, {"principals", s.Principals != ""}, {"role", !s.Role.IsZero()},
		{"within", s.Within != nil}, {"expires", s.Expires != ""},
		{"sha256", s.SHA256 != ""}, {"serial", s.Serial != ""}, {"issuer", s.Issuer != ""},
	} {
		if f.set && !slices.Contains(allowed, f.name) {
			return &FieldError{Field: f.name, Err: fmt.Errorf("%w: does not belong to the operation %s", ErrInvalid, s.Op)}
		}
	}
	if slices.Contains(allowed, "role") && (s.Op == OpPutRole) != (s.Role.Definition != nil) {
		want := "a role's name"
		if s.Op == OpPutRole {
			want = "a role with its name inside"
		}
		return &FieldError{Field: "role", Err: fmt.Errorf("%w: the operation %s needs %s here", ErrInvalid, s.Op, want)}
	}
	return nil
}

func (s *ChangeSpec) grantChange() (Change, error) {
	g, err := GrantSpec{
		Principal: s.Principal, Principals: s.Principals, Role: s.Role.Name,
		Within: s.Within, Expires: s.Expires, Reason: s.Reason,
	}.Grant()
	switch {
	case err != nil:
		return Change{}, err
	case s.Op == OpGrant:
		return GrantRole(g), nil
	default:
		return RevokeRole(g), nil
	}
}

func (s *ChangeSpec) certificateChange() (Change, error) {
	if s.SHA256 != "" && (s.Serial != "" || s.Issuer != "") {
		return Change{}, &FieldError{Field: "sha256", Err: fmt.Errorf("%w: a certificate has sha256, or serial and issuer, not both", ErrInvalid)}
	}
	var id CertificateID
	var err error
	if s.SHA256 != "" {
		id, err = ByFingerprint(s.SHA256)
	} else {
		id, err = BySerial(s.Serial, s.Issuer)
	}
	if err != nil {
		return Change{}, err
	}
	return Change{Op: s.Op, Certificate: id, Reason: s.Reason}, nil
}

// SpecOfChange writes the change as a specification: [ChangeSpec.Change] of it is c.
func SpecOfChange(c Change) ChangeSpec {
	s := ChangeSpec{Op: c.Op, Reason: c.Reason}
	switch c.Op {
	case OpGrant, OpRevoke:
		g := SpecOfGrant(&c.Grant)
		s.Principal, s.Principals, s.Within, s.Reason = g.Principal, g.Principals, g.Within, g.Reason
		s.Role.Name = g.Role
		if c.Op == OpGrant {
			s.Expires = g.Expires
		}
	case OpPutRole:
		role := SpecOfRole(c.Role)
		s.Role.Definition = &role
	case OpDeleteRole:
		s.Role.Name = c.Name
	case OpRevokeCertificate, OpUnrevokeCertificate:
		s.SHA256, s.Serial, s.Issuer = c.Certificate.SHA256, c.Certificate.Serial, c.Certificate.Issuer
	}
	return s
}
