package main

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// matrix holds the CAs and the servers of TestMatrix.
type matrix struct {
	dir                            string
	any, bound, stale, flat, other *minter
	revoked                        *big.Int // the serial number that the CA any has revoked
	server                         *echo    // rules dns and email
	withCN, withURI, accepting     *echo    // rule cn, rule uri, and one that accepts stale CRLs
}

func newMatrix(t testing.TB) *matrix {
	t.Helper()
	m := &matrix{
		dir: t.TempDir(), revoked: newSerial(), any: newRoot(t, "any"), bound: newRoot(t, "bound"),
		stale: newRoot(t, "stale"), other: newRoot(t, "other"),
		flat: newRoot(t, "flat", func(c *x509.Certificate) { c.MaxPathLenZero = true }),
	}
	path := func(name string) string { return filepath.Join(m.dir, name) }
	c := config.Default()
	c.Identity = []certs.Rule{certs.RuleDNS, certs.RuleEmail}
	c.TLS = config.TLS{
		ClientCA: m.any.write(t, path("any.crt")),
		ClientCAs: []certs.Binding{
			{File: m.bound.write(t, path("bound.crt")), TrustDomains: []string{"b.example"}, Names: []string{"b.example"}},
			{File: m.stale.write(t, path("stale.crt"))},
			{File: m.flat.write(t, path("flat.crt"))},
		},
		CRLs: []string{
			m.any.writeList(t, path("any.crl"), time.Now().Add(time.Hour), m.revoked),
			m.stale.writeList(t, path("stale.crl"), time.Now().Add(-time.Minute)),
		},
	}
	m.server = newEcho(t, c)
	named, accepting := c, c
	c.Identity = []certs.Rule{certs.RuleCN}
	m.withCN = newEcho(t, c)
	named.Identity = []certs.Rule{certs.RuleURI}
	m.withURI = newEcho(t, named)
	accepting.TLS.StaleCRLs = config.AcceptStale
	m.accepting = newEcho(t, accepting)
	return m
}

// Frequent verdicts.
const (
	alice         = "spiffe://a.example/alice"
	refusedBad    = "refused: bad certificate"
	refusedDate   = "refused: expired certificate"
	refusedIssuer = "refused: unknown certificate authority"
	refusedParse  = "refused: " + decodeAlert
)

func no(reason certs.Reason) string { return "401 " + string(reason) }

func (m *matrix) groups(t testing.TB) []specimens {
	return []specimens{
		{"Validity", m.validity()},
		{"Key usage", m.keyUsages()},
		{"Extended key usage", m.extKeyUsages()},
		{"CAs' certificates", m.authorities()},
		{"SPIFFE IDs", m.spiffeIDs()},
		{"SPIFFE IDs in another spelling", m.spellings()},
		{"DNS names and mail addresses", m.names()},
		{"Common names", m.commonNames()},
		{"Other names", m.otherNames()},
		{"Issuer", m.issuers(t)},
		{"Name constraints", m.constraints(t)},
		{"Bound CAs", m.bindings()},
		{"Revocation", m.revocation(t)},
		{"Keys", m.keys()},
		{"Size", m.sizes()},
		{"Form", m.forms()},
	}
}

func (m *matrix) validity() []specimen {
	return []specimen{
		{name: "valid for another hour", chain: m.any.leaf(), want: alice},
		{name: "ended an hour ago", chain: m.any.leaf(valid(-2*time.Hour, -time.Hour)), want: refusedDate},
		{name: "ends in this second", chain: m.any.leaf(valid(-time.Hour, -time.Second)), want: refusedDate},
		{name: "begins in an hour", chain: m.any.leaf(valid(time.Hour, 2*time.Hour)), want: refusedDate},
		{name: "ends before it begins", chain: m.any.leaf(valid(time.Hour, -time.Hour)), want: refusedDate},
		{name: "valid until the end of 9999", chain: m.any.leaf(func(c *x509.Certificate) {
			c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}), want: alice},
	}
}

