package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// whoami answers with the caller.
func whoami(c *httpapi.Connections) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := c.Identify(r)
		if err != nil {
			httpapi.WriteProblem(w, r, err)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s %p", caller.Principal, caller.Credential.Fingerprint(), caller)
	})
}

func newCallerStation(t *testing.T) *station {
	s := newStation(t, authzenPolicy)
	return s.serve(whoami(s.Connections))
}

func TestCallerIsReadOncePerConnection(t *testing.T) {
	s := newCallerStation(t)
	for _, speaks := range servertest.Wires {
		cert := s.Issue("spiffe://interlock.test/alice")
		first, second := s.Client(speaks, cert), s.Client(speaks, cert)
		got := s.Send(first, s.Request(http.MethodGet, "/", "")).Text
		require.Contains(t, got, "spiffe://interlock.test/alice "+servertest.FingerprintOf(cert))
		require.Equal(t, got, s.Send(first, s.Request(http.MethodGet, "/", "")).Text, "one connection")
		require.NotEqual(t, got, s.Send(second, s.Request(http.MethodGet, "/", "")).Text, "another connection")
	}
}

func TestCallerWithoutTheHook(t *testing.T) {
	s := newStation(t, authzenPolicy)
	s.Serve(whoami(s.Connections), func(o *httpapi.ServerOptions) { o.Connections = nil })
	got := s.Send(s.As("alice"), s.Request(http.MethodGet, "/", ""))
	require.Contains(t, got.Text, "spiffe://interlock.test/alice ")
}

func TestCallerOfAnotherCertificateOnTheSameConnectionIsAnother(t *testing.T) {
	s := newStation(t, authzenPolicy)
	conn, _ := net.Pipe()
	ctx := httpapi.NewServer(httpapi.ServerOptions{Connections: s.Connections}).ConnContext(t.Context(), conn)
	of := func(cert tls.Certificate) *httpapi.Caller {
		caller, err := s.Connections.Identify(s.RequestWith(cert).WithContext(ctx))
		require.NoError(t, err)
		return caller
	}
	alice, bob := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob")
	require.Equal(t, "spiffe://interlock.test/alice", of(alice).Principal.String())
	require.Equal(t, "spiffe://interlock.test/bob", of(bob).Principal.String())
}

func TestCallerIsNeverReadFromHeaders(t *testing.T) {
	s := newCallerStation(t)
	r := s.Request(http.MethodGet, "/", "")
	for _, name := range []string{"X-Forwarded-Client-Cert", "Client-Cert", "X-SSL-Client-S-DN", "X-Forwarded-User", "Authorization"} {
		r.Header.Set(name, "spiffe://interlock.test/admin")
	}
	require.Equal(t, 401, s.Send(s.Client(servertest.HTTP1), r).StatusCode)
	alice := s.Send(s.As("alice"), r.Clone(t.Context()))
	require.Contains(t, alice.Text, "spiffe://interlock.test/alice ")
}

func TestCallerWithoutAVerifiedChainHasNoIdentity(t *testing.T) {
	s := newStation(t, authzenPolicy)
	r := s.RequestWith(s.Issue("spiffe://interlock.test/alice"))
	r.TLS = &tls.ConnectionState{PeerCertificates: r.TLS.VerifiedChains[0]}
	_, err := s.Connections.Identify(r)
	require.ErrorIs(t, err, certs.ErrNoIdentity)
	r.TLS = nil
	_, err = s.Connections.Identify(r)
	require.ErrorIs(t, err, certs.ErrNoIdentity)
}

func TestCallerWithoutIdentityIsToldWhy(t *testing.T) {
	s := newCallerStation(t)
	for _, test := range []struct {
		name   string
		alter  func(*x509.Certificate)
		reason certs.Reason
	}{
		{"two SPIFFE IDs", servertest.WithURIs("spiffe://interlock.test/a", "spiffe://interlock.test/b"), certs.ReasonSeveralSPIFFEIDs},
		{"a SPIFFE ID and a URI", servertest.WithURIs("spiffe://interlock.test/a", "https://example.org/"), certs.ReasonMixedURIs},
		{"no name", func(*x509.Certificate) {}, certs.ReasonNoIdentity},
		{"a DNS name only", func(c *x509.Certificate) { c.DNSNames = []string{"alice.example.org"} }, certs.ReasonNoIdentity},
		{"a whole trust domain", servertest.WithURIs("spiffe://interlock.test"), certs.ReasonNoPath},
		{"not canonical", servertest.WithURIs("spiffe://interlock.test/a//b"), certs.ReasonNotCanonical},
		{"a signer", func(c *x509.Certificate) {
			servertest.WithURIs("spiffe://interlock.test/a")(c)
			c.KeyUsage |= x509.KeyUsageCRLSign
		}, certs.ReasonKeyUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			cert := s.Mint(test.alter)
			for _, speaks := range servertest.Wires {
				got := s.Send(s.Client(speaks, cert), s.Request(http.MethodGet, "/", ""))
				require.Equal(t, 401, got.StatusCode, got.Text)
				doc := got.Problem(t)
				require.Equal(t, "urn:interlock:problem:no-identity", doc["type"])
				require.True(t, strings.HasPrefix(doc["detail"].(string), string(test.reason)+": "), doc["detail"])
				require.Contains(t, doc["detail"], "mutual TLS")
			}
		})
	}
}

func TestCallerWithoutCertificate(t *testing.T) {
	s := newCallerStation(t)
	for _, speaks := range servertest.Wires {
		got := s.Send(s.Client(speaks), s.Request(http.MethodGet, "/", ""))
		require.Equal(t, 401, got.StatusCode)
		require.Contains(t, got.Problem(t)["detail"], string(certs.ReasonNoCertificate))
		require.Equal(t, speaks == servertest.HTTP1, got.Close, "HTTP/2 says GOAWAY instead")
	}
}

func TestCallerRefusedInTheHandshake(t *testing.T) {
	s := newCallerStation(t)
	other := s.NewAuthority("other")
	past := func() time.Time { return time.Now().Add(-time.Hour) }
	serverPair, err := s.Authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	serverCert, err := tls.X509KeyPair(serverPair.CertPEM, serverPair.KeyPEM)
	require.NoError(t, err)
	for name, cert := range map[string]tls.Certificate{
		"another authority": s.IssueBy(other, devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice"}),
		"expired":           s.IssueBy(s.Authority, devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice", Now: past, Lifetime: time.Minute}),
		"a server's":        serverCert,
		"a server's with an ID": s.Mint(func(c *x509.Certificate) {
			servertest.WithURIs("spiffe://interlock.test/a")(c)
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		"of the future": s.Mint(func(c *x509.Certificate) {
			servertest.WithURIs("spiffe://interlock.test/a")(c)
			c.NotBefore = time.Now().Add(time.Hour / 2)
		}),
		"of an unknown extension": s.Mint(func(c *x509.Certificate) {
			servertest.WithURIs("spiffe://interlock.test/a")(c)
			c.ExtraExtensions = criticalExtension()
		}),
	} {
		for _, speaks := range servertest.Wires {
			before := len(s.logged())
			_, err := s.Try(s.Client(speaks, cert), s.Request(http.MethodGet, "/", ""))
			require.Error(t, err, name)
			require.Eventually(t, func() bool { return len(s.logged()) > before }, 5*time.Second, time.Millisecond)
			for _, record := range s.logged()[before:] {
				require.Equal(t, "connection failed", record["msg"], "no request came to the handler")
				require.Contains(t, record["detail"], "failed to verify certificate", name)
			}
		}
	}
}
