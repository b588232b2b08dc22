package workload_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/stretchr/testify/require"
)

// domain is a trust domain with one CA.
type domain struct {
	t    testing.TB
	name spiffeid.TrustDomain
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newDomain(t testing.TB, name string) *domain {
	d := &domain{t: t, name: spiffeid.RequireTrustDomainFromString(name), key: newKey(t)}
	d.cert = d.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of " + name}, URIs: []*url.URL{d.name.ID().URL()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, &d.key.PublicKey)
	return d
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func (d *domain) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, d.key)
	require.NoError(d.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(d.t, err)
	return cert
}

// dates sets when an SVID begins and ends, from now.
type dates struct{ begins, ends time.Duration }

var good = dates{-time.Hour, time.Hour}

// issue makes an SVID, of whatever ID: a CA signs what it likes.
func (d *domain) issue(id string, when dates) *x509svid.SVID {
	name, err := spiffeid.FromString(id)
	require.NoError(d.t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(d.t, err)
	key := newKey(d.t)
	leaf := d.sign(&x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{name.URL()}, NotBefore: time.Now().Add(when.begins), NotAfter: time.Now().Add(when.ends),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, d.cert, &key.PublicKey)
	return &x509svid.SVID{ID: name, Certificates: []*x509.Certificate{leaf}, PrivateKey: key}
}

// give makes an SVID of the domain, as the Workload API gives it.
func (d *domain) give(path string, when dates) *workload.X509SVID {
	svid := d.issue(d.name.IDString()+path, when)
	chain, key, err := svid.MarshalRaw()
	require.NoError(d.t, err)
	return &workload.X509SVID{SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: d.cert.Raw}
}

// answer has one SVID of the domain, and the bundles of others.
func (d *domain) answer(federated ...*domain) *workload.X509SVIDResponse {
	a := &workload.X509SVIDResponse{Svids: []*workload.X509SVID{d.give("/server", good)}, FederatedBundles: map[string][]byte{}}
	for _, other := range federated {
		a.FederatedBundles[other.name.IDString()] = other.cert.Raw
	}
	return a
}

func (d *domain) bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(d.name, []*x509.Certificate{d.cert})
}
