package httpapi_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// proxiedStation is a server behind a proxy.
type proxiedStation struct {
	*guardStation
	format  forwarded.Format
	ingress tls.Certificate
	proxy   *http.Client
}

func newProxiedStation(t *testing.T, format forwarded.Format, speaks servertest.Wire) *proxiedStation {
	t.Helper()
	s := &proxiedStation{guardStation: newGuardStation(t), format: format}
	s.Connections.Use(new(certs.Identifier).Under(s.authorities("ca")))
	reader, err := forwarded.NewReader(format, "")
	require.NoError(t, err)
	s.Serve(s.router, func(o *httpapi.ServerOptions) {
		o.ReadTimeout, o.WriteTimeout = time.Hour, time.Hour
		o.Proxied = &httpapi.Proxied{Reader: reader, Proxies: []policy.Principal{who("ingress")}}
	})
	s.router.Handle("/whoami", whoami(s.Connections))
	s.router.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { _ = r.Header.Write(w) })
	s.ingress = s.Issue("spiffe://interlock.test/ingress")
	s.proxy = s.Client(speaks, s.ingress)
	return s
}

func (s *station) authorities(name string) *certs.TrustAnchors {
	s.T.Helper()
	a, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(s.Dir, name, devca.CertFile)})
	require.NoError(s.T, err)
	return a
}

// from is a request as the proxy sends it on.
func (s *proxiedStation) from(client *tls.Certificate, path string) *http.Request {
	s.T.Helper()
	r := s.Request(http.MethodGet, path, "")
	if name, value := servertest.Spelled[s.format](client); value != "" {
		r.Header.Set(name, value)
	}
	return r
}

func (s *proxiedStation) requireNobody(r *http.Request, why certs.Reason) {
	s.T.Helper()
	got := s.Send(s.proxy, r)
	got.RequireProblem(s.T, 401, "no-identity")
	require.Contains(s.T, got.Problem(s.T)["detail"], string(why))
	require.False(s.T, got.Close, "the proxy has other clients")
}

// SECURITY, line 5.
func TestProxies_TheClientIsTheOneOfTheHeader(t *testing.T) {
	for format := range servertest.Spelled {
		for _, speaks := range servertest.Wires {
			t.Run(string(format)+" "+string(speaks), func(t *testing.T) {
				s := newProxiedStation(t, format, speaks)
				alice, bob := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob")
				first := s.Send(s.proxy, s.from(&alice, "/whoami")).Text
				require.Contains(t, first, "spiffe://interlock.test/alice "+servertest.FingerprintOf(alice))
				require.Contains(t, s.Send(s.proxy, s.from(&bob, "/whoami")).Text, "spiffe://interlock.test/bob "+servertest.FingerprintOf(bob))
				require.Equal(t, first, s.Send(s.proxy, s.from(&alice, "/whoami")).Text, "it is looked at once")
				if format != forwarded.HAProxy && format != forwarded.Caddy {
					s.requireNobody(s.Request(http.MethodGet, "/whoami", ""), certs.ReasonNoCertificate)
				} else {
					s.requireNobody(s.Request(http.MethodGet, "/whoami", ""), certs.ReasonNotForwarded)
				}
				s.requireNobody(s.from(nil, "/whoami"), certs.ReasonNoCertificate)
			})
		}
	}
}

// forgeries are headers by which proxies of all kinds say who the client is.
var forgeries = []string{
	"Client-Cert", "Client-Cert-Chain", "X-Forwarded-Client-Cert", "X-Forwarded-Tls-Client-Cert", "X-SSL-Client-S-DN",
	"X-SSL-Client-Escaped-Cert", "X-Tls-Client-Subject", "Ssl-Client-Cert", "X-Client-Cert", "x_ssl_client_verify",
}

// SECURITY, line 5.
func TestProxies_ForgedHeadersReachNoHandler(t *testing.T) {
	s := newProxiedStation(t, forwarded.Nginx, servertest.HTTP1)
	alice, bob := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob")
	forged := func(r *http.Request) *http.Request {
		for _, name := range forgeries {
			if r.Header.Get(name) == "" {
				r.Header.Set(name, servertest.EscapedPEM(&bob))
			}
		}
		r.Header.Set("X-Harmless", "stays")
		return r
	}
	r := forged(s.from(&alice, "/whoami"))
	require.Contains(t, s.Send(s.proxy, r).Text, "spiffe://interlock.test/alice ")
	r.URL.Path = "/headers"
	seen := s.Send(s.proxy, r).Text
	require.Contains(t, seen, "X-Harmless: stays")
	for _, name := range forgeries {
		require.NotContains(t, strings.ToLower(seen), strings.ToLower(name))
	}

	s.Serve(s.router) // a server to which clients come by themselves
	r = forged(s.Request(http.MethodGet, "/whoami", ""))
	require.Contains(t, s.Send(s.Client(servertest.HTTP1, alice), r).Text, "spiffe://interlock.test/alice ")
	s.Send(s.Client(servertest.HTTP1), r.Clone(t.Context())).RequireProblem(t, 401, "no-identity")
	r.URL.Path = "/headers"
	seen = s.Send(s.Client(servertest.HTTP1), r.Clone(t.Context())).Text
	for _, name := range forgeries {
		require.NotContains(t, strings.ToLower(seen), strings.ToLower(name))
	}
}

