package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// requireIs requires one verdict with both protocols, in a new session and in a resumed
// one.
func (e *echo) requireIs(t testing.TB, want string, chain tls.Certificate, header http.Header) {
	t.Helper()
	for _, protocol := range protocols {
		cache := newSessions()
		require.False(t, e.shake(t, e.client(chain, protocol, cache)).refused)
		for _, resumed := range []bool{false, true} {
			if !resumed {
				got, err := e.get(e.client(chain, protocol, newSessions()), header)
				require.NoError(t, err)
				require.Equal(t, want, got.verdict(t), protocol)
				continue
			}
			got, err := e.get(e.client(chain, protocol, cache), header)
			require.NoError(t, err)
			require.True(t, got.TLS.DidResume)
			require.Equal(t, want, got.verdict(t), "%s, resumed", protocol)
		}
	}
}

// requireUnshaken requires that the handshake fails with that alert, with both protocols.
func (e *echo) requireUnshaken(t testing.TB, alert string, chain tls.Certificate) {
	t.Helper()
	for _, protocol := range protocols {
		require.Equal(t, alert, e.shake(t, e.client(chain, protocol, newSessions())).alert, protocol)
	}
}

// newIdentityEcho starts a server that trusts one CA for all names and another for
// b.example, and uses all rules.
func newIdentityEcho(t testing.TB) (e *echo, all, bound *minter) {
	t.Helper()
	dir := t.TempDir()
	all, bound = newRoot(t, "all"), newRoot(t, "bound")
	c := config.Default()
	c.Identity = []certs.Rule{certs.RuleDNS, certs.RuleEmail, certs.RuleURI, certs.RuleCN}
	c.TLS.ClientCAs = []certs.Binding{
		{File: all.write(t, filepath.Join(dir, "all.crt"))},
		{File: bound.write(t, filepath.Join(dir, "bound.crt")), TrustDomains: []string{"b.example"}, Names: []string{"b.example"}},
	}
	return newEcho(t, c), all, bound
}

// forgedHeaders are proxies' headers that name another certificate.
func forgedHeaders(of tls.Certificate) []http.Header {
	const who = "spiffe://a.example/bob"
	pem, der := string(chainPEM(of)), base64.StdEncoding.EncodeToString(of.Certificate[0])
	var all []http.Header
	for _, h := range [][2]string{
		{"X-Forwarded-Client-Cert", `By=spiffe://a.example/proxy;Hash=00;Subject="CN=bob";URI=` + who},
		{"X-Forwarded-Client-Cert", `Cert="` + url.QueryEscape(pem) + `"`},
		{"Client-Cert", ":" + der + ":"},
		{"Client-Cert", "::"},
		{"Client-Cert-Chain", ":" + der + ":"},
		{"X-SSL-Client-Cert", url.QueryEscape(pem)},
		{"X-SSL-Client-S-DN", "CN=bob"},
		{"X-SSL-Client-DN", "CN=bob"},
		{"X-SSL-Client-Verify", "SUCCESS"},
		{"SSL-Client-Cert", url.QueryEscape(pem)},
		{"X-ARR-ClientCert", der},
		{"X-Amzn-Mtls-Clientcert-Leaf", url.QueryEscape(pem)},
		{"X-Client-Cert-Chain", url.QueryEscape(pem)},
		{"X-Forwarded-Tls-Client-Cert", url.QueryEscape(pem)},
		{"X-Forwarded-User", who},
		{"X-Remote-User", who},
		{"Remote-User", who},
		{"X-Spiffe-Id", who},
		{"From", who},
		{"Forwarded", `for="` + who + `"`},
		{"Authorization", "Bearer " + who},
	} {
		all = append(all, http.Header{h[0]: {h[1]}})
	}
	return all
}

