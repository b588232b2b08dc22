package devca

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/interlock-authz/interlock/certs"
)

// How long an issued certificate is valid, at most and by default.
const (
	MaxLeafLifetime     = 30 * 24 * time.Hour
	DefaultLeafLifetime = 7 * 24 * time.Hour
)

// ServerOptions says what [CA.IssueServer] certifies. The zero value is a server on this machine: localhost, 127.0.0.1
// and ::1.
type ServerOptions struct {
	DNSNames []string
	IPs      []net.IP
	// Lifetime is in whole seconds, at most [MaxLeafLifetime]; 0 is [DefaultLeafLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// ClientOptions says what [CA.IssueClient] certifies: a SPIFFE ID, or DNS names, not both.
type ClientOptions struct {
	SPIFFEID string
	// DNSNames are for clients without a SPIFFE ID. More than one makes a certificate that has no identity under
	// [certs.RuleDNS], which is of use in tests only.
	DNSNames []string
	// Lifetime is in whole seconds, at most [MaxLeafLifetime]; 0 is [DefaultLeafLifetime].
	Lifetime time.Duration
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
}

// IssueServer makes a key and a certificate for a server. The errors that the caller can fix are [ErrName] and
// [ErrLifetime].
func (ca *CA) IssueServer(opts ServerOptions) (KeyPair, error) {
	if len(opts.DNSNames) == 0 && len(opts.IPs) == 0 {
		opts.DNSNames = []string{"localhost"}
		opts.IPs = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}
	if err := checkHosts(opts.DNSNames); err != nil {
		return KeyPair{}, err
	}
	for _, ip := range opts.IPs {
		if ip.To16() == nil {
			return KeyPair{}, fmt.Errorf("%w: %v is no IP address", ErrName, ip)
		}
	}
	template, err := ca.leafTemplate(opts.Now, opts.Lifetime, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames = opts.DNSNames
	template.IPAddresses = opts.IPs
	return ca.issue(template)
}

// IssueClient makes a key and a certificate for a client. It certifies no name that a [certs.Identifier] would reject.
// The errors that the caller can fix are [ErrName] and [ErrLifetime].
func (ca *CA) IssueClient(opts ClientOptions) (KeyPair, error) {
	if (opts.SPIFFEID == "") == (len(opts.DNSNames) == 0) {
		return KeyPair{}, fmt.Errorf("%w: a client needs a SPIFFE ID or DNS names, not both", ErrName)
	}
	if err := checkHosts(opts.DNSNames); err != nil {
		return KeyPair{}, err
	}
	uris, err := spiffeURIs(opts.SPIFFEID)
	if err != nil {
		return KeyPair{}, err
	}
	template, err := ca.leafTemplate(opts.Now, opts.Lifetime, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames = opts.DNSNames
	template.URIs = uris
	return ca.issue(template)
}

func checkHosts(names []string) error {
	for _, name := range names {
		if err := certs.CheckHost(name); err != nil {
			return fmt.Errorf("%w: the DNS name %.120q %w", ErrName, name, err)
		}
	}
	return nil
}

// spiffeURIs returns the one URI of a SPIFFE ID, or none if it is empty.
func spiffeURIs(id string) ([]*url.URL, error) {
	if id == "" {
		return nil, nil
	}
	parsed, err := certs.ParseSPIFFEID(id)
	if rejected, ok := errors.AsType[*certs.IdentityError](err); ok {
		return nil, fmt.Errorf("%w: %s", ErrName, rejected.Detail)
	}
	if err != nil {
		return nil, err
	}
	return []*url.URL{parsed.URL()}, nil
}

// leafTemplate begins a certificate that is not a CA's and ends no later than the CA's.
func (ca *CA) leafTemplate(now func() time.Time, lifetime time.Duration, usage x509.ExtKeyUsage) (*x509.Certificate, error) {
	lifetime = cmp.Or(lifetime, DefaultLeafLifetime)
	if lifetime > MaxLeafLifetime {
		return nil, fmt.Errorf("%w: %v is longer than %v; ask for a shorter one", ErrLifetime, lifetime, MaxLeafLifetime)
	}
	template, err := newTemplate(now, lifetime)
	if err != nil {
		return nil, err
	}
	if err := ca.checkEnd(template); err != nil {
		return nil, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return template, nil
}

func (ca *CA) checkEnd(template *x509.Certificate) error {
	if template.NotAfter.After(ca.cert.NotAfter) {
		return fmt.Errorf("%w: it would end after the CA itself does (%s); ask for a shorter one or make a new CA",
			ErrLifetime, ca.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// issue certifies a new key. The certificates of intermediate CAs follow the leaf's.
func (ca *CA) issue(template *x509.Certificate) (KeyPair, error) {
	key, err := newKey()
	if err != nil {
		return KeyPair{}, err
	}
	pair, err := sign(template, ca.cert, key, ca.key)
	if err != nil {
		return KeyPair{}, err
	}
	for _, cert := range ca.intermediates() {
		pair.CertPEM = append(pair.CertPEM, encodeCertificate(cert)...)
	}
	return pair, nil
}

// Renew makes a new key and a certificate with the names and the use of leaf, which this CA has issued. A lifetime of 0 is
// that of leaf. The leaf remains valid until its own end: see [CA.Revoke]. The errors that the caller can fix are
// [ErrName], for a certificate of another CA, and [ErrLifetime].
func (ca *CA) Renew(leaf *x509.Certificate, lifetime time.Duration) (KeyPair, error) {
	if leaf.CheckSignatureFrom(ca.cert) != nil || leaf.IsCA || len(leaf.ExtKeyUsage) != 1 {
		return KeyPair{}, fmt.Errorf("%w: %.120q is no leaf that this CA has issued", ErrName, leaf.Subject.String())
	}
	if lifetime == 0 {
		lifetime = leaf.NotAfter.Sub(leaf.NotBefore)
	}
	template, err := ca.leafTemplate(nil, lifetime, leaf.ExtKeyUsage[0])
	if err != nil {
		return KeyPair{}, err
	}
	template.DNSNames, template.IPAddresses, template.URIs = leaf.DNSNames, leaf.IPAddresses, leaf.URIs
	return ca.issue(template)
}
