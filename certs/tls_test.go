package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"io/fs"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// site is a CA with a server, on disk.
type site struct {
	authority *devca.CA
	dir       string
}

func newSite(t *testing.T) site {
	t.Helper()
	authority, dir := newAuthority(t)
	pair, err := authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(dir, "server", false))
	return site{authority, dir}
}

func (s site) path(name string) string { return filepath.Join(s.dir, name) }

func (s site) server(t *testing.T) *tls.Config {
	t.Helper()
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: s.path("server.crt"), KeyFile: s.path("server.key"), ClientCAs: s.authority.Pool(),
	})
	require.NoError(t, err)
	return config
}

// client gives the configuration of a client of the site that presents the pair; the zero pair is no certificate.
func (s site) client(t *testing.T, pair devca.KeyPair) *tls.Config {
	t.Helper()
	opts := certs.ClientOptions{CAFile: s.path(devca.CertFile), ServerName: "localhost"}
	if len(pair.CertPEM) > 0 {
		dir := t.TempDir()
		require.NoError(t, pair.Write(dir, "client", false))
		opts.CertFile, opts.KeyFile = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	}
	config, err := certs.ClientConfig(opts)
	require.NoError(t, err)
	return config
}

// outcome is how a connection over loopback went for its two ends.
type outcome struct {
	state                tls.ConnectionState
	serverErr, clientErr error
}

// connect lets the client read one greeting from the server: with TLS 1.3 a client learns only when it reads that its
// certificate was refused.
func connect(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	require.NoError(t, err)
	defer listener.Close()
	served := make(chan outcome, 1)
	go func() { served <- greet(listener) }()

	clientErr := hear(t, listener.Addr().String(), client)
	result := <-served
	result.clientErr = clientErr
	return result
}

func greet(listener net.Listener) outcome {
	accepted, err := listener.Accept()
	if err != nil {
		return outcome{serverErr: err}
	}
	defer accepted.Close()
	conn := accepted.(*tls.Conn)
	_, err = io.WriteString(conn, "hello")
	return outcome{state: conn.ConnectionState(), serverErr: err}
}

func hear(t *testing.T, address string, client *tls.Config) error {
	t.Helper()
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, client)
	if err != nil {
		return err
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	if err == nil {
		require.Equal(t, "hello", string(greeting))
	}
	return err
}

func TestHandshakeGood(t *testing.T) {
	s := newSite(t)
	pair := issueClient(t, s.authority, devca.ClientOptions{SPIFFEID: alice})
	got := connect(t, s.server(t), s.client(t, pair))
	require.NoError(t, got.serverErr)
	require.NoError(t, got.clientErr)
	require.EqualValues(t, tls.VersionTLS13, got.state.Version)

	chain := got.state.VerifiedChains[0]
	id, err := identifier(t).Identify(chain)
	require.NoError(t, err)
	require.Equal(t, certs.Identity{Name: alice, Rule: certs.RuleSPIFFE}, id)
	credentials, err := certs.CredentialsOf(chain)
	require.NoError(t, err)
	require.Equal(t, parseLeaf(t, pair).NotAfter, credentials[0].NotAfter)
}

// Without a certificate the handshake stands, and it is Identify that refuses.
func TestHandshakeWithoutCertificate(t *testing.T) {
	s := newSite(t)
	got := connect(t, s.server(t), s.client(t, devca.KeyPair{}))
	require.NoError(t, got.serverErr)
	require.NoError(t, got.clientErr)
	require.Empty(t, got.state.VerifiedChains)
	id, err := identifier(t, certs.RuleSHA256).Identify(nil)
	requireRefused(t, certs.ReasonNoCertificate, id, err)
}

func TestHandshakeRefusesClients(t *testing.T) {
	s := newSite(t)
	other, _ := newAuthority(t)
	expired := at(time.Now().Add(-2 * time.Hour))
	server, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	tests := map[string]struct {
		pair   devca.KeyPair
		server error // what the server's error is, and what the client hears
		client string
	}{
		"wrong CA": {issueClient(t, other, devca.ClientOptions{SPIFFEID: alice}),
			x509.UnknownAuthorityError{}, "unknown certificate authority"},
		"expired": {issueClient(t, s.authority, devca.ClientOptions{SPIFFEID: alice, Lifetime: time.Hour, Now: expired}),
			x509.CertificateInvalidError{Reason: x509.Expired}, "expired certificate"},
		"server's certificate": {server,
			x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}, "bad certificate"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := connect(t, s.server(t), s.client(t, test.pair))
			var refused *tls.CertificateVerificationError
			require.ErrorAs(t, got.serverErr, &refused)
			require.IsType(t, test.server, refused.Err)
			if want, ok := test.server.(x509.CertificateInvalidError); ok {
				require.Equal(t, want.Reason, refused.Err.(x509.CertificateInvalidError).Reason)
			}
			require.ErrorContains(t, got.clientErr, test.client)
		})
	}
}

