package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrRule is what every [RuleError] is, by [errors.Is].
var ErrRule = errors.New("certs: identity rule not usable")

// Rule says where in a certificate an identity stands. Its text is also the prefix of the identity's name.
type Rule string

// The rules that an [Identifier] knows.
const (
	// RuleSPIFFE takes the SPIFFE ID. It always comes first, whether it is named or not.
	RuleSPIFFE Rule = "spiffe"
	// RuleDNS takes the one DNS name among the subject alternative names.
	RuleDNS Rule = "dns"
	// RuleEmail takes the one mail address among the subject alternative names. The host part is lower case; the
	// part before the @ is taken as it stands.
	RuleEmail Rule = "email"
	// RuleURI takes the one URI among the subject alternative names. It never gives a spiffe: URI.
	RuleURI Rule = "uri"
	// RuleSHA256 takes the SHA-256 fingerprint of the whole certificate, in lower-case hexadecimal. Every
	// certificate has one, so that a rule after it is never asked.
	RuleSHA256 Rule = "sha256"
	// RuleSPKI takes the SHA-256 of the public key (SubjectPublicKeyInfo), in lower-case hexadecimal, which stays
	// the same when the certificate is renewed with the same key. Every certificate has one.
	RuleSPKI Rule = "spki"
	// RuleCN takes the one common name of the subject, printable ASCII. TrustAnchors check a common name less than
	// a subject alternative name: prefer the others.
	RuleCN Rule = "cn"
	// RuleMapped found the certificate's fingerprint among those of [Identifier.Mapping]. It is not one of those that
	// are asked in an order, and the name has whatever prefix it was given.
	RuleMapped Rule = "mapped"
)

// RuleError names a rule that [NewIdentifier] does not take. It is [ErrRule].
type RuleError struct {
	Rule   Rule
	Detail string
}

// Error names the rule and what is wrong with it.
func (e *RuleError) Error() string {
	return fmt.Sprintf("%v: %q %s", ErrRule, string(e.Rule), e.Detail)
}

// Unwrap gives [ErrRule].
func (e *RuleError) Unwrap() error { return ErrRule }

// source says for one rule where its values stand in a leaf and what a value must look like.
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

// commonNames gives every common name; Subject.CommonName would give only the last of several.
func commonNames(leaf *x509.Certificate, _ []string) []string {
	var names []string
	for _, attribute := range leaf.Subject.Names {
		if attribute.Type.Equal(oidCommonName) {
			text, _ := attribute.Value.(string) // what is no text becomes the empty name, which is malformed
			names = append(names, text)
		}
	}
	return names
}

func hexDigest(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
