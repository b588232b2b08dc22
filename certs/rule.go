package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrRule is wrapped by every [RuleError].
var ErrRule = errors.New("certs: invalid identity rule")

// Rule selects the part of a certificate that identifies the client. Its text is also the prefix of the identity's
// name.
type Rule string

// The rules of an [Identifier].
const (
	// RuleSPIFFE uses the SPIFFE ID. It always comes first.
	RuleSPIFFE Rule = "spiffe"
	// RuleDNS uses the single DNS name among the subject alternative names.
	RuleDNS Rule = "dns"
	// RuleEmail uses the single mail address among the subject alternative names. The host part must be lower case; the
	// local part is used unchanged.
	RuleEmail Rule = "email"
	// RuleURI uses the single URI among the subject alternative names. It never returns a spiffe: URI.
	RuleURI Rule = "uri"
	// RuleSHA256 uses the SHA-256 fingerprint of the whole certificate, in lower-case hexadecimal. Every certificate
	// has one, so later rules never apply.
	RuleSHA256 Rule = "sha256"
	// RuleSPKI uses the SHA-256 of the public key (SubjectPublicKeyInfo), in lower-case hexadecimal. It stays the same
	// when the certificate is renewed with the same key. Every certificate has one.
	RuleSPKI Rule = "spki"
	// RuleCN uses the single common name of the subject, in printable ASCII. CAs check a common name less strictly than
	// a subject alternative name, so prefer the other rules.
	RuleCN Rule = "cn"
	// RuleMapped marks an identity from [Identifier.Mapping]. It cannot be configured as a rule.
	RuleMapped Rule = "mapped"
)

// RuleError names a rule that [NewIdentifier] rejects. It wraps [ErrRule].
type RuleError struct {
	Rule   Rule
	Detail string
}

// Error names the rule and the problem.
func (e *RuleError) Error() string {
	return fmt.Sprintf("%v: %q %s", ErrRule, string(e.Rule), e.Detail)
}

// Unwrap returns [ErrRule].
func (e *RuleError) Unwrap() error { return ErrRule }

// source defines, for one rule, where its values are and what a valid value is.
type source struct {
	what   string
	values func(leaf *x509.Certificate, uris []string) []string
	check  func(value string) error
}

// sources holds all rules but RuleSPIFFE.
var sources = map[Rule]source{
	RuleDNS:    {"DNS name", dnsNames, CheckHost},
	RuleEmail:  {"mail address", emailAddresses, checkEmail},
	RuleURI:    {"URI", uriTexts, checkURI},
	RuleSHA256: {"fingerprint", fingerprint, checkDigest},
	RuleSPKI:   {"public key", keyFingerprint, checkDigest},
	RuleCN:     {"common name", commonNames, checkCommonName},
}

func dnsNames(leaf *x509.Certificate, _ []string) []string { return leaf.DNSNames }

func emailAddresses(leaf *x509.Certificate, _ []string) []string { return leaf.EmailAddresses }

func uriTexts(_ *x509.Certificate, uris []string) []string { return uris }

func fingerprint(leaf *x509.Certificate, _ []string) []string {
	return []string{hexDigest(leaf.Raw)}
}

func keyFingerprint(leaf *x509.Certificate, _ []string) []string {
	return []string{hexDigest(leaf.RawSubjectPublicKeyInfo)}
}

// oidCommonName is id-at-commonName of RFC 5280, appendix A.1.
var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonNames returns every common name. Subject.CommonName has only the last of several.
func commonNames(leaf *x509.Certificate, _ []string) []string {
	var names []string
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			text, _ := attribute.Value.(string) // a value that is not text becomes the empty name, which is malformed
			names = append(names, text)
		}
	}
	return names
}

func hexDigest(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
