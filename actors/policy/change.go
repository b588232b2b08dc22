package policy

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Op is the operation of a change.
type Op string

// The operations of a change.
const (
	OpGrant               Op = "grant"
	OpRevoke              Op = "revoke"
	OpPutRole             Op = "put-role"
	OpDeleteRole          Op = "delete-role"
	OpRevokeCertificate   Op = "revoke-certificate"
	OpUnrevokeCertificate Op = "unrevoke-certificate"
)

// Change is one step of an update. Op determines which fields are used. Make one with
// [GrantRole], [RevokeRole], [PutRole], [DeleteRole], [RevokeCertificate] or
// [UnrevokeCertificate].
type Change struct {
	Op Op
	// Grant is the grant to add. For a revocation it has the holder and the role, and
	// limits if only the grant with exactly these limits is revoked.
	Grant Grant
	// Role is the role to put.
	Role *Role
	// Name is the role to delete.
	Name string
	// Certificate is the certificate to revoke, or to accept again.
	Certificate CertificateID
	// Reason says why. For a grant it is the same as Grant.Reason.
	Reason string
}

// GrantRole adds the grant, or replaces the expiry and reason of an existing one.
func GrantRole(g Grant) Change { return Change{Op: OpGrant, Grant: g, Reason: g.Reason} }

// RevokeRole revokes the holder's grants of the role: all of them, or the one with exactly
// the limits within.
func RevokeRole(g Grant) Change { return Change{Op: OpRevoke, Grant: g, Reason: g.Reason} }

// PutRole adds a role or replaces the one of its name.
func PutRole(r *Role, reason string) Change { return Change{Op: OpPutRole, Role: r, Reason: reason} }

// DeleteRole deletes a role that no grant names and no role inherits.
func DeleteRole(name, reason string) Change {
	return Change{Op: OpDeleteRole, Name: name, Reason: reason}
}

// RevokeCertificate revokes a certificate.
func RevokeCertificate(id CertificateID, reason string) Change {
	return Change{Op: OpRevokeCertificate, Certificate: id, Reason: reason}
}

// UnrevokeCertificate takes the revocation of a certificate back. The administration API has no
// such change: it is the way back for an operator whose revocation locked all callers out.
func UnrevokeCertificate(id CertificateID, reason string) Change {
	return Change{Op: OpUnrevokeCertificate, Certificate: id, Reason: reason}
}

// CertificateID identifies a certificate by its SHA-256 fingerprint, or by its serial
// number and the SHA-256 of its issuer's SubjectPublicKeyInfo. All three are lower-case
// hexadecimal; the serial has no leading zeros. It is comparable.
type CertificateID struct {
	SHA256 string
	Serial string
	Issuer string
}

// ByFingerprint returns the ID of a certificate with that SHA-256 fingerprint: 64
// hexadecimal digits, optionally with colons between bytes.
func ByFingerprint(sha256 string) (CertificateID, error) {
	digits, err := hexOf(sha256, 64)
	if err != nil {
		return CertificateID{}, &FieldError{Field: "sha256", Err: err}
	}
	return CertificateID{SHA256: digits}, nil
}

// BySerial returns the ID of a certificate with that serial number and issuer, in
// hexadecimal.
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

// hexOf returns text in lower case without colons. digits is the required number of digits;
// 0 means 1 to 64.
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
	case OpRevokeCertificate, OpUnrevokeCertificate:
		return string(c.Op) + " " + c.Certificate.String()
	}
	return "unknown change " + string(c.Op)
}
