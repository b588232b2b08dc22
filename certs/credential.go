package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"
)

// Credential is what an engine needs to check at the moment of use whether a certificate is still valid.
type Credential struct {
	// SHA256 is the fingerprint of the whole certificate.
	SHA256 [sha256.Size]byte
	// Serial is the serial number in lower-case hexadecimal, two digits a byte, without leading zero bytes: "0a",
	// "01ff". Zero is "00".
	Serial string
	// IssuerSPKI is the SHA-256 of the issuer's public key (SubjectPublicKeyInfo). A revocation names a certificate by
	// it and Serial.
	IssuerSPKI [sha256.Size]byte
	// NotBefore and NotAfter bound the validity.
	NotBefore, NotAfter time.Time
}

// CredentialsOf returns the credentials of a verified chain, leaf first: the leaf and the CAs that it depends on. The
// issuer of each is the next one. A leaf alone must be self-signed. The issuer of the CA at the end may be unknown; its
// IssuerSPKI is zero then. CredentialsOf uses no clock and no rule. The error is an *[IdentityError] with
// [ReasonNoCertificate] or [ReasonIncompleteChain].
func CredentialsOf(chain []*x509.Certificate) ([]Credential, error) {
	leaf, err := leafOf(chain)
	if err != nil {
		return nil, err
	}
	if slices.Contains(chain, nil) || (len(chain) == 1 && !isSelfSigned(leaf)) {
		return nil, refuse(ReasonIncompleteChain,
			"the certificate of the issuer is missing; trust the CA that issued the certificate, not the "+
				"certificate itself")
	}
	all := make([]Credential, len(chain))
	for i, cert := range chain {
		all[i] = Credential{
			SHA256:    sha256.Sum256(cert.Raw),
			Serial:    serialText(cert),
			NotBefore: cert.NotBefore,
			NotAfter:  cert.NotAfter,
		}
		switch {
		case i+1 < len(chain):
			all[i].IssuerSPKI = sha256.Sum256(chain[i+1].RawSubjectPublicKeyInfo)
		case bytes.Equal(cert.RawIssuer, cert.RawSubject):
			all[i].IssuerSPKI = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		}
	}
	return all, nil
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
