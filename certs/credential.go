package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
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

// CredentialsOf gives the facts about the certificates of chain, which must be one verified chain, leaf first: the
// leaf's, and those of the CAs without which it is worth nothing. The issuer of each is the next one; a leaf
// that stands alone must have signed itself, and the CA at the end, which is trusted for itself, may have an
// issuer that is not known (its IssuerSPKI is zero then). It asks no clock and no rule: use [Identifier.Identify] for
// who it is. The error is an *[IdentityError] with [ReasonNoCertificate] or [ReasonIncompleteChain].
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