// SECURITY, line 5.
func TestProxies_OnlyConfiguredProxiesAreTrusted(t *testing.T) {
	s := newProxiedStation(t, forwarded.Nginx, servertest.HTTP1)
	admin, alice := s.Issue("spiffe://interlock.test/admin"), s.Issue("spiffe://interlock.test/alice")
	other := s.NewAuthority("other")
	for name, proxy := range map[string]*http.Client{
		"a client": s.Client(servertest.HTTP1, alice), "the one whose certificate it is": s.Client(servertest.HTTP1, admin), "no certificate": s.Client(servertest.HTTP1),
	} {
		got := s.Send(proxy, s.from(&admin, "/whoami"))
		got.RequireProblem(t, 401, "no-identity")
		require.NotContains(t, got.Text, "spiffe://interlock.test/admin ", name)
	}
	_, err := s.Try(s.Client(servertest.HTTP1, s.IssueBy(other, servertest.ClientLeaf("ingress"))), s.from(&admin, "/whoami"))
	require.Error(t, err, "a proxy of another authority's")
}

// SECURITY, line 5.
func TestProxies_HeadersAreVerified(t *testing.T) {
	s := newProxiedStation(t, forwarded.RFC9440, servertest.HTTP2)
	other := s.NewAuthority("other")
	stranger := s.IssueBy(other, servertest.ClientLeaf("admin"))
	s.requireNobody(s.from(&stranger, "/whoami"), certs.ReasonNotVerified)
	for _, alter := range []func(*x509.Certificate){
		func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) },
		func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
	} {
		wrong := s.Mint(func(c *x509.Certificate) { servertest.WithURIs("spiffe://interlock.test/bob")(c); alter(c) })
		s.requireNobody(s.from(&wrong, "/whoami"), certs.ReasonNotVerified)
	}
	two := s.Mint(servertest.WithURIs("spiffe://interlock.test/a", "spiffe://interlock.test/b"))
	s.requireNobody(s.from(&two, "/whoami"), certs.ReasonSeveralSPIFFEIDs)
	twice := s.from(&stranger, "/whoami")
	twice.Header.Add("Client-Cert", twice.Header.Get("Client-Cert"))
	s.requireNobody(twice, certs.ReasonNotForwarded)

	alice := s.Issue("spiffe://interlock.test/alice")
	require.Equal(t, 200, s.Send(s.proxy, s.from(&alice, "/whoami")).StatusCode)
	s.Connections.Use(&certs.Identifier{})
	s.requireNobody(s.from(&alice, "/whoami"), certs.ReasonNotVerified)
	both, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(s.Dir, "ca", devca.CertFile), TrustDomains: []string{"interlock.test"}},
		certs.Binding{File: filepath.Join(s.Dir, "other", devca.CertFile), TrustDomains: []string{"b.example"}})
	require.NoError(t, err)
	s.Connections.Use(new(certs.Identifier).Under(both))
	require.Equal(t, 200, s.Send(s.proxy, s.from(&alice, "/whoami")).StatusCode)
	s.requireNobody(s.from(&stranger, "/whoami"), certs.ReasonNotBound)
}

// TestProxies_RevocationReachesTheirClients: the client's certificate ends what came by
// it alone, the proxy's all that came through it.
//
// SECURITY, line 5.
func TestProxies_RevocationReachesTheirClients(t *testing.T) {
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := newProxiedStation(t, forwarded.RFC9440, speaks)
			all := s.streams("lost", "good")
			lost, good := s.Issue("spiffe://interlock.test/bob"), s.Issue("spiffe://interlock.test/bob")
			first := s.watchRequest(s.proxy, s.from(&lost, "/lost/1"), all["lost"])
			second := s.watchRequest(s.proxy, s.from(&good, "/good/1"), all["good"])
			close(first.from.leave)
			close(second.from.leave)

			receipt := requireQuiesced(t, s.update(s.revocationOf(lost)))
			require.Len(t, receipt.Ended, 1)
			require.Zero(t, receipt.Connections, "the proxy has other clients")
			require.ErrorIs(t, await(t, first.from.ended), actors.ErrRevoked)
			_, err := io.ReadAll(first.text)
			requireBroken(t, speaks, err)
			s.Send(s.proxy, s.from(&lost, "/good/1")).RequireProblem(t, 401, "credential-revoked")
			second.from.feed <- "more"
			second.requireLine("more")

			receipt = requireQuiesced(t, s.update(s.revocationOf(s.ingress)))
			require.Len(t, receipt.Ended, 1)
			require.NotZero(t, receipt.Connections)
			require.ErrorIs(t, await(t, second.from.ended), actors.ErrRevoked)
			s.proxy.CloseIdleConnections()
			s.Send(s.proxy, s.from(&good, "/good/1")).RequireProblem(t, 401, "credential-revoked")
		})
	}
}

func (s *station) revocationOf(cert tls.Certificate) policy.Change {
	s.T.Helper()
	id, err := policy.ByFingerprint(servertest.FingerprintOf(cert))
	require.NoError(s.T, err)
	return policy.RevokeCertificate(id, "lost")
}

func TestProxyOfManyClients(t *testing.T) {
	s := newProxiedStation(t, forwarded.Traefik, servertest.HTTP2)
	var first tls.Certificate
	for i := range 1100 {
		cert := s.Issue(fmt.Sprintf("spiffe://interlock.test/%d", i))
		if i == 0 {
			first = cert
		}
		require.Contains(t, s.Send(s.proxy, s.from(&cert, "/whoami")).Text, fmt.Sprintf("spiffe://interlock.test/%d ", i))
	}
	require.Contains(t, s.Send(s.proxy, s.from(&first, "/whoami")).Text, "spiffe://interlock.test/0 ")
}
