package main

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// old limits a client to TLS 1.2.
func old(config *tls.Config) *tls.Config {
	config.MaxVersion = tls.VersionTLS12
	return config
}

// SECURITY, line 9.
func TestTLS_TLS13IsTheDefault(t *testing.T) {
	t.Parallel()
	for _, version := range []config.Version{0, tls.VersionTLS13} {
		s := newRunning(t, func(c *config.Config) { c.TLS.MinVersion = version })
		client := s.client(s.clients.leaf())
		state := s.requireVisit(t, client, http.StatusOK, false).state
		require.EqualValues(t, tls.VersionTLS13, state.Version)
		require.Equal(t, tls.X25519MLKEM768, state.CurveID, "the hybrid key exchange stays on")
		_, err := s.visit(old(s.client(s.clients.leaf())), alice)
		require.ErrorContains(t, err, "remote error: tls: protocol version not supported")
	}
}

// newOldEcho starts a server that also accepts TLS 1.2.
func newOldEcho(t testing.TB) (*echo, *minter) {
	t.Helper()
	clients := newRoot(t, "clients")
	c := config.Default()
	c.TLS.MinVersion, c.TLS.ClientCA = tls.VersionTLS12, clients.write(t, filepath.Join(t.TempDir(), "clients.crt"))
	return newEcho(t, c), clients
}

// SECURITY, line 9.
func TestTLS_TLS12ByChoiceWithGosOwnSuites(t *testing.T) {
	t.Parallel()
	e, clients := newOldEcho(t)
	suites := map[uint16]bool{}
	for _, suite := range tls.CipherSuites() {
		suites[suite.ID] = true
	}
	for _, protocol := range protocols {
		client := old(e.client(clients.leaf(), protocol, newSessions()))
		for _, resumed := range []bool{false, true} {
			got, err := e.get(client, nil)
			require.NoError(t, err)
			require.Equal(t, alice, got.verdict(t))
			require.EqualValues(t, tls.VersionTLS12, got.TLS.Version)
			require.True(t, suites[got.TLS.CipherSuite], tls.CipherSuiteName(got.TLS.CipherSuite))
			require.Equal(t, resumed, got.TLS.DidResume)
		}
		got, err := e.get(e.client(clients.leaf(), protocol, newSessions()), nil)
		require.NoError(t, err)
		require.EqualValues(t, tls.VersionTLS13, got.TLS.Version, "who can do better, does")
	}
}

// SECURITY, line 9.
func TestTLS_NoSuiteThatIsInsecure(t *testing.T) {
	t.Parallel()
	e, clients := newOldEcho(t)
	for _, suite := range tls.InsecureCipherSuites() {
		client := old(e.client(clients.leaf(), http1, newSessions()))
		client.CipherSuites = []uint16{suite.ID}
		_, err := e.get(client, nil)
		require.Error(t, err, suite.Name)
	}
	older := e.client(clients.leaf(), http1, newSessions())
	older.MinVersion, older.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err := e.get(older, nil)
	require.ErrorContains(t, err, "protocol version not supported")
}

// TestTLS_IdentityRulesHoldInTLS12 repeats cases of TestMatrix with TLS 1.2.
//
// SECURITY, line 9.
func TestTLS_IdentityRulesHoldInTLS12(t *testing.T) {
	t.Parallel()
	e, clients := newOldEcho(t)
	for want, leaf := range map[string]tls.Certificate{
		no(certs.ReasonNoCertificate):    {},
		no(certs.ReasonSeveralSPIFFEIDs): clients.leaf(uri(alice, "spiffe://a.example/bob")),
		no(certs.ReasonNotForClients):    clients.leaf(extKeyUsage()),
	} {
		client := old(e.client(leaf, http1, newSessions()))
		for _, resumed := range []bool{false, true} {
			got, err := e.get(client, nil)
			require.NoError(t, err)
			require.Equal(t, want, got.verdict(t))
			require.Equal(t, resumed, got.TLS.DidResume)
		}
	}
	for _, leaf := range []tls.Certificate{newRoot(t, "other").leaf(), clients.leaf(extension(false, 80_000))} {
		_, err := e.get(old(e.client(leaf, http1, newSessions())), nil)
		require.Error(t, err)
	}
}

// SECURITY, line 9.
func TestTLS_TLS11IsRejected(t *testing.T) {
	_, err := certs.ServerConfig(certs.ServerOptions{ClientCAs: newRoot(t, "any").pool(), MinVersion: tls.VersionTLS11})
	require.ErrorIs(t, err, certs.ErrMinVersion)
}

// TestTLS_TheServerSpeaksTLS12IfToldTo checks that the configuration key reaches the
// listeners.
//
// SECURITY, line 9.
func TestTLS_TheServerSpeaksTLS12IfToldTo(t *testing.T) {
	t.Parallel()
	s := newRunning(t, func(c *config.Config) { c.TLS.MinVersion = tls.VersionTLS12 })
	client := old(s.client(s.clients.leaf()))
	require.EqualValues(t, tls.VersionTLS12, s.requireVisit(t, client, http.StatusOK, false).state.Version)
	s.requireVisit(t, client, http.StatusOK, true)
	s.exchangeServer(t)
	s.requireVisit(t, client, http.StatusOK, false)
}
