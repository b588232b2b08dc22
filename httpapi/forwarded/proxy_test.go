package forwarded_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

var formats = []forwarded.Format{
	forwarded.RFC9440, forwarded.HAProxy, forwarded.Caddy, forwarded.Nginx, forwarded.Envoy, forwarded.Traefik,
}

// Names of headers in canonical form.
const (
	clientCert  = "Client-Cert"
	clientChain = "Client-Cert-Chain"
	escapedCert = "X-Ssl-Client-Escaped-Cert"
	xfcc        = "X-Forwarded-Client-Cert"
	traefikCert = "X-Forwarded-Tls-Client-Cert"
)

var headers = map[forwarded.Format]string{
	forwarded.RFC9440: clientCert, forwarded.HAProxy: clientCert, forwarded.Caddy: clientCert,
	forwarded.Nginx: escapedCert, forwarded.Envoy: xfcc, forwarded.Traefik: traefikCert,
}

const (
	haproxyNone = "::"
	caddyNone   = ":{http.request.tls.client.certificate_der_base64}:"
)

// mint returns a self-signed certificate with that name. The package verifies nothing.
func mint(name string) *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert
}

// A client's certificate, its intermediate certificates, and the certificate of another client.
var (
	leaf   = sync.OnceValue(func() *x509.Certificate { return mint("leaf") })
	middle = sync.OnceValue(func() *x509.Certificate { return mint("middle") })
	upper  = sync.OnceValue(func() *x509.Certificate { return mint("upper") })
	other  = sync.OnceValue(func() *x509.Certificate { return mint("other") })
)

func base64Of(cert *x509.Certificate) string { return base64.StdEncoding.EncodeToString(cert.Raw) }

func sequence(cert *x509.Certificate) string { return ":" + base64Of(cert) + ":" }

func pemOf(certs ...*x509.Certificate) string {
	var text strings.Builder
	for _, cert := range certs {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return text.String()
}

// escape encodes like nginx and Envoy.
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

func hashOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// pairs returns the pairs that Envoy writes for cert, in Envoy's order.
func pairs(cert *x509.Certificate) string {
	return "By=spiffe://example.org/ingress;Hash=" + hashOf(cert) + `;Cert="` + escape(pemOf(cert)) + `"`
}

// send writes the chain like a proxy of the format. It shares no code with the reader.
func send(f forwarded.Format, chain ...*x509.Certificate) http.Header {
	h := http.Header{}
	switch f {
	case forwarded.Nginx:
		h.Set(escapedCert, escape(pemOf(chain...)))
	case forwarded.Envoy:
		h.Set(xfcc, pairs(chain[0])+`;Chain="`+escape(pemOf(chain...))+`";Subject="CN=a\"b\\";URI=spiffe://example.org/a;DNS=`)
	case forwarded.Traefik:
		var list []string
		for _, cert := range chain {
			list = append(list, base64Of(cert))
		}
		h.Set(traefikCert, strings.Join(list, ","))
	default:
		h.Set(clientCert, sequence(chain[0]))
		for _, cert := range chain[1:] {
			h.Add(clientChain, sequence(cert))
		}
	}
	return h
}

func newReader(t testing.TB, f forwarded.Format, header string) *forwarded.Reader {
	t.Helper()
	r, err := forwarded.NewReader(f, header)
	require.NoError(t, err)
	return r
}

func raw(chain []*x509.Certificate) [][]byte {
	var ders [][]byte
	for _, cert := range chain {
		ders = append(ders, cert.Raw)
	}
	return ders
}

func requireChain(t testing.TB, r *forwarded.Reader, h http.Header, want ...*x509.Certificate) {
	t.Helper()
	got, err := r.Chain(h)
	require.NoError(t, err)
	require.Equal(t, raw(want), raw(got))
}

// requireRefused checks that the error names the format and the header, and that no certificate
// is returned.
func requireRefused(t testing.TB, f forwarded.Format, h http.Header, header string) *forwarded.Error {
	t.Helper()
	got, err := newReader(t, f, "").Chain(h)
	require.Nil(t, got)
	require.ErrorIs(t, err, forwarded.ErrMalformed)
	var refused *forwarded.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, f, refused.Format)
	require.Equal(t, header, refused.Header)
	require.NotEmpty(t, refused.Detail)
	return refused
}

// mintPadded returns a certificate whose base64 has padding.
func mintPadded() *x509.Certificate {
	for name := "padded"; ; name += "d" {
		if cert := mint(name); len(cert.Raw)%3 != 0 {
			return cert
		}
	}
}

// nextSign returns the base64 character after the last one of text. It sets one unused bit.
func nextSign(text string) string {
	const signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return signs[strings.IndexByte(signs, text[len(text)-1])+1:][:1]
}