func (m *matrix) keyUsages() []specimen {
	const sign = x509.KeyUsageDigitalSignature
	return []specimen{
		{name: "no key usage", chain: m.any.leaf(keyUsage(0)), want: no(certs.ReasonKeyUsage)},
		{name: "keyEncipherment alone", chain: m.any.leaf(keyUsage(x509.KeyUsageKeyEncipherment)), want: no(certs.ReasonKeyUsage)},
		{name: "digitalSignature and keyEncipherment", chain: m.any.leaf(keyUsage(sign | x509.KeyUsageKeyEncipherment)), want: alice},
		{name: "keyCertSign too", chain: m.any.leaf(keyUsage(sign | x509.KeyUsageCertSign)), want: no(certs.ReasonKeyUsage)},
		{name: "cRLSign too", chain: m.any.leaf(keyUsage(sign | x509.KeyUsageCRLSign)), want: no(certs.ReasonKeyUsage)},
		{name: "digitalSignature, not critical", chain: m.any.leaf(rawKeyUsage(0x80)), want: alice},
		{name: "keyCertSign too, not critical", chain: m.any.leaf(rawKeyUsage(0x84)), want: no(certs.ReasonKeyUsage)},
	}
}

// rawKeyUsage adds a key usage that is not critical, given by its bits.
func rawKeyUsage(bits byte) alteration {
	value := must(asn1.Marshal(asn1.BitString{Bytes: []byte{bits}, BitLength: 8}))
	return func(c *x509.Certificate) {
		c.KeyUsage = 0
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: value})
	}
}

func (m *matrix) extKeyUsages() []specimen {
	return []specimen{
		{name: "none", chain: m.any.leaf(extKeyUsage()), want: no(certs.ReasonNotForClients)},
		{name: "serverAuth alone: a server's certificate", chain: m.any.leaf(extKeyUsage(x509.ExtKeyUsageServerAuth)), want: refusedBad},
		{name: "any alone", chain: m.any.leaf(extKeyUsage(x509.ExtKeyUsageAny)), want: no(certs.ReasonNotForClients)},
		{name: "clientAuth and serverAuth", chain: m.any.leaf(extKeyUsage(x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)), want: alice},
		{name: "codeSigning alone", chain: m.any.leaf(extKeyUsage(x509.ExtKeyUsageCodeSigning)), want: refusedBad},
	}
}

func (m *matrix) authorities() []specimen {
	own := tls.Certificate{Certificate: [][]byte{m.any.cert.Raw}, PrivateKey: m.any.key}
	authority := func(c *x509.Certificate) { c.IsCA = true }
	return []specimen{
		{name: "CA:TRUE in a client's certificate", chain: m.any.leaf(authority), want: no(certs.ReasonCAAsLeaf)},
		{name: "CA:TRUE and keyCertSign", chain: m.any.leaf(authority, keyUsage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign)),
			want: no(certs.ReasonCAAsLeaf)},
		{name: "the CA's own certificate", chain: own, want: no(certs.ReasonCAAsLeaf)},
		{name: "no basic constraints", chain: m.any.leaf(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), want: alice},
	}
}

func (m *matrix) spiffeIDs() []specimen {
	const other = "spiffe://a.example/bob"
	long := "spiffe://a.example/" + strings.Repeat("x", 2048-len("spiffe://a.example/"))
	return []specimen{
		{name: "one SPIFFE ID", chain: m.any.leaf(), want: alice},
		{name: "two SPIFFE IDs", chain: m.any.leaf(uri(alice, other)), want: no(certs.ReasonSeveralSPIFFEIDs)},
		{name: "the same SPIFFE ID twice", chain: m.any.leaf(uri(alice, alice)), want: no(certs.ReasonSeveralSPIFFEIDs)},
		{name: "a SPIFFE ID and another URI", chain: m.any.leaf(uri(alice, "https://a.example/")), want: no(certs.ReasonMixedURIs)},
		{name: "another URI and a SPIFFE ID", chain: m.any.leaf(uri("urn:a:b", alice)), want: no(certs.ReasonMixedURIs)},
		{name: "a SPIFFE ID and a DNS name", chain: m.any.leaf(named(name{tagURI, alice}, name{tagDNS, "bob.a.example"})), want: alice},
		{name: "a SPIFFE ID and a common name", chain: m.any.leaf(func(c *x509.Certificate) { c.Subject.CommonName = "bob" }), on: m.withCN, want: alice},
		{name: "a whole trust domain", chain: m.any.leaf(uri("spiffe://a.example")), want: no(certs.ReasonNoPath)},
		{name: "2,048 bytes", chain: m.any.leaf(uri(long)), want: long},
		{name: "2,049 bytes", chain: m.any.leaf(uri(long + "x")), want: no(certs.ReasonNotCanonical)},
		{name: "case in the path counts", chain: m.any.leaf(uri("spiffe://a.example/Alice")), want: "spiffe://a.example/Alice"},
	}
}

