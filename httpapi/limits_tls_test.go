package httpapi_test

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// tapped keeps the first bytes that are read.
type tapped struct {
	net.Conn
	first []byte
}

func (c *tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if len(c.first) < 64 {
		c.first = append(c.first, p[:n]...)
	}
	return n, err
}

// forger writes records of TLS that crypto/tls would not: it takes over the client's side
// of a connection after the handshake. Reading stays with crypto/tls.
type forger struct {
	*tls.Conn
	t        testing.TB
	secret   []byte // of TLS 1.3
	aead     cipher.AEAD
	iv       []byte
	sequence uint64
}

const (
	recordHandshake = 22
	recordData      = 23
)

// forge connects with a version of TLS.
func (s *station) forge(version uint16, cert tls.Certificate) *forger {
	s.T.Helper()
	conn, err := net.Dial("tcp", s.address())
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.Close() })
	tap, secrets := &tapped{Conn: conn}, &bytes.Buffer{}
	f := &forger{t: s.T, Conn: tls.Client(tap, &tls.Config{
		ServerName: "127.0.0.1", RootCAs: s.Authority.Pool(), Certificates: []tls.Certificate{cert}, KeyLogWriter: secrets,
		MinVersion: version, MaxVersion: version, NextProtos: []string{"http/1.1"},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})}
	require.NoError(s.T, f.Handshake())
	random, logged := tap.first[11:43], secretsOf(s.T, secrets.String())
	switch f.ConnectionState().CipherSuite {
	case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:
		keys := expand12(logged["CLIENT_RANDOM"], "key expansion", append(bytes.Clone(random), logged["random"]...), 40)
		f.use(keys[:16], keys[32:36])
		f.sequence = 1 // after Finished
	case tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256:
		f.follow(logged["CLIENT_TRAFFIC_SECRET_0"])
	default:
		require.Fail(s.T, "a cipher suite that is not expected", tls.CipherSuiteName(f.ConnectionState().CipherSuite))
	}
	return f
}

// secretsOf reads a log of keys, and the client's random number from it.
func secretsOf(t testing.TB, log string) map[string][]byte {
	t.Helper()
	secrets := map[string][]byte{}
	for line := range strings.Lines(log) {
		fields := strings.Fields(line)
		require.Len(t, fields, 3)
		for name, text := range map[string]string{"random": fields[1], fields[0]: fields[2]} {
			value, err := hex.DecodeString(text)
			require.NoError(t, err)
			secrets[name] = value
		}
	}
	return secrets
}

// expand12 is the pseudorandom function of TLS 1.2 (RFC 5246, section 5).
func expand12(secret []byte, label string, seed []byte, size int) (out []byte) {
	seed = append([]byte(label), seed...)
	digest := func(data []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write(data)
		return mac.Sum(nil)
	}
	for a := digest(seed); len(out) < size; a = digest(a) {
		out = append(out, digest(append(bytes.Clone(a), seed...))...)
	}
	return out[:size]
}

// expand13 is HKDF-Expand-Label (RFC 8446, section 7.1), without a context.
func (f *forger) expand13(label string, size int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(size), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, f.secret, string(append(info, 0)), size)
	require.NoError(f.t, err)
	return out
}

func (f *forger) use(key, iv []byte) {
	var err error
	if f.ConnectionState().CipherSuite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		f.aead, err = chacha20poly1305.New(key)
	} else {
		var block cipher.Block
		block, err = aes.NewCipher(key)
		require.NoError(f.t, err)
		f.aead, err = cipher.NewGCM(block)
	}
	require.NoError(f.t, err)
	f.iv, f.sequence = iv, 0
}

// follow uses the keys of a secret of TLS 1.3. A machine without AES takes the other suite.
func (f *forger) follow(secret []byte) {
	size := 16
	if f.ConnectionState().CipherSuite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		size = chacha20poly1305.KeySize
	}
	f.secret = secret
	f.use(f.expand13("key", size), f.expand13("iv", 12))
}

// write sends one record.
func (f *forger) write(kind byte, content []byte) error {
	count := binary.BigEndian.AppendUint64(nil, f.sequence)
	f.sequence++
	var head, body []byte
	if f.secret == nil {
		head = []byte{kind, 3, 3, 0, 0}
		checked := append(append(bytes.Clone(count), head[:3]...), byte(len(content)>>8), byte(len(content)))
		body = f.aead.Seal(count, append(bytes.Clone(f.iv), count...), content, checked)
		binary.BigEndian.PutUint16(head[3:], uint16(len(body)))
	} else {
		head = []byte{recordData, 3, 3, 0, 0}
		content = append(bytes.Clone(content), kind)
		binary.BigEndian.PutUint16(head[3:], uint16(len(content)+f.aead.Overhead()))
		nonce := bytes.Clone(f.iv)
		for i, b := range count {
			nonce[4+i] ^= b
		}
		body = f.aead.Seal(nil, nonce, content, head)
	}
	_, err := f.NetConn().Write(append(head, body...))
	return err
}

// updateKey changes the keys of this side, and may ask the other one to do so too.
func (f *forger) updateKey(asks byte) error {
	err := f.write(recordHandshake, []byte{24, 0, 0, 1, asks})
	f.follow(f.expand13("traffic upd", 32))
	return err
}

// requireServed has a request answered, which shows that the records are right.
func (f *forger) requireServed() {
	f.t.Helper()
	require.NoError(f.t, f.write(recordData, []byte("GET /read/1 HTTP/1.1\r\nHost: a\r\n\r\n")))
	_ = f.SetReadDeadline(time.Now().Add(patience))
	got, err := http.ReadResponse(bufio.NewReader(f), nil)
	require.NoError(f.t, err)
	require.Equal(f.t, 200, got.StatusCode)
	_ = got.Body.Close()
}