// SECURITY, line 1.
func TestIdentity_NoHeaderSaysWhoCalls(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	caller, other := all.leaf(), all.leaf(uri("spiffe://a.example/bob"))
	together := http.Header{}
	headers := forgedHeaders(other)
	for _, header := range headers {
		for key, values := range header {
			together[key] = append(together[key], values...)
		}
	}
	for _, header := range append(headers, together) {
		for _, protocol := range protocols {
			got, err := e.get(e.client(caller, protocol, newSessions()), header)
			require.NoError(t, err)
			require.Equal(t, alice, got.verdict(t), "%v", header)
			got, err = e.get(e.client(tls.Certificate{}, protocol, newSessions()), header)
			require.NoError(t, err)
			require.Equal(t, "401 no-certificate", got.verdict(t), "%v", header)
		}
	}
	e.requireIs(t, alice, caller, together)
}

// SECURITY, line 1.
func TestIdentity_TheSubjectIsNotRead(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	named := func(c *x509.Certificate) {
		c.Subject.CommonName = "spiffe://a.example/bob"
		c.Subject.OrganizationalUnit = []string{"spiffe://a.example/bob"}
	}
	e.requireIs(t, alice, all.leaf(named), nil)
	e.requireIs(t, "dns:alice.a.example", all.leaf(host("alice.a.example"), named), nil)
}

// TestIdentity_OnlyTheLeafIsRead sends another client's certificate with
// the chain.
//
// SECURITY, line 1.
func TestIdentity_OnlyTheLeafIsRead(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	chain := all.leaf()
	chain.Certificate = append(chain.Certificate, all.leaf(uri("spiffe://a.example/bob")).Certificate...)
	e.requireIs(t, alice, chain, nil)
}