func (m *matrix) spellings() []specimen {
	var all []specimen
	for _, s := range []struct{ name, text string }{
		{"upper case in the trust domain", "spiffe://A.example/alice"},
		{"upper case in the scheme", "SPIFFE://a.example/alice"},
		{"a port", "spiffe://a.example:443/alice"},
		{"an empty port", "spiffe://a.example:/alice"},
		{"a user", "spiffe://bob@a.example/alice"},
		{"a query", "spiffe://a.example/alice?x=1"},
		{"an empty query", "spiffe://a.example/alice?"},
		{"a fragment", "spiffe://a.example/alice#x"},
		{"an empty fragment", "spiffe://a.example/alice#"},
		{"a slash at the end", "spiffe://a.example/alice/"},
		{"a slash as the path", "spiffe://a.example/"},
		{"two slashes", "spiffe://a.example//alice"},
		{"a dot segment", "spiffe://a.example/./alice"},
		{"two dots", "spiffe://a.example/bob/../alice"},
		{"percent-encoding", "spiffe://a.example/%61lice"},
		{"an encoded slash", "spiffe://a.example/bob%2Falice"},
		{"no trust domain", "spiffe:///alice"},
		{"no slashes", "spiffe:alice"},
		{"a wildcard", "spiffe://a.example/*"},
		{"braces", "spiffe://a.example/{id}"},
	} {
		all = append(all, specimen{name: s.name + ": `" + s.text + "`", chain: m.any.leaf(uri(s.text)), want: no(certs.ReasonNotCanonical)})
	}
	return append(all,
		specimen{name: "a space in the path", chain: m.any.leaf(uri("spiffe://a.example/al ice")), want: no(certs.ReasonNotCanonical)},
		specimen{name: "a NUL in the path", chain: m.any.leaf(uri("spiffe://a.example/alice\x00")), want: refusedParse},
		specimen{name: "a letter outside of ASCII", chain: m.any.leaf(uri("spiffe://a.example/älice")), want: refusedParse},
	)
}

func (m *matrix) names() []specimen {
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("host%d.a.example", i))
	}
	both := named(name{tagDNS, "alice.a.example"}, name{tagMail, "bob@a.example"})
	return []specimen{
		{name: "one DNS name", chain: m.any.leaf(host("alice.a.example")), want: "dns:alice.a.example"},
		{name: "two DNS names", chain: m.any.leaf(host("alice.a.example", "bob.a.example")), want: no(certs.ReasonAmbiguous)},
		{name: "200 DNS names", chain: m.any.leaf(host(many...)), want: no(certs.ReasonAmbiguous)},
		{name: "a DNS name and a mail address, in the order of the rules", chain: m.any.leaf(both), want: "dns:alice.a.example"},
		{name: "a wildcard", chain: m.any.leaf(host("*.a.example")), want: no(certs.ReasonMalformedName)},
		{name: "a NUL", chain: m.any.leaf(host("alice.a.example\x00.b.example")), want: no(certs.ReasonMalformedName)},
		{name: "upper case", chain: m.any.leaf(host("Alice.a.example")), want: no(certs.ReasonMalformedName)},
		{name: "a letter outside of ASCII", chain: m.any.leaf(host("älice.a.example")), want: refusedParse},
		{name: "punycode", chain: m.any.leaf(host("xn--lice-loa.a.example")), want: "dns:xn--lice-loa.a.example"},
		{name: "a dot at the end", chain: m.any.leaf(host("alice.a.example.")), want: no(certs.ReasonMalformedName)},
		{name: "an empty DNS name", chain: m.any.leaf(host("")), want: no(certs.ReasonMalformedName)},
		{name: "one mail address", chain: m.any.leaf(mail("alice@a.example")), want: "email:alice@a.example"},
		{name: "two mail addresses", chain: m.any.leaf(mail("alice@a.example", "bob@a.example")), want: no(certs.ReasonAmbiguous)},
		{name: "a mail address without a host", chain: m.any.leaf(mail("alice")), want: no(certs.ReasonMalformedName)},
		{name: "a mail address with upper case in its host", chain: m.any.leaf(mail("alice@A.example")), want: no(certs.ReasonMalformedName)},
	}
}

