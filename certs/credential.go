package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"
)

// Credential is what an authorization must know about the certificate that was presented, so that it can look again,
// at the moment of use, whether it still stands.
type Credential struct {
	// SHA256 is the fingerprint of the whole certificate.
	SHA256 [sha256.Size]byte
	// Serial is the serial number in lower-case hexadecimal, two digits for each byte, without leading zero bytes:
	// "0a", "01ff". Zero is "00".
	Serial string
	// IssuerSPKI is the SHA-256 of the issuer's public key (SubjectPublicKeyInfo). With Serial it names the
	// certificate in a revocation.
	IssuerSPKI [sha256.Size]byte
	// NotBefore and NotAfter are the first and the last moment at which the certificate is valid.
	NotBefore, NotAfter time.Time
}

// CredentialOf gives the facts about the leaf of chain, which must be one verified chain, leaf first. The issuer is
// the second certificate, or the leaf itself if it stands alone and signed itself. It asks no clock and no rule: use
// [Identifier.Identify] for who it is. The error is an *[IdentityError] with [ReasonNoCertificate] or
// [ReasonIncompleteChain].
func CredentialOf(chain []*x509.Certificate) (Credential, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return Credential{}, err
	}
	issuer, err := issuerOf(leaf, chain[1:])
	if err != nil {
		return Credential{}, err
	}
	return Credential{
		SHA256:     sha256.Sum256(leaf.Raw),
		Serial:     serialText(leaf),
		IssuerSPKI: sha256.Sum256(issuer.RawSubjectPublicKeyInfo),
		NotBefore:  leaf.NotBefore,
		NotAfter:   leaf.NotAfter,
	}, nil
}

func issuerOf(leaf *x509.Certificate, above []*x509.Certificate) (*x509.Certificate, error) {
	switch {
	case len(above) > 0 && above[0] != nil:
		return above[0], nil
	case isSelfSigned(leaf):
		return leaf, nil
	}
	return nil, refuse(ReasonIncompleteChain,
		"the certificate of the issuer is missing; trust the authority that issued the certificate, not the "+
			"certificate itself")
}

func isSelfSigned(cert *x509.Certificate) bool {
	return bytes.Equal(cert.RawIssuer, cert.RawSubject) &&
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
}

func serialText(cert *x509.Certificate) string {
	serial := cert.SerialNumber.Bytes()
	if len(serial) == 0 {
		serial = []byte{0}
	}
	return hex.EncodeToString(serial)
}
