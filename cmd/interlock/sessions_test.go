package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/serve"
)

// running is interlock serve in this process. Tests can replace its files. It permits every
// caller to ask the decision API about itself, so an answer shows the identity of a
// session.
type running struct {
	dir       string
	authority *devca.CA // of the server; clients have other CAs
	clients   *minter
	address   string
	operated  string // the URL of the listener for operators
	log       *sharedText
}

// newRunning starts a server whose clients have certificates of one CA, with a CRL.
func newRunning(t testing.TB, alter ...func(*config.Config)) *running {
	t.Helper()
	s := &running{dir: t.TempDir(), clients: newRoot(t, "clients"), log: &sharedText{}}
	var err error
	s.authority, err = devca.Init(s.file("own"), devca.Options{})
	require.NoError(t, err)
	s.issueServer(t)
	s.clients.write(t, s.file("clients.crt"))
	s.clients.writeList(t, s.file("clients.crl"), time.Now().Add(time.Hour))
	require.NoError(t, os.WriteFile(s.file("policy.yaml"), []byte(echoPolicy), 0o600))
	c := s.config()
	for _, f := range alter {
		f(&c)
	}
	require.NoError(t, c.Check())
	s.serve(t, &c)
	s.watched(t)
	return s
}

func (s *running) file(name string) string { return filepath.Join(s.dir, name) }

func (s *running) issueServer(t testing.TB) {
	t.Helper()
	pair, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(s.dir, "server", true))
}

func (s *running) config() config.Config {
	c, inMemory := config.Default(), ""
	c.Listen, c.AdminListen, c.OperatorListen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Data, c.Policy = &inMemory, s.file("policy.yaml")
	c.TLS = config.TLS{
		Certificate: s.file("server.crt"), Key: s.file("server.key"),
		ClientCA: s.file("clients.crt"), CRLs: []string{s.file("clients.crl")},
	}
	return c
}

func (s *running) serve(t testing.TB, c *config.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve.Run(ctx, c, false, s.log.logger()) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	s.eventually(t, func() bool {
		for line := range strings.Lines(s.log.String()) {
			var said struct {
				Callers   string `json:"callers"`
				Operators string `json:"operators"`
			}
			if json.Unmarshal([]byte(line), &said) == nil && said.Callers != "" {
				s.address, s.operated = strings.TrimPrefix(said.Callers, "https://"), said.Operators
			}
		}
		return s.address != ""
	})
}

// eventually waits for a condition that only the server's log or its answers show.
func (s *running) eventually(t testing.TB, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, time.Millisecond, "the server's log: %v", s.log)
}

// watched waits until the server watches its files. It replaces the server certificate
// repeatedly, because the server misses a change from before it watches.
func (s *running) watched(t testing.TB) {
	t.Helper()
	looks, served := 0, s.servesItsFile(t)
	s.eventually(t, func() bool {
		if looks++; looks%50 == 1 {
			s.issueServer(t)
		}
		return served()
	})
}

// servesItsFile reports whether a new client gets the certificate in the file.
func (s *running) servesItsFile(t testing.TB) func() bool {
	return func() bool {
		v, err := s.visit(s.client(tls.Certificate{}), alice)
		return err == nil && v.state.PeerCertificates[0].Equal(readCertificate(t, s.file("server.crt")))
	}
}

// exchange changes files and waits until a client sees the change.
func (s *running) exchange(t testing.TB, change func(), seen func() bool) {
	t.Helper()
	change()
	s.eventually(t, seen)
}

// exchangeServer replaces the server certificate.
func (s *running) exchangeServer(t testing.TB) {
	t.Helper()
	s.exchange(t, func() { s.issueServer(t) }, s.servesItsFile(t))
}

// answers reports whether a client with that certificate and without a session gets an
// answer with that status.
func (s *running) answers(leaf tls.Certificate, status int) func() bool {
	return func() bool {
		v, err := s.visit(s.client(leaf), alice)
		return err == nil && v.status == status
	}
}

// client returns a client with that certificate. It caches one session.
func (s *running) client(chain tls.Certificate) *tls.Config {
	return &tls.Config{
		RootCAs: s.authority.Pool(), ServerName: "localhost", ClientSessionCache: newSessions(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &chain, nil },
	}
}

// visit is the result of a request on a new connection.
type visit struct {
	status  int
	resumed bool
	state   *tls.ConnectionState
	body    string
}