func (m *matrix) commonNames() []specimen {
	twice := func(c *x509.Certificate) {
		commonName("")(c)
		for _, text := range []string{"alice", "bob"} {
			c.Subject.ExtraNames = append(c.Subject.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: text})
		}
	}
	return []specimen{
		{name: "a common name alone, without the rule `cn`", chain: m.any.leaf(commonName("alice")), want: no(certs.ReasonNoIdentity)},
		{name: "a common name alone, with the rule `cn`", chain: m.any.leaf(commonName("alice")), on: m.withCN, want: "cn:alice"},
		{name: "two common names, with the rule `cn`", chain: m.any.leaf(twice), on: m.withCN, want: no(certs.ReasonAmbiguous)},
		{name: "a common name that looks like a SPIFFE ID, with the rule `cn`", chain: m.any.leaf(commonName(alice)), on: m.withCN,
			want: "cn:" + alice},
		{name: "a common name outside of ASCII, with the rule `cn`", chain: m.any.leaf(commonName("älice")), on: m.withCN,
			want: no(certs.ReasonMalformedName)},
	}
}

func (m *matrix) otherNames() []specimen {
	return []specimen{
		{name: "no subject alternative names", chain: m.any.leaf(nameless), want: no(certs.ReasonNoIdentity)},
		{name: "no subject either", chain: m.any.leaf(nameless, func(c *x509.Certificate) { c.Subject = pkix.Name{} }), want: no(certs.ReasonNoIdentity)},
		{name: "an empty list of names", chain: m.any.leaf(named()), want: no(certs.ReasonNoIdentity)},
		{name: "an IP address alone", chain: m.any.leaf(namedAll(tagIP, "\x7f\x00\x00\x01")), want: no(certs.ReasonNoIdentity)},
		{name: "an IP address of five bytes", chain: m.any.leaf(namedAll(tagIP, "\x7f\x00\x00\x01\x01")), want: refusedParse},
		{name: "a URI, without the rule `uri`", chain: m.any.leaf(uri("urn:example:alice")), want: no(certs.ReasonNoIdentity)},
		{name: "a URI, with the rule `uri`", chain: m.any.leaf(uri("urn:example:alice")), on: m.withURI, want: "uri:urn:example:alice"},
		{name: "two URIs, with the rule `uri`", chain: m.any.leaf(uri("urn:example:alice", "urn:example:bob")), on: m.withURI,
			want: no(certs.ReasonAmbiguous)},
	}
}

func (m *matrix) issuers(t testing.TB) []specimen {
	self := newRoot(t, "self", func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature
		extKeyUsage(x509.ExtKeyUsageClientAuth)(c)
		uri(alice)(c)
	})
	impostor := newRoot(t, "any")
	between, second := m.any.under(t, "between"), m.flat.under(t, "too deep")
	third := between.under(t, "third")
	noCA := m.any.under(t, "no CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	expired := m.any.under(t, "expired", valid(-2*time.Hour, -time.Hour))
	forServers := m.any.under(t, "for servers", extKeyUsage(x509.ExtKeyUsageServerAuth))
	stranger := m.other.under(t, "stranger")
	return []specimen{
		{name: "another CA", chain: m.other.leaf(), want: refusedIssuer},
		{name: "another CA, sent along", chain: with(m.other.leaf(), m.other), want: refusedIssuer},
		{name: "another CA of the same name", chain: impostor.leaf(), want: refusedIssuer},
		{name: "self-signed", chain: tls.Certificate{Certificate: [][]byte{self.cert.Raw}, PrivateKey: self.key}, want: refusedIssuer},
		{name: "an intermediate CA, sent along", chain: with(between.leaf(), between), want: alice},
		{name: "an intermediate CA, not sent", chain: between.leaf(), want: refusedIssuer},
		{name: "an intermediate CA of an unknown one", chain: with(stranger.leaf(), stranger), want: refusedIssuer},
		{name: "two intermediate CAs, sent along", chain: with(third.leaf(), third, between), want: alice},
		{name: "two intermediate CAs, in the wrong order", chain: with(third.leaf(), between, third), want: alice},
		{name: "an intermediate CA where the path length is 0", chain: with(second.leaf(), second), want: refusedBad},
		{name: "an intermediate certificate that is not a CA's", chain: with(noCA.leaf(), noCA), want: refusedIssuer},
		{name: "an intermediate CA that has expired", chain: with(expired.leaf(), expired), want: refusedDate},
		{name: "an intermediate CA for servers only", chain: with(forServers.leaf(), forServers), want: refusedBad},
		{name: "the CA, with another CA's certificate sent along", chain: with(m.any.leaf(), m.other), want: alice},
	}
}

