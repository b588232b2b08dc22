package policy

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Op says what a change does.
type Op string

// The operations of a change.
const (
	OpGrant             Op = "grant"
	OpRevoke            Op = "revoke"
	OpPutRole           Op = "put-role"
	OpDeleteRole        Op = "delete-role"
	OpRevokeCertificate Op = "revoke-certificate"
)

// Change is one step of an update. Which fields count depends on Op; make one with
// [GrantRole], [RevokeRole], [PutRole], [DeleteRole] or [RevokeCertificate].
type Change struct {
	Op Op
	// Grant is what is granted; for a revocation its holder and role, and the limits if
	// only the grant with exactly these is to go.
	Grant Grant
	// Role is the role that is put.
	Role *Role
	// Name is the role that is deleted.
	Name string
	// Certificate is the certificate that is revoked.
	Certificate CertificateID
	// Reason says why. For a grant it is the same as Grant.Reason.
	Reason string
}

// GrantRole is the change that adds the grant, or replaces its expiry and reason.
func GrantRole(g Grant) Change { return Change{Op: OpGrant, Grant: g, Reason: g.Reason} }

// RevokeRole is the change that takes the holder's grants of the role: all of them, or
// the one limited to exactly within.
func RevokeRole(g Grant) Change { return Change{Op: OpRevoke, Grant: g, Reason: g.Reason} }

// PutRole is the change that adds a role or replaces the one of its name.
func PutRole(r *Role, reason string) Change { return Change{Op: OpPutRole, Role: r, Reason: reason} }

// DeleteRole is the change that removes a role that no grant names and no role inherits.
func DeleteRole(name, reason string) Change {
	return Change{Op: OpDeleteRole, Name: name, Reason: reason}
}

// RevokeCertificate is the change that revokes a certificate. It cannot be undone.
func RevokeCertificate(id CertificateID, reason string) Change {
	return Change{Op: OpRevokeCertificate, Certificate: id, Reason: reason}
}

// CertificateID names a certificate: by its SHA-256 fingerprint, or by its serial number
// and the SHA-256 of its issuer's SubjectPublicKeyInfo. All three are lower-case
// hexadecimal; the serial has no leading zeros. It is comparable.
type CertificateID struct {
	SHA256 string
	Serial string
	Issuer string
}

// ByFingerprint names a certificate by its SHA-256 fingerprint, 64 hexadecimal digits;
// colons between the bytes, as other tools print them, are taken out.
func ByFingerprint(sha256 string) (CertificateID, error) {
	digits, err := hexOf(sha256, 64)
	if err != nil {
		return CertificateID{}, &FieldError{Field: "sha256", Err: err}
	}
	return CertificateID{SHA256: digits}, nil
}

// BySerial names a certificate by serial number and issuer, in hexadecimal.
func BySerial(serial, issuerSPKI string) (CertificateID, error) {
	s, err := hexOf(serial, 0)
	if err != nil {
		return CertificateID{}, &FieldError{Field: "serial", Err: err}
	}
	issuer, err := hexOf(issuerSPKI, 64)
	if err != nil {
		return CertificateID{}, &FieldError{Field: "issuer", Err: err}
	}
	if s = strings.TrimLeft(s, "0"); s == "" {
		s = "0"
	}
	return CertificateID{Serial: s, Issuer: issuer}, nil
}

// hexOf returns text in lower case without colons; digits 0 is 1 to 64 of them.
func hexOf(text string, digits int) (string, error) {
	s := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	padded := s
	if len(s)%2 == 1 {
		padded = "0" + s
	}
	if _, err := hex.DecodeString(padded); err != nil || s == "" || (digits > 0 && len(s) != digits) || len(s) > 64 {
		return "", malformed("hexadecimal number", text, "does not have the digits that are needed here (%s)", needed(digits))
	}
	return s, nil
}

func needed(digits int) string {
	if digits > 0 {
		return fmt.Sprintf("%d of 0-9 a-f", digits)
	}
	return "1 to 64 of 0-9 a-f"
}

// String returns the fingerprint, or serial@issuer.
func (c CertificateID) String() string {
	if c.SHA256 != "" {
		return c.SHA256
	}
	return c.Serial + "@" + c.Issuer
}

// String describes the change on one line.
func (c Change) String() string {
	switch c.Op {
	case OpGrant, OpRevoke:
		s := fmt.Sprintf("%s %s %s", c.Op, c.Grant.Subject(), c.Grant.Role)
		if len(c.Grant.Within) > 0 {
			s += " within " + joinResources(c.Grant.Within)
		}
		return s
	case OpPutRole:
		return string(c.Op) + " " + c.Role.name
	case OpDeleteRole:
		return string(c.Op) + " " + c.Name
	case OpRevokeCertificate:
		return string(c.Op) + " " + c.Certificate.String()
	}
	return "unknown change " + string(c.Op)
}