// visit asks the decision API about who, as a client with that configuration.
func (s *running) visit(config *tls.Config, who string) (visit, error) {
	transport := &http.Transport{TLSClientConfig: config.Clone()}
	defer transport.CloseIdleConnections()
	question := fmt.Sprintf(`{"subject":{"type":"principal","id":%q},"action":{"name":"orders:read"},"resource":{"type":"orders","id":"1"}}`, who)
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Post(
		"https://"+s.address+"/access/v1/evaluation", "application/json", strings.NewReader(question))
	if err != nil {
		return visit{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return visit{resp.StatusCode, resp.TLS.DidResume, resp.TLS, string(body)}, err
}

// requireVisit requires an answer with that status, in a resumed session or in a new one.
func (s *running) requireVisit(t testing.TB, config *tls.Config, status int, resumed bool) visit {
	t.Helper()
	v, err := s.visit(config, alice)
	require.NoError(t, err)
	require.Equal(t, status, v.status, v.body)
	require.Equal(t, resumed, v.resumed)
	return v
}

// requireRefused requires that the handshake fails for a reason that the server logs.
func (s *running) requireRefused(t testing.TB, config *tls.Config, reason string) {
	t.Helper()
	before := strings.Count(s.log.String(), reason)
	_, err := s.visit(config, alice)
	require.Error(t, err)
	s.eventually(t, func() bool { return strings.Count(s.log.String(), reason) > before })
}

// SECURITY, line 7.
func TestTLS_ASessionIsResumed(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	client := s.client(s.clients.leaf())
	s.requireVisit(t, client, http.StatusOK, false)
	s.requireVisit(t, client, http.StatusOK, true)
	stranger := s.client(s.clients.leaf(uri("spiffe://a.example/bob")))
	s.requireVisit(t, stranger, http.StatusForbidden, false)
	s.requireVisit(t, stranger, http.StatusForbidden, true)
}

// SECURITY, line 7.
func TestTLS_IdentityRulesHoldInAResumedSession(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	for _, leaf := range []tls.Certificate{
		s.clients.leaf(uri(alice, "spiffe://a.example/bob")), s.clients.leaf(extKeyUsage()), s.clients.leaf(nameless),
	} {
		client := s.client(leaf)
		s.requireVisit(t, client, http.StatusUnauthorized, false)
		s.requireVisit(t, client, http.StatusUnauthorized, true)
	}
}

// SECURITY, line 7.
func TestTLS_ASessionIsNotResumedWhenCRLsChange(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	good, bad := s.clients.leaf(), s.clients.leaf(uri("spiffe://a.example/mallory"))
	alices, mallorys := s.client(good), s.client(bad)
	s.requireVisit(t, alices, http.StatusOK, false)
	s.requireVisit(t, mallorys, http.StatusForbidden, false)
	s.exchange(t, func() {
		s.clients.writeList(t, s.file("clients.crl"), time.Now().Add(time.Hour), parseDER(t, bad.Certificate[0]).SerialNumber)
	}, s.answers(bad, http.StatusUnauthorized))
	v := s.requireVisit(t, mallorys, http.StatusUnauthorized, false)
	require.Contains(t, v.body, "credential-revoked")
	v = s.requireVisit(t, mallorys, http.StatusUnauthorized, true)
	require.Contains(t, v.body, "credential-revoked", "in the new session as well")
	s.requireVisit(t, alices, http.StatusOK, false)
	s.requireVisit(t, alices, http.StatusOK, true)
}

// SECURITY, line 7.
func TestTLS_ASessionIsNotResumedWhenItsCAIsGone(t *testing.T) {
	t.Parallel()
	s := newRunning(t, func(c *config.Config) { c.TLS.CRLs = nil })
	client := s.client(s.clients.leaf())
	s.requireVisit(t, client, http.StatusOK, false)
	other := newRoot(t, "other")
	s.exchange(t, func() { other.write(t, s.file("clients.crt")) }, s.answers(other.leaf(), http.StatusOK))
	s.requireRefused(t, client, "certificate signed by unknown authority")

	s.exchange(t, func() { s.clients.write(t, s.file("clients.crt")) }, s.answers(s.clients.leaf(), http.StatusOK))
	s.requireVisit(t, client, http.StatusOK, false)
}

// TestTLS_ACAThatIsGoneIsNotResumedByItsKeyEither removes the CA and keeps the key of the
// session tickets.
//
// SECURITY, line 7.
func TestTLS_ACAThatIsGoneIsNotResumedByItsKeyEither(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, second := newRoot(t, "first"), newRoot(t, "second")
	var known atomic.Pointer[x509.CertPool] // nil for all
	c := config.Default()
	c.TLS.ClientCAs = []certs.Binding{
		{File: first.write(t, filepath.Join(dir, "first.crt"))}, {File: second.write(t, filepath.Join(dir, "second.crt"))},
	}
	e := newEcho(t, c, func(config *tls.Config) {
		config.SetSessionTicketKeys([][32]byte{{1}})
		all := config.Clone()
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := all.Clone()
			if fewer := known.Load(); fewer != nil {
				now.ClientCAs = fewer
			}
			return now, nil
		}
	})
	cache := newSessions()
	config := e.client(first.leaf(), http1, cache)
	require.False(t, e.shake(t, config).refused)
	resumed, err := e.get(config, nil)
	require.NoError(t, err)
	require.True(t, resumed.TLS.DidResume)

	fewer := x509.NewCertPool()
	fewer.AddCert(second.cert)
	known.Store(fewer)
	for len(cache.came) > 0 {
		<-cache.came
	}
	require.Equal(t, "unknown certificate authority", e.shake(t, config).alert)
}

// SECURITY, line 7.
func TestTLS_AnExpiredLeafIsNotResumed(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	end := 2 * time.Second
	leaf := s.clients.leaf(valid(-time.Minute, end))
	client := s.client(leaf)
	s.requireVisit(t, client, http.StatusOK, false)
	s.requireVisit(t, client, http.StatusOK, true)
	<-time.After(time.Until(parseDER(t, leaf.Certificate[0]).NotAfter) + time.Millisecond)
	s.requireRefused(t, client, "certificate has expired")
}

// TestTLS_AServersOwnCertificateTurnsKeysOver checks that a new server certificate ends
// resumption too.
//
// SECURITY, line 7.
func TestTLS_AServersOwnCertificateTurnsKeysOver(t *testing.T) {
	t.Parallel()
	s := newRunning(t)
	client := s.client(s.clients.leaf())
	before := s.requireVisit(t, client, http.StatusOK, false).state.PeerCertificates[0]
	s.exchangeServer(t)
	after := s.requireVisit(t, client, http.StatusOK, false).state.PeerCertificates[0]
	require.False(t, before.Equal(after))
}