func (m *matrix) constraints(t testing.TB) []specimen {
	permits := m.any.under(t, "permits a.example", func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"a.example"}, true
	})
	excludes := m.any.under(t, "excludes b.example", func(c *x509.Certificate) {
		c.ExcludedDNSDomains, c.PermittedDNSDomainsCritical = []string{"b.example"}, true
	})
	uris := m.any.under(t, "permits URIs of a.example", func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"a.example"}, true
	})
	return []specimen{
		{name: "a DNS name that is permitted", chain: with(permits.leaf(host("alice.a.example")), permits), want: "dns:alice.a.example"},
		{name: "a DNS name that is not permitted", chain: with(permits.leaf(host("alice.b.example")), permits), want: refusedBad},
		{name: "a SPIFFE ID where only DNS names are constrained", chain: with(permits.leaf(), permits), want: alice},
		{name: "a DNS name that is excluded", chain: with(excludes.leaf(host("alice.b.example")), excludes), want: refusedBad},
		{name: "a DNS name that is not excluded", chain: with(excludes.leaf(host("alice.a.example")), excludes), want: "dns:alice.a.example"},
		{name: "a SPIFFE ID that is permitted", chain: with(uris.leaf(), uris), want: alice},
		{name: "a SPIFFE ID that is not permitted", chain: with(uris.leaf(uri("spiffe://b.example/alice")), uris), want: refusedBad},
	}
}

func (m *matrix) bindings() []specimen {
	return []specimen{
		{name: "a SPIFFE ID of the CA's trust domain", chain: m.bound.leaf(uri("spiffe://b.example/alice")), want: "spiffe://b.example/alice"},
		{name: "a SPIFFE ID of another trust domain", chain: m.bound.leaf(), want: no(certs.ReasonNotBound)},
		{name: "a SPIFFE ID of a trust domain below", chain: m.bound.leaf(uri("spiffe://x.b.example/alice")), want: no(certs.ReasonNotBound)},
		{name: "a DNS name of the CA's", chain: m.bound.leaf(host("alice.b.example")), want: "dns:alice.b.example"},
		{name: "a DNS name of another's", chain: m.bound.leaf(host("alice.a.example")), want: no(certs.ReasonNotBound)},
		{name: "a DNS name that only ends alike", chain: m.bound.leaf(host("notb.example")), want: no(certs.ReasonNotBound)},
		{name: "a common name, with the rule `cn`", chain: m.bound.leaf(commonName("alice")), on: m.withCN, want: no(certs.ReasonNotBound)},
	}
}

func (m *matrix) revocation(t testing.TB) []specimen {
	between := m.any.under(t, "revoked", serial(m.revoked))
	return []specimen{
		{name: "revoked by the CA's CRL", chain: m.any.leaf(serial(m.revoked)), want: "401 credential-revoked"},
		{name: "its intermediate CA is revoked by the CA's CRL", chain: with(between.leaf(), between), want: "401 credential-revoked"},
		{name: "the same serial number from another CA", chain: m.flat.leaf(serial(m.revoked)), want: alice},
		{name: "the CA's CRL is stale", chain: m.stale.leaf(), want: "401 credential-revoked"},
		{name: "the CA's CRL is stale, and `stale-crls` is `accept`", chain: m.stale.leaf(), on: m.accepting, want: alice},
	}
}