func TestHandshakeRefusesTLS12(t *testing.T) {
	s := newSite(t)
	pair := issueClient(t, s.authority, devca.ClientOptions{SPIFFEID: alice})
	old := s.client(t, pair)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	got := connect(t, s.server(t), old)
	require.Error(t, got.serverErr)
	require.ErrorContains(t, got.clientErr, "protocol version not supported")

	oldServer := s.server(t)
	oldServer.MinVersion, oldServer.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	got = connect(t, oldServer, s.client(t, pair))
	require.Error(t, got.clientErr)
}

func TestHandshakeRefusesServers(t *testing.T) {
	s, other := newSite(t), newSite(t)
	t.Run("wrong CA", func(t *testing.T) {
		got := connect(t, other.server(t), s.client(t, devca.KeyPair{}))
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, got.clientErr, &unknown)
	})
	t.Run("wrong name", func(t *testing.T) {
		client := s.client(t, devca.KeyPair{})
		client.ServerName = "example.org"
		got := connect(t, s.server(t), client)
		var wrong x509.HostnameError
		require.ErrorAs(t, got.clientErr, &wrong)
	})
}

func TestServerConfigProtocols(t *testing.T) {
	s := newSite(t)
	for _, protocol := range []string{"h2", "http/1.1"} {
		client := s.client(t, devca.KeyPair{})
		client.NextProtos = []string{protocol}
		got := connect(t, s.server(t), client)
		require.NoError(t, got.clientErr)
		require.Equal(t, protocol, got.state.NegotiatedProtocol)
	}
}

// No pool would mean the system's: every public CA could then name our clients.
func TestServerConfigNeedsAuthorities(t *testing.T) {
	s := newSite(t)
	for name, pool := range map[string]*x509.CertPool{"nil": nil, "empty": x509.NewCertPool()} {
		t.Run(name, func(t *testing.T) {
			config, err := certs.ServerConfig(certs.ServerOptions{
				CertFile: s.path("server.crt"), KeyFile: s.path("server.key"), ClientCAs: pool,
			})
			require.Nil(t, config)
			require.ErrorIs(t, err, certs.ErrNoTrustAnchors)
		})
	}
}

func TestConfigsRefuseFiles(t *testing.T) {
	s := newSite(t)
	ca := s.path(devca.CertFile)
	clients := map[string]struct {
		opts certs.ClientOptions
		want error
	}{
		"no CA":            {certs.ClientOptions{}, certs.ErrNoTrustAnchors},
		"CA lost":          {certs.ClientOptions{CAFile: ca + "x"}, fs.ErrNotExist},
		"CA's key":         {certs.ClientOptions{CAFile: s.path(devca.KeyFile)}, certs.ErrDamaged},
		"leaf to trust":    {certs.ClientOptions{CAFile: s.path("server.crt")}, certs.ErrDamaged},
		"certificate only": {certs.ClientOptions{CAFile: ca, CertFile: s.path("server.crt")}, certs.ErrHalfPair},
		"key only":         {certs.ClientOptions{CAFile: ca, KeyFile: s.path("server.key")}, certs.ErrHalfPair},
	}
	for name, test := range clients {
		t.Run(name, func(t *testing.T) {
			config, err := certs.ClientConfig(test.opts)
			require.Nil(t, config)
			require.ErrorIs(t, err, test.want)
		})
	}
	t.Run("server without key", func(t *testing.T) {
		_, err := certs.ServerConfig(certs.ServerOptions{CertFile: s.path("server.crt"), ClientCAs: s.authority.Pool()})
		require.ErrorIs(t, err, certs.ErrHalfPair)
	})
}

func TestLoadPoolTakesSeveral(t *testing.T) {
	first, dir := newAuthority(t)
	second, otherDir := newAuthority(t)
	both := append(readFile(t, filepath.Join(dir, devca.CertFile)), '\n')
	both = append(both, readFile(t, filepath.Join(otherDir, devca.CertFile))...)
	pool, err := certs.LoadPool(writeFile(t, filepath.Join(dir, "both.crt"), both, 0o644))
	require.NoError(t, err)
	want := first.Pool()
	want.AddCert(second.Certificate())
	require.True(t, want.Equal(pool))
}
