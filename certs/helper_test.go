package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// testKey is one key for all certificates that mint makes, since making keys is what takes time.
var testKey = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
})

// issuer is the certificate above every leaf that mint makes.
var issuer = sync.OnceValue(func() *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, testKey().Public(), testKey())
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
})

// change alters the template of a good client leaf.
type change func(*x509.Certificate)

// tryMint makes the chain of a client leaf with the changes. The error is that of crypto/x509, which makes or parses
// less than everything.
func tryMint(changes ...change) ([]*x509.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, alter := range changes {
		alter(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer(), testKey().Public(), testKey())
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return []*x509.Certificate{leaf, issuer()}, nil
}

func mint(t testing.TB, changes ...change) []*x509.Certificate {
	t.Helper()
	chain, err := tryMint(changes...)
	require.NoError(t, err)
	return chain
}

// uris sets the URIs byte by byte, as no url.URL could.
func uris(texts ...string) change { return names(6, texts...) }

// names sets subject alternative names of one kind, by its tag in a GeneralName, byte by byte.
func names(tag int, texts ...string) change {
	return func(template *x509.Certificate) {
		var all []asn1.RawValue
		for _, text := range texts {
			all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(text)})
		}
		value, err := asn1.Marshal(all)
		if err != nil {
			panic(err)
		}
		extension := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
		template.ExtraExtensions = append(template.ExtraExtensions, extension)
	}
}

func dns(texts ...string) change { return func(c *x509.Certificate) { c.DNSNames = texts } }

func emails(texts ...string) change { return func(c *x509.Certificate) { c.EmailAddresses = texts } }

// commonNames sets the common names, also several.
func commonNames(texts ...string) change {
	return func(c *x509.Certificate) {
		for _, text := range texts {
			name := pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: text}
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, name)
		}
	}
}

func usage(usage x509.KeyUsage) change { return func(c *x509.Certificate) { c.KeyUsage = usage } }

func extUsage(usages ...x509.ExtKeyUsage) change {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func identifier(t testing.TB, rules ...certs.Rule) *certs.Identifier {
	t.Helper()
	id, err := certs.NewIdentifier(rules...)
	require.NoError(t, err)
	return id
}

func newAuthority(t testing.TB) (*devca.CA, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "CA")
	authority, err := devca.Init(dir, devca.Options{})
	require.NoError(t, err)
	return authority, dir
}

func issueClient(t testing.TB, authority *devca.CA, leaf devca.ClientOptions) devca.KeyPair {
	t.Helper()
	pair, err := authority.IssueClient(leaf)
	require.NoError(t, err)
	return pair
}

// parseLeaf gives the one certificate of the pair.
func parseLeaf(t testing.TB, pair devca.KeyPair) *x509.Certificate {
	t.Helper()
	parsed, err := certs.ParseCertificates("leaf", pair.CertPEM)
	require.NoError(t, err)
	require.Len(t, parsed, 1)
	return parsed[0]
}

func writeFile(t testing.TB, path string, data []byte, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, data, mode))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func at(moment time.Time) func() time.Time { return func() time.Time { return moment } }
