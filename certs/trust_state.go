package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"
)

// TrustState is the credentials, trust anchors and CRLs that a [Trust] has loaded. It is immutable and safe for concurrent use.
type TrustState struct {
	tls        *tls.Config
	anchors    *TrustAnchors
	identifier *Identifier
	loaded     *CRLs // as they were read
	crls       *CRLs // as they are at the moment of the state
	stale      []string
	at         time.Time
	// withdrawn are the CAs that were trust anchors earlier, by the SHA-256 of their public keys in hexadecimal.
	withdrawn map[string]*x509.Certificate
}

// Identifier identifies clients under the trust anchors of this state.
func (s *TrustState) Identifier() *Identifier { return s.identifier }

// TrustAnchors returns the CAs of clients.
func (s *TrustState) TrustAnchors() *TrustAnchors { return s.anchors }

// CRLs returns the CRLs, as they were when the state was made: see [CRLs.At].
func (s *TrustState) CRLs() *CRLs { return s.crls }

// StaleCRLs names the CAs whose next CRL is overdue.
func (s *TrustState) StaleCRLs() []string { return s.stale }

// Certificate returns the server's own certificate, which the caller only reads.
func (s *TrustState) Certificate() *x509.Certificate { return s.tls.Certificates[0].Leaf }

// Issuers returns the SHA-256 of the public key of each CA that can issue certificates of clients, in hexadecimal: the
// trust anchors, and the intermediate CAs that have a CRL.
func (s *TrustState) Issuers() []string {
	return append(s.anchors.Issuers(), s.crls.Issuers()...)
}

// IsCA reports whether a certificate is that of a trust anchor or of a CA that has a CRL. It is named by its SHA-256, or
// by its serial number and the SHA-256 of its issuer's public key; all in hexadecimal, as in [Credential].
func (s *TrustState) IsCA(fingerprint, issuer, serial string) bool {
	return slices.ContainsFunc(slices.Concat(s.anchors.all, s.crls.signers()), func(ca *x509.Certificate) bool {
		if fingerprint != "" {
			return hexDigest(ca.Raw) == fingerprint
		}
		c, err := CredentialsOf([]*x509.Certificate{ca})
		return err == nil && trimZeros(c[0].Serial) == serial && hex.EncodeToString(c[0].IssuerSPKI[:]) == issuer
	})
}

// trimZeros returns a hexadecimal number without leading zeros.
func trimZeros(digits string) string { return cmp.Or(strings.TrimLeft(digits, "0"), "0") }

// Revoked reports whether a certificate is revoked, by a CRL or because its issuer is no longer a trust anchor.
// The arguments are those of [CRLs.Revoked].
func (s *TrustState) Revoked(issuer, serial string) bool {
	return s.withdrawn[issuer] != nil || s.crls.Revoked(issuer, serial)
}

// withdraw records the CAs that an earlier state trusted or had withdrawn, and that this state does not trust.
func (s *TrustState) withdraw(last *TrustState) {
	s.withdrawn = map[string]*x509.Certificate{}
	issuers := s.anchors.Issuers()
	for _, cert := range slices.Concat(last.anchors.all, slices.Collect(maps.Values(last.withdrawn))) {
		sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		key := hex.EncodeToString(sum[:])
		if !s.anchors.Trusts(cert) && !slices.Contains(issuers, key) {
			s.withdrawn[key] = cert
		}
	}
}

// age finds the CRLs that are stale at a moment.
func (s *TrustState) age(now time.Time, accept bool) {
	crls, stale := s.loaded.At(now)
	if accept {
		crls = s.loaded
	}
	s.at, s.crls, s.stale = now, crls, stale
}
