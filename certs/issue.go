package certs

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// How long an issued certificate stands, at most and unless told otherwise.
const (
	MaxLeafLifetime     = 30 * 24 * time.Hour
	DefaultLeafLifetime = 7 * 24 * time.Hour
)

// ErrSubject is a name that is not certified because it is malformed, missing or one too many.
var ErrSubject = errors.New("certs: name cannot be certified")

// ServerLeaf says what [Authority.IssueServer] certifies. The zero value is a server on this machine: localhost,
// 127.0.0.1 and ::1.
type ServerLeaf struct {
	DNSNames []string
	IPs      []net.IP
	// Lifetime is in whole seconds, at most [MaxLeafLifetime]; 0 is [DefaultLeafLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// ClientLeaf says what [Authority.IssueClient] certifies: a SPIFFE ID, or DNS names, not both.
type ClientLeaf struct {
	SPIFFEID string
	// DNSNames are for clients without a SPIFFE ID. More than one gives a certificate without identity under
	// [RuleDNS], which is of use in tests only.
	DNSNames []string
	// Lifetime is in whole seconds, at most [MaxLeafLifetime]; 0 is [DefaultLeafLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// IssueServer makes a key and a certificate for a server. The errors that a caller can mend are [ErrSubject] and
// [ErrLifetime].
func (a *Authority) IssueServer(leaf ServerLeaf) (KeyPair, error) {
	if len(leaf.DNSNames) == 0 && len(leaf.IPs) == 0 {
		leaf.DNSNames = []string{"localhost"}
		leaf.IPs = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if err := checkHosts(leaf.DNSNames); err != nil {
		return KeyPair{}, err
	}
	for _, ip := range leaf.IPs {
		if ip.To16() == nil {
			return KeyPair{}, fmt.Errorf("%w: %v is no IP address", ErrSubject, ip)
		}
	}
	template, err := a.leafTemplate(leaf.Now, leaf.Lifetime, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames = leaf.DNSNames
	template.IPAddresses = leaf.IPs
	return a.issue(template)
}

// IssueClient makes a key and a certificate for a client. A name that an [Identifier] would refuse is not certified.
// The errors that a caller can mend are [ErrSubject] and [ErrLifetime].
func (a *Authority) IssueClient(leaf ClientLeaf) (KeyPair, error) {
	if (leaf.SPIFFEID == "") == (len(leaf.DNSNames) == 0) {
		return KeyPair{}, fmt.Errorf("%w: a client needs a SPIFFE ID or DNS names, not both", ErrSubject)
	}
	if err := checkHosts(leaf.DNSNames); err != nil {
		return KeyPair{}, err
	}
	uris, err := spiffeURIs(leaf.SPIFFEID)
	if err != nil {
		return KeyPair{}, err
	}
	template, err := a.leafTemplate(leaf.Now, leaf.Lifetime, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames = leaf.DNSNames
	template.URIs = uris
	return a.issue(template)
}

func checkHosts(names []string) error {
	for _, name := range names {
		if err := checkHost(name); err != nil {
			return fmt.Errorf("%w: the DNS name %.120q %w", ErrSubject, name, err)
		}
	}
	return nil
}

// spiffeURIs gives the one URI of a SPIFFE ID, or none if it is empty.
func spiffeURIs(id string) ([]*url.URL, error) {
	if id == "" {
		return nil, nil
	}
	parsed, refusal := parseSPIFFE(id)
	if refusal != nil {
		return nil, fmt.Errorf("%w: %s", ErrSubject, refusal.Detail)
	}
	return []*url.URL{parsed.URL()}, nil
}

// leafTemplate begins a certificate that is no authority's and ends no later than the authority.
func (a *Authority) leafTemplate(
	now func() time.Time, lifetime time.Duration, usage x509.ExtKeyUsage,
) (*x509.Certificate, error) {
	if lifetime == 0 {
		lifetime = DefaultLeafLifetime
	}
	if lifetime > MaxLeafLifetime {
		return nil, fmt.Errorf("%w: %v is longer than %v; ask for a shorter one", ErrLifetime, lifetime, MaxLeafLifetime)
	}
	template, err := newTemplate(now, lifetime)
	if err != nil {
		return nil, err
	}
	if err := a.checkEnd(template); err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return template, nil
}

func (a *Authority) checkEnd(template *x509.Certificate) error {
	if template.NotAfter.After(a.cert.NotAfter) {
		return fmt.Errorf("%w: it would end after the authority itself does (%s); ask for a shorter one or make a "+
			"new authority", ErrLifetime, a.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// issue certifies a new key. The certificates of intermediate authorities follow the leaf's.
func (a *Authority) issue(template *x509.Certificate) (KeyPair, error) {
	key, err := newKey()
	if err != nil {
		return KeyPair{}, err
	}
	pair, err := sign(template, a.cert, key, a.key)
	for _, cert := range a.intermediates() {
		pair.CertPEM = append(pair.CertPEM, encodeCertificate(cert.Raw)...)
	}
	return pair, err
}

// Renew makes a new key and a certificate with the names and the use of one that the authority has issued before,
// for a lifetime; 0 is that of the one before. That one stays good until its own end: see [Authority.Revoke]. The
// errors that a caller can mend are [ErrSubject], for a certificate of somebody else, and [ErrLifetime].
func (a *Authority) Renew(leaf *x509.Certificate, lifetime time.Duration) (KeyPair, error) {
	if leaf.CheckSignatureFrom(a.cert) != nil || leaf.IsCA || len(leaf.ExtKeyUsage) != 1 {
		return KeyPair{}, fmt.Errorf("%w: %.120q is no leaf that this authority has issued", ErrSubject, leaf.Subject.String())
	}
	if lifetime == 0 {
		lifetime = leaf.NotAfter.Sub(leaf.NotBefore)
	}
	template, err := a.leafTemplate(nil, lifetime, leaf.ExtKeyUsage[0])
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames, template.IPAddresses, template.URIs = leaf.DNSNames, leaf.IPAddresses, leaf.URIs
	return a.issue(template)
}