func (m *matrix) keys() []specimen {
	leafWith := func(bits int) tls.Certificate { return m.any.leafOf(must(rsa.GenerateKey(rand.Reader, bits))) }
	on := func(curve elliptic.Curve) tls.Certificate {
		return m.any.leafOf(must(ecdsa.GenerateKey(curve, rand.Reader)))
	}
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8200, 1), E: 65537}
	return []specimen{
		{name: "ECDSA P-256", chain: on(elliptic.P256()), want: alice},
		{name: "ECDSA P-384", chain: on(elliptic.P384()), want: alice},
		{name: "ECDSA P-521", chain: on(elliptic.P521()), want: alice},
		{name: "ECDSA P-224", chain: withKey(on(elliptic.P224()), clientKey()), want: "refused: illegal parameter"},
		{name: "Ed25519", chain: m.any.leafOf(edwards), want: alice},
		{name: "RSA 1024", chain: leafWith(1024), want: alice},
		{name: "RSA 2048", chain: leafWith(2048), want: alice},
		{name: "RSA 4096", chain: leafWith(4096), want: alice},
		{name: "RSA 8201", chain: m.any.leafFor(huge), want: refusedBad},
		{name: "X25519, which cannot sign", chain: m.any.leafFor(must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey()),
			want: "refused: unsupported certificate"},
	}
}

func (m *matrix) sizes() []specimen {
	leaf := m.any.leaf()
	chain := func(size int) tls.Certificate {
		padding := m.any.leaf(extension(false, size/10))
		all := leaf
		for range 10 {
			all.Certificate = append(all.Certificate[:len(all.Certificate):len(all.Certificate)], padding.Certificate...)
		}
		return all
	}
	return []specimen{
		{name: "a certificate of 40 KB", chain: m.any.leaf(extension(false, 40_000)), want: alice},
		{name: "a certificate of 60 KB", chain: m.any.leaf(extension(false, 60_000)), want: alice},
		{name: "a certificate of 80 KB", chain: m.any.leaf(extension(false, 80_000)), want: refusedBad},
		{name: "a chain of 200 KB", chain: chain(200_000), want: refusedBad},
		{name: "a chain of 300 KB", chain: chain(300_000), want: "refused: internal error"},
	}
}

func (m *matrix) forms() []specimen {
	shaped := func(alter func(*body)) tls.Certificate { return m.any.resigned(m.any.leaf(), alter) }
	long := new(big.Int).Lsh(big.NewInt(1), 200)
	return []specimen{
		{name: "an unknown extension that is critical", chain: m.any.leaf(extension(true, 4)), want: refusedBad},
		{name: "an unknown extension that is not", chain: m.any.leaf(extension(false, 4)), want: alice},
		{name: "an extension twice", chain: shaped(func(b *body) { b.Extensions = append(b.Extensions, b.Extensions[0]) }), want: refusedParse},
		{name: "version 1, which has no extensions", chain: shaped(func(b *body) { b.Version, b.Extensions = 0, nil }), want: no(certs.ReasonKeyUsage)},
		{name: "version 1, with extensions", chain: shaped(func(b *body) { b.Version = 0 }), want: no(certs.ReasonKeyUsage)},
		{name: "serial number 0", chain: shaped(func(b *body) { b.Serial = big.NewInt(0) }), want: alice},
		{name: "a negative serial number", chain: shaped(func(b *body) { b.Serial = big.NewInt(-7) }), want: refusedParse},
		{name: "a serial number of 26 bytes, of a CA with a CRL", chain: shaped(func(b *body) { b.Serial = long }),
			want: "401 credential-revoked"},
		{name: "a serial number of 26 bytes, of a CA without", chain: m.flat.resigned(m.flat.leaf(), func(b *body) { b.Serial = long }),
			want: alice},
		{name: "signed with SHA-1", chain: m.any.leaf(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), want: refusedIssuer},
		{name: "a signature that is not the CA's", chain: tampered(m.any.leaf()), want: refusedIssuer},
	}
}

// tampered is a certificate whose last byte, a part of the signature, is inverted.
func tampered(leaf tls.Certificate) tls.Certificate {
	der := leaf.Certificate[0]
	der[len(der)-1] ^= 1
	return leaf
}