// requireCutOff waits for the end of the connection.
func (f *forger) requireCutOff() {
	f.t.Helper()
	_ = f.NetConn().SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, f.NetConn())
	require.False(f.t, isTimeout(err), "not cut off")
}

func isTimeout(err error) bool {
	timeout, ok := err.(net.Error)
	return ok && timeout.Timeout()
}

// SECURITY, line 10.
func TestLimits_NoRenegotiation(t *testing.T) {
	s := newGuardStation(t)
	s.protect("read", httpapi.Rule{Action: "orders:read"}, nothing)
	s.Serve(s.router, func(o *httpapi.ServerOptions) { o.TLS.MinVersion = tls.VersionTLS12 })
	f := s.forge(tls.VersionTLS12, s.Issue("spiffe://interlock.test/alice"))
	require.EqualValues(t, tls.VersionTLS12, f.ConnectionState().Version)
	f.requireServed()
	f.requireServed()
	hello := append([]byte{3, 3}, make([]byte, 32)...)     // version, random number
	hello = append(hello, 0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 0) // no session, one suite, no compression, no extensions
	require.NoError(t, f.write(recordHandshake, append([]byte{1, 0, 0, byte(len(hello))}, hello...)))
	_, err := f.Read(make([]byte, 1))
	require.ErrorContains(t, err, "remote error: tls:", "an alert in place of a handshake")
	_ = f.NetConn().Close()
	s.requireOpen(0)
}

// SECURITY, line 10.
func TestLimits_KeyUpdates(t *testing.T) {
	for _, asks := range []byte{0, 1} {
		s := newGuardStation(t)
		s.protect("read", httpapi.Rule{Action: "orders:read"}, nothing)
		f := s.forge(tls.VersionTLS13, s.Issue("spiffe://interlock.test/alice"))
		f.requireServed()
		require.NoError(t, f.updateKey(asks))
		f.requireServed() // as is one's right
		before, grown, updates := footprintNow(), peak(), 0
		for updates < 100_000 && f.updateKey(asks) == nil {
			updates++
		}
		f.requireCutOff()
		require.Less(t, updates, 100_000)
		require.Less(t, grown(), uint64(affordable))
		s.requireOpen(0)
		before.requireBack(t)
	}
}

// chainOf returns certificates that a client sends in addition to its own.
func (s *station) chainOf(n int, alter func(int, *x509.Certificate)) (chain [][]byte) {
	s.T.Helper()
	ca, err := certs.LoadKeyPair(filepath.Join(s.Dir, "ca", devca.CertFile), filepath.Join(s.Dir, "ca", devca.KeyFile))
	require.NoError(s.T, err)
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(s.T, err)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			Subject: pkix.Name{CommonName: "one of many"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		alter(i, template)
		der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
		require.NoError(s.T, err)
		chain = append(chain, der)
	}
	return chain
}

// lost is a leaf whose issuer has the name of all the others, and is none of them.
func (s *station) lost() tls.Certificate {
	s.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.T, err)
	id := &url.URL{Scheme: "spiffe", Host: "interlock.test", Path: "/bob"}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "one of many"}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, issuer, key.Public(), key)
	require.NoError(s.T, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestLimits_LargeCertificates sends certificates that take long to read, or to
// find a way through.
//
// SECURITY, line 10.
func TestLimits_LargeCertificates(t *testing.T) {
	s := besieged(t)
	many := s.chainOf(150, func(int, *x509.Certificate) {})
	large := s.chainOf(3, func(_ int, c *x509.Certificate) { c.OCSPServer = []string{"http://a/" + strings.Repeat("x", 40<<10)} })
	with := func(cert tls.Certificate, more ...[]byte) tls.Certificate {
		cert.Certificate = append(cert.Certificate[:1:1], more...)
		return cert
	}
	names := func(n int) tls.Certificate {
		return s.Mint(func(c *x509.Certificate) {
			servertest.WithURIs("spiffe://interlock.test/bob")(c)
			for i := range n {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("name-%d.a.test", i))
			}
		})
	}
	bob := s.Issue("spiffe://interlock.test/bob")
	for name, test := range map[string]struct {
		cert   tls.Certificate
		served bool
	}{
		"50 KiB with it":          {with(bob, many[:100]...), true},
		"75 KiB with it":          {with(bob, many...), false},
		"120 KiB with it":         {with(bob, large...), false},
		"300 KiB with it":         {with(bob, append(append(append([][]byte{}, large...), large...), append(large, large...)...)...), false},
		"1,000 names":             {names(1000), true},
		"10,000 names":            {names(10_000), false},
		"150 issuers of one name": {with(s.lost(), many...), false},
	} {
		before, honest, grown, began := footprintNow(), s.besides(), peak(), time.Now()
		for range 4 {
			for _, speaks := range servertest.Wires {
				c := s.Client(speaks, test.cert)
				got, err := s.Try(c, s.Request(http.MethodGet, "/read/1", ""))
				c.CloseIdleConnections()
				require.Equal(t, test.served, err == nil, "%s: %v", name, err)
				require.True(t, err != nil || got.StatusCode == 200, name)
			}
		}
		require.Less(t, grown(), uint64(affordable), name)
		require.Less(t, time.Since(began), patience/2, name)
		honest.requireServed(t)
		s.requireOpen(0)
		before.requireBack(t)
	}
}
