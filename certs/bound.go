package certs

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ErrBinding is wrapped by errors about the names that a CA is bound to.
var ErrBinding = errors.New("certs: invalid CA binding")

// Binding is a CA file and the names that its CAs may certify. Without names they may certify all.
type Binding struct {
	// File holds one or more CA certificates in PEM. It may be a folder of files that end in .crt or .pem.
	File string `yaml:"file"`
	// TrustDomains are the trust domains of SPIFFE IDs, such as example.org.
	TrustDomains []string `yaml:"trust-domains,omitempty"`
	// Names are the hosts of DNS names and mail addresses. A name also covers its subdomains.
	Names []string `yaml:"names,omitempty"`
}

// TrustAnchors are the CAs of clients and the names that each may certify. A CA is bound by its key: a binding also holds
// for other certificates of the key, and where the CA is not at the end of a chain. It is immutable and safe for concurrent
// use.
type TrustAnchors struct {
	all    []*x509.Certificate
	listed map[[sha256.Size]byte]bool    // by the SHA-256 of the whole certificate
	bound  map[[sha256.Size]byte]*bounds // by the SHA-256 of the public key
}

func newTrustAnchors() *TrustAnchors {
	return &TrustAnchors{listed: map[[sha256.Size]byte]bool{}, bound: map[[sha256.Size]byte]*bounds{}}
}

// boundsOf returns what the key of a CA is bound to, nil if it is not listed.
func (a *TrustAnchors) boundsOf(ca *x509.Certificate) *bounds {
	return a.bound[sha256.Sum256(ca.RawSubjectPublicKeyInfo)]
}

func (a *TrustAnchors) lists(cert *x509.Certificate) bool { return a.listed[sha256.Sum256(cert.Raw)] }

// bounds is what one CA may certify.
type bounds struct {
	everything   bool
	trustDomains []spiffeid.TrustDomain
	names        []string
}

// LoadTrustAnchors reads the files of bindings. A CA in several files may certify the names of all of them. Errors are
// those of [LoadPool] and [ErrBinding].
func LoadTrustAnchors(bindings ...Binding) (*TrustAnchors, error) {
	a := newTrustAnchors()
	if len(bindings) == 0 {
		return nil, fmt.Errorf("%w: name at least one file of a CA", ErrNoTrustAnchors)
	}
	for _, b := range bindings {
		what, err := b.bounds()
		if err != nil {
			return nil, err
		}
		read, err := loadCAs(b.File)
		if err != nil {
			return nil, err
		}
		a.add(what, read...)
	}
	return a, nil
}

// BindTrustAnchors returns trust anchors that may certify SPIFFE IDs of one trust domain and nothing else. The error is
// [ErrBinding] for a certificate that is not a CA, and [ErrNoTrustAnchors] without certificates.
func BindTrustAnchors(domain spiffeid.TrustDomain, found ...*x509.Certificate) (*TrustAnchors, error) {
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: none for %s", ErrNoTrustAnchors, domain)
	}
	for _, cert := range found {
		if !isCA(cert) {
			return nil, fmt.Errorf("%w: the certificate %.120q, given for %s, is not a CA", ErrBinding, cert.Subject.String(), domain)
		}
	}
	a := newTrustAnchors()
	a.add(bounds{trustDomains: []spiffeid.TrustDomain{domain}}, found...)
	return a, nil
}

func (b Binding) bounds() (bounds, error) {
	what := bounds{everything: len(b.TrustDomains)+len(b.Names) == 0, names: b.Names}
	for _, name := range b.TrustDomains {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil || domain.Name() != name {
			return bounds{}, fmt.Errorf("%w: %s: %q is not a trust domain, such as example.org", ErrBinding, b.File, name)
		}
		what.trustDomains = append(what.trustDomains, domain)
	}
	for _, name := range b.Names {
		if err := CheckHost(name); err != nil {
			return bounds{}, fmt.Errorf("%w: %s: the name %q %w", ErrBinding, b.File, name, err)
		}
	}
	return what, nil
}

// add adds a CA, before the TrustAnchors are shared.
func (a *TrustAnchors) add(what bounds, found ...*x509.Certificate) {
	for _, cert := range found {
		if !a.lists(cert) {
			a.listed[sha256.Sum256(cert.Raw)], a.all = true, append(a.all, cert)
		}
		known := a.boundsOf(cert)
		if known == nil {
			known = &bounds{}
			a.bound[sha256.Sum256(cert.RawSubjectPublicKeyInfo)] = known
		}
		known.everything = known.everything || what.everything
		known.trustDomains = append(known.trustDomains, what.trustDomains...)
		known.names = append(known.names, what.names...)
	}
}

// with returns the trust anchors of both. Either may be nil.
func (a *TrustAnchors) with(b *TrustAnchors) *TrustAnchors {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	both := newTrustAnchors()
	for _, from := range []*TrustAnchors{a, b} {
		for _, cert := range from.all {
			both.add(*from.boundsOf(cert), cert)
		}
	}
	return both
}

// Pool returns a new pool of the CAs.
func (a *TrustAnchors) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range a.all {
		pool.AddCert(cert)
	}
	return pool
}

// Certificates returns the CA certificates. The caller must not change the slice.
func (a *TrustAnchors) Certificates() []*x509.Certificate { return a.all }

// Issuers returns the SHA-256 of each CA's public key, in hexadecimal: the [Credential.IssuerSPKI] of the certificates
// that it issues.
func (a *TrustAnchors) Issuers() []string {
	issuers := make([]string, len(a.all))
	for i, cert := range a.all {
		issuers[i] = hexDigest(cert.RawSubjectPublicKeyInfo)
	}
	return issuers
}

// check rejects an identity that one of the CAs in the chain is not bound to. The CA at the end must be listed.
func (a *TrustAnchors) check(chain []*x509.Certificate, id Identity) error {
	for i, ca := range chain {
		end := i == len(chain)-1
		if i == 0 && !end { // the leaf
			continue
		}
		b := a.boundsOf(ca)
		if b == nil && end || b != nil && !b.may(id) {
			place := "in"
			if end {
				place = "at the end of"
			}
			return refuse(ReasonNotBound,
				"the CA %.120q %s the chain may not certify %.120q; have it issued by one that may, or list the name with the CA",
				ca.Subject.String(), place, id.Name)
		}
	}
	return nil
}

func (b *bounds) may(id Identity) bool {
	if b.everything {
		return true
	}
	kind, value, _ := strings.Cut(id.Name, ":")
	switch Rule(kind) {
	case RuleSPIFFE:
		of, err := spiffeid.FromString(id.Name)
		return err == nil && slices.Contains(b.trustDomains, of.TrustDomain())
	case RuleDNS:
		return b.covers(value)
	case RuleEmail:
		_, host, _ := strings.Cut(value, "@")
		return b.covers(host)
	case RuleSHA256, RuleSPKI:
		return true // no other certificate has this fingerprint
	}
	return false // a binding does not cover common names and URIs
}

// covers reports whether a host is one of the names or a subdomain of one.
func (b *bounds) covers(host string) bool {
	return slices.ContainsFunc(b.names, func(name string) bool {
		return host == name || strings.HasSuffix(host, "."+name)
	})
}