// TestIdentity_ACertificateNeedsItsKey presents a public certificate without its
// private key.
//
// SECURITY, line 1.
func TestIdentity_ACertificateNeedsItsKey(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	stolen := withKey(all.leaf(), must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
	e.requireUnshaken(t, "error decrypting message", stolen)
}

// SECURITY, line 2.
func TestIdentity_ASPIFFEIDIsTheOnlyURI(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	e.requireIs(t, alice, all.leaf(named(name{tagURI, alice}, name{tagDNS, "bob.a.example"})), nil)
	for reason, uris := range map[certs.Reason][]string{
		certs.ReasonSeveralSPIFFEIDs: {alice, "spiffe://a.example/bob"},
		certs.ReasonMixedURIs:        {alice, "https://a.example/"},
		certs.ReasonNotCanonical:     {"SPIFFE://a.example/alice"},
		certs.ReasonNoPath:           {"spiffe://a.example"},
	} {
		e.requireIs(t, no(reason), all.leaf(uri(uris...)), nil)
	}
}

// TestIdentity_KindsNeverCollide gives each kind of name the text of another kind.
//
// SECURITY, line 2.
func TestIdentity_KindsNeverCollide(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	const text = "alice.a.example"
	got := map[string]bool{}
	for want, leaf := range map[string]tls.Certificate{
		alice:                    all.leaf(),
		"cn:" + alice:            all.leaf(commonName(alice)),
		"uri:urn:" + alice:       all.leaf(uri("urn:" + alice)),
		"dns:" + text:            all.leaf(host(text)),
		"cn:" + text:             all.leaf(commonName(text)),
		"cn:dns:" + text:         all.leaf(commonName("dns:" + text)),
		"uri:dns:" + text:        all.leaf(uri("dns:" + text)),
		"uri:cn:" + text:         all.leaf(uri("cn:" + text)),
		"email:alice@a.example":  all.leaf(mail("alice@a.example")),
		"cn:alice@a.example":     all.leaf(commonName("alice@a.example")),
		"uri:email:a@a.example":  all.leaf(uri("email:a@a.example")),
		"uri:mailto:a@a.example": all.leaf(uri("mailto:a@a.example")),
	} {
		e.requireIs(t, want, leaf, nil)
		got[want] = true
	}
	require.Len(t, got, 12)
}

// SECURITY, line 2.
func TestIdentity_ANameThatIsNotExactIsNoName(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	for _, text := range []string{"*.a.example", "alice.a.example\x00.b.example", "ALICE.a.example", "", "alice..a.example"} {
		e.requireIs(t, no(certs.ReasonMalformedName), all.leaf(host(text)), nil)
	}
}

// SECURITY, line 3.
func TestIdentity_ACASpeaksForItsOwnNames(t *testing.T) {
	t.Parallel()
	e, all, bound := newIdentityEcho(t)
	const admin = "spiffe://a.example/admin"
	e.requireIs(t, admin, all.leaf(uri(admin)), nil)
	e.requireIs(t, "spiffe://b.example/admin", bound.leaf(uri("spiffe://b.example/admin")), nil)
	between := bound.under(t, "all") // with the name of the other CA
	for _, chain := range []tls.Certificate{
		bound.leaf(uri(admin)), with(bound.leaf(uri(admin)), all), with(between.leaf(uri(admin)), between),
		with(between.leaf(uri(admin)), between, all), bound.leaf(uri("spiffe://b.example.a.example/admin")),
		bound.leaf(host("admin.a.example")), bound.leaf(mail("admin@a.example")), bound.leaf(commonName("admin")),
	} {
		e.requireIs(t, no(certs.ReasonNotBound), chain, nil)
	}
}

// SECURITY, line 4.
func TestIdentity_ClientAuthIsRequired(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	e.requireIs(t, no(certs.ReasonNotForClients), all.leaf(extKeyUsage()), nil)
	e.requireIs(t, no(certs.ReasonNotForClients), all.leaf(extKeyUsage(x509.ExtKeyUsageAny)), nil)
	e.requireUnshaken(t, "bad certificate", all.leaf(extKeyUsage(x509.ExtKeyUsageServerAuth)))
	servers := all.under(t, "servers", extKeyUsage(x509.ExtKeyUsageServerAuth))
	e.requireUnshaken(t, "bad certificate", with(servers.leaf(), servers))
}

// SECURITY, line 4.
func TestIdentity_NameConstraintsHold(t *testing.T) {
	t.Parallel()
	e, all, _ := newIdentityEcho(t)
	constrained := all.under(t, "constrained", func(c *x509.Certificate) {
		c.PermittedURIDomains, c.ExcludedDNSDomains = []string{"b.example"}, []string{"a.example"}
		c.PermittedDNSDomainsCritical = true
	})
	e.requireIs(t, "spiffe://b.example/alice", with(constrained.leaf(uri("spiffe://b.example/alice")), constrained), nil)
	e.requireUnshaken(t, "bad certificate", with(constrained.leaf(), constrained))
	e.requireUnshaken(t, "bad certificate", with(constrained.leaf(host("x.a.example")), constrained))
}

// TestIdentity_TheServersOwnCertificateIsNoClients has one CA for clients and servers, as
// interlock ca issues them.
//
// SECURITY, line 4.
func TestIdentity_TheServersOwnCertificateIsNoClients(t *testing.T) {
	t.Parallel()
	s := newRunning(t, func(c *config.Config) {
		c.TLS.ClientCA, c.TLS.CRLs = filepath.Join(filepath.Dir(c.TLS.Key), "own", "ca.crt"), nil
	})
	own, err := certs.LoadKeyPair(s.file("server.crt"), s.file("server.key"))
	require.NoError(t, err)
	s.requireRefused(t, s.client(own), "incompatible key usage")
	pair, err := s.authority.IssueClient(devca.ClientOptions{SPIFFEID: alice})
	require.NoError(t, err)
	client, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(t, err)
	s.eventually(t, func() bool { // the engine's clock may be behind the start of the certificate's validity
		v, err := s.visit(s.client(client), alice)
		return err == nil && v.status == http.StatusOK
	})
}
