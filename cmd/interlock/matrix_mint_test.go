package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clientKey returns the key of every leaf for which the kind of key does not matter.
var clientKey = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// minter signs certificates that devca does not issue.
type minter struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// alteration changes the template of a good certificate.
type alteration func(*x509.Certificate)

// newRoot makes a self-signed CA.
func newRoot(t testing.TB, name string, alter ...alteration) *minter {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := authorityTemplate(name, alter)
	return &minter{parseDER(t, must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))), key}
}

func authorityTemplate(name string, alter []alteration) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, f := range alter {
		f(template)
	}
	return template
}

// under makes an intermediate CA.
func (m *minter) under(t testing.TB, name string, alter ...alteration) *minter {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, authorityTemplate(name, alter), m.cert, key.Public(), m.key))
	return &minter{parseDER(t, der), key}
}

// leaf makes a client certificate for alice, unless an alteration gives it another name.
func (m *minter) leaf(alter ...alteration) tls.Certificate { return m.leafOf(clientKey(), alter...) }

func (m *minter) leafOf(key crypto.Signer, alter ...alteration) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: newSerial(), Subject: pkix.Name{Organization: []string{"interlock matrix"}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	uri("spiffe://a.example/alice")(template)
	for _, f := range alter {
		f(template)
	}
	der := must(x509.CreateCertificate(rand.Reader, template, m.cert, key.Public(), m.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func newSerial() *big.Int { return must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))) }

func parseDER(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

// with appends certificates to the leaf, as a client sends them.
func with(leaf tls.Certificate, above ...*minter) tls.Certificate {
	for _, m := range above {
		leaf.Certificate = append(leaf.Certificate, m.cert.Raw)
	}
	return leaf
}

// Kinds of subject alternative names (RFC 5280, section 4.2.1.6).
const (
	tagMail = 1
	tagDNS  = 2
	tagURI  = 6
	tagIP   = 7
)

// name is a subject alternative name, byte by byte.
type name struct {
	tag  int
	text string
}

var oidNames = asn1.ObjectIdentifier{2, 5, 29, 17}

// named gives the leaf exactly these names.
func named(names ...name) alteration {
	all := []asn1.RawValue{}
	for _, n := range names {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n.tag, Bytes: []byte(n.text)})
	}
	value := must(asn1.Marshal(all))
	return func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: oidNames, Value: value}}
	}
}

func namedAll(tag int, texts ...string) alteration {
	var names []name
	for _, text := range texts {
		names = append(names, name{tag, text})
	}
	return named(names...)
}

func uri(texts ...string) alteration  { return namedAll(tagURI, texts...) }
func host(texts ...string) alteration { return namedAll(tagDNS, texts...) }
func mail(texts ...string) alteration { return namedAll(tagMail, texts...) }

func nameless(c *x509.Certificate) { c.ExtraExtensions = nil }

func commonName(text string) alteration {
	return func(c *x509.Certificate) {
		nameless(c)
		c.Subject = pkix.Name{CommonName: text}
	}
}

func valid(from, to time.Duration) alteration {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Now().Add(from), time.Now().Add(to) }
}

func keyUsage(usage x509.KeyUsage) alteration {
	return func(c *x509.Certificate) { c.KeyUsage = usage }
}

func extKeyUsage(usages ...x509.ExtKeyUsage) alteration {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func serial(n *big.Int) alteration { return func(c *x509.Certificate) { c.SerialNumber = n } }

// extension adds an unknown extension of a number of bytes.
func extension(critical bool, size int) alteration {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1}, Critical: critical, Value: bytes.Repeat([]byte{7}, size),
		})
	}
}

// body is a TBSCertificate (RFC 5280, section 4.1). Tests change what crypto/x509 does not
// create.
type body struct {
	Version                                                int `asn1:"optional,explicit,default:0,tag:0"`
	Serial                                                 *big.Int
	Algorithm, Issuer, Validity, Subject, SubjectPublicKey asn1.RawValue
	Extensions                                             []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

// resigned returns the leaf with a changed body and a new signature.
func (m *minter) resigned(leaf tls.Certificate, alter func(*body)) tls.Certificate {
	var whole struct {
		Body      asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	var b body
	must(asn1.Unmarshal(leaf.Certificate[0], &whole))
	must(asn1.Unmarshal(whole.Body.FullBytes, &b))
	alter(&b)
	whole.Body = asn1.RawValue{FullBytes: must(asn1.Marshal(b))}
	digest := sha256.Sum256(whole.Body.FullBytes)
	signature := must(m.key.Sign(rand.Reader, digest[:], crypto.SHA256))
	whole.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	leaf.Certificate = [][]byte{must(asn1.Marshal(whole))}
	return leaf
}

// withKey makes the client sign with another key than that of the certificate, for
// certificates whose own key cannot sign.
func withKey(cert tls.Certificate, key crypto.Signer) tls.Certificate {
	cert.PrivateKey = key
	return cert
}

// leafFor makes a certificate for a public key without its private key.
func (m *minter) leafFor(public crypto.PublicKey) tls.Certificate {
	return m.resigned(m.leaf(), func(b *body) {
		b.SubjectPublicKey = asn1.RawValue{FullBytes: must(x509.MarshalPKIXPublicKey(public))}
	})
}

func chainPEM(chain tls.Certificate) []byte {
	var text []byte
	for _, der := range chain.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

func (m *minter) write(t testing.TB, path string) string {
	t.Helper()
	require.NoError(t, os.WriteFile(path, chainPEM(tls.Certificate{Certificate: [][]byte{m.cert.Raw}}), 0o600))
	return path
}

// writeList writes a CRL of the CA.
func (m *minter) writeList(t testing.TB, path string, next time.Time, serials ...*big.Int) string {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: next}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: n, RevocationTime: template.ThisUpdate})
	}
	der := must(x509.CreateRevocationList(rand.Reader, template, m.cert, m.key))
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600))
	return path
}

func (m *minter) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(m.cert)
	return pool
}
