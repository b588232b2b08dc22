package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
)

// whoami answers with the caller.
func whoami(c *httpapi.Connections) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := c.CallerFrom(r)
		if err != nil {
			httpapi.WriteProblem(w, r, err)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %p", caller.Principal, caller.Credential.Fingerprint(), caller)
	})
}

func newCallerStation(t *testing.T) *station {
	s := newStation(t, "authzen-policy.yaml")
	return s.serve(whoami(s.connections))
}

func TestCallerIsReadOncePerConnection(t *testing.T) {
	s := newCallerStation(t)
	for _, speaks := range wires {
		cert := s.issue("spiffe://interlock.test/alice")
		first, second := s.client(speaks, cert), s.client(speaks, cert)
		got := s.send(first, s.request(http.MethodGet, "/", "")).body
		require.Contains(t, got, "spiffe://interlock.test/alice "+fingerprintOf(cert))
		require.Equal(t, got, s.send(first, s.request(http.MethodGet, "/", "")).body, "one connection")
		require.NotEqual(t, got, s.send(second, s.request(http.MethodGet, "/", "")).body, "another connection")
	}
}

func TestCallerWithoutTheHook(t *testing.T) {
	s := newStation(t, "authzen-policy.yaml")
	s.serve(whoami(s.connections), func(o *httpapi.ServerOptions) { o.Connections = nil })
	got := s.send(s.as("alice"), s.request(http.MethodGet, "/", ""))
	require.Contains(t, got.body, "spiffe://interlock.test/alice ")
}

func TestCallerOfAnotherCertificateOnTheSameConnectionIsAnother(t *testing.T) {
	s := newStation(t, "authzen-policy.yaml")
	conn, _ := net.Pipe()
	ctx := httpapi.NewServer(httpapi.ServerOptions{Connections: s.connections}).ConnContext(t.Context(), conn)
	of := func(cert tls.Certificate) *httpapi.Caller {
		caller, err := s.connections.CallerFrom(requestWith(t, s, cert).WithContext(ctx))
		require.NoError(t, err)
		return caller
	}
	alice, bob := s.issue("spiffe://interlock.test/alice"), s.issue("spiffe://interlock.test/bob")
	require.Equal(t, "spiffe://interlock.test/alice", of(alice).Principal.String())
	require.Equal(t, "spiffe://interlock.test/bob", of(bob).Principal.String())
}

// requestWith is a request that no server has read, with a verified chain.
func requestWith(t testing.TB, s *station, cert tls.Certificate) *http.Request {
	t.Helper()
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, s.authority.Certificate()}}}
	return r
}

func TestCallerIsNeverReadFromHeaders(t *testing.T) {
	s := newCallerStation(t)
	r := s.request(http.MethodGet, "/", "")
	for _, name := range []string{"X-Forwarded-Client-Cert", "Client-Cert", "X-SSL-Client-S-DN", "X-Forwarded-User", "Authorization"} {
		r.Header.Set(name, "spiffe://interlock.test/admin")
	}
	require.Equal(t, 401, s.send(s.client(http1), r).StatusCode)
	alice := s.send(s.as("alice"), r.Clone(t.Context()))
	require.Contains(t, alice.body, "spiffe://interlock.test/alice ")
}

func TestCallerThatWasNotVerifiedIsNobody(t *testing.T) {
	s := newStation(t, "authzen-policy.yaml")
	r := requestWith(t, s, s.issue("spiffe://interlock.test/alice"))
	r.TLS = &tls.ConnectionState{PeerCertificates: r.TLS.VerifiedChains[0]}
	_, err := s.connections.CallerFrom(r)
	require.ErrorIs(t, err, certs.ErrNoIdentity)
	r.TLS = nil
	_, err = s.connections.CallerFrom(r)
	require.ErrorIs(t, err, certs.ErrNoIdentity)
}

func TestCallerWithoutIdentityIsToldWhy(t *testing.T) {
	s := newCallerStation(t)
	for _, test := range []struct {
		name   string
		alter  func(*x509.Certificate)
		reason certs.Reason
	}{
		{"two SPIFFE IDs", withURIs("spiffe://interlock.test/a", "spiffe://interlock.test/b"), certs.ReasonSeveralSPIFFEIDs},
		{"a SPIFFE ID and a URI", withURIs("spiffe://interlock.test/a", "https://example.org/"), certs.ReasonMixedURIs},
		{"no name", func(*x509.Certificate) {}, certs.ReasonNoIdentity},
		{"a DNS name only", func(c *x509.Certificate) { c.DNSNames = []string{"alice.example.org"} }, certs.ReasonNoIdentity},
		{"a whole trust domain", withURIs("spiffe://interlock.test"), certs.ReasonNoPath},
		{"not canonical", withURIs("spiffe://interlock.test/a//b"), certs.ReasonNotCanonical},
		{"a signer", func(c *x509.Certificate) {
			withURIs("spiffe://interlock.test/a")(c)
			c.KeyUsage |= x509.KeyUsageCRLSign
		}, certs.ReasonKeyUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert := s.mint(test.alter)
			for _, speaks := range wires {
				got := s.send(s.client(speaks, cert), s.request(http.MethodGet, "/", ""))
				require.Equal(t, 401, got.StatusCode, got.body)
				doc := got.problem(t)
				require.Equal(t, "urn:interlock:problem:no-identity", doc["type"])
				require.True(t, strings.HasPrefix(doc["detail"].(string), string(test.reason)+": "), doc["detail"])
				require.Contains(t, doc["detail"], "mutual TLS")
			}
		})
	}
}

func TestCallerWithoutCertificate(t *testing.T) {
	s := newCallerStation(t)
	for _, speaks := range wires {
		got := s.send(s.client(speaks), s.request(http.MethodGet, "/", ""))
		require.Equal(t, 401, got.StatusCode)
		require.Contains(t, got.problem(t)["detail"], string(certs.ReasonNoCertificate))
		require.Equal(t, speaks == http1, got.Close, "HTTP/2 says GOAWAY instead")
	}
}

func TestCallerRefusedInTheHandshake(t *testing.T) {
	s := newCallerStation(t)
	other := s.newAuthority("other")
	past := func() time.Time { return time.Now().Add(-time.Hour) }
	serverPair, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	serverCert, err := tls.X509KeyPair(serverPair.CertPEM, serverPair.KeyPEM)
	require.NoError(t, err)
	for name, cert := range map[string]tls.Certificate{
		"another authority": s.issueBy(other, devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice"}),
		"expired":           s.issueBy(s.authority, devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice", Now: past, Lifetime: time.Minute}),
		"a server's":        serverCert,
		"a server's with an ID": s.mint(func(c *x509.Certificate) {
			withURIs("spiffe://interlock.test/a")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"of the future": s.mint(func(c *x509.Certificate) {
			withURIs("spiffe://interlock.test/a")(c)
			c.NotBefore = time.Now().Add(time.Hour / 2)
		}),
		"of an unknown extension": s.mint(func(c *x509.Certificate) {
			withURIs("spiffe://interlock.test/a")(c)
			c.ExtraExtensions = criticalExtension()
		}),
	} {
		for _, speaks := range wires {
			before := len(s.logged())
			_, err := s.try(s.client(speaks, cert), s.request(http.MethodGet, "/", ""))
			require.Error(t, err, name)
			require.Eventually(t, func() bool { return len(s.logged()) > before }, 5*time.Second, time.Millisecond)
			for _, record := range s.logged()[before:] {
				require.Equal(t, "connection failed", record["msg"], "no request came to the handler")
				require.Contains(t, record["detail"], "failed to verify certificate", name)
			}
		}
	}
}
