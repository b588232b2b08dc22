package certs_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
)

// trustStage is a Trust on the files of a CA: a server's certificate, the CA as trust anchor, and its CRL.
type trustStage struct {
	*devca.CA
	*certs.Trust
	dir string
}

func newTrustStage(t *testing.T, alter ...func(*certs.TrustOptions)) *trustStage {
	t.Helper()
	ca, dir := newAuthority(t)
	s := &trustStage{CA: ca, dir: dir}
	s.issue(t)
	s.writeCRL(t, 1, time.Hour)
	opts := certs.TrustOptions{
		Source: certs.Files{
			Certificate: s.file("server.crt"), Key: s.file("server.key"),
			TrustAnchors: []certs.Binding{{File: s.file(devca.CertFile)}},
		},
		CRLs: []string{s.file("ca.crl")},
	}
	for _, f := range alter {
		f(&opts)
	}
	var err error
	s.Trust, err = certs.NewTrust(opts)
	require.NoError(t, err)
	return s
}

func (s *trustStage) file(name string) string { return filepath.Join(s.dir, name) }

func (s *trustStage) issue(t *testing.T) {
	t.Helper()
	pair, err := s.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(s.dir, "server", true))
}

func (s *trustStage) writeCRL(t *testing.T, number int64, lifetime time.Duration, serials ...int64) {
	t.Helper()
	var all []*big.Int
	for _, n := range serials {
		all = append(all, big.NewInt(n))
	}
	text, err := s.SignCRL(big.NewInt(number), all, time.Now().Add(-time.Minute), time.Now().Add(lifetime))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.file("ca.new"), text, 0o600))
	require.NoError(t, os.Rename(s.file("ca.new"), s.file("ca.crl")))
}

// watch runs Watch until the test ends.
func (s *trustStage) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Watch(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

func TestTrustReloadsAllOrNothing(t *testing.T) {
	s := newTrustStage(t)
	issuer := s.State().TrustAnchors().Issuers()[0]
	first := s.State()
	changed, err := s.Reload()
	require.NoError(t, err)
	require.False(t, changed)
	require.Same(t, first, s.State())

	s.issue(t)
	s.writeCRL(t, 2, time.Hour, 0x2a)
	key := readFile(t, s.file("server.key"))
	writeFile(t, s.file("server.key"), []byte("no key"), 0o600)
	_, err = s.Reload()
	require.ErrorIs(t, err, certs.ErrDamaged)
	require.Same(t, first, s.State(), "the CRL is not loaded without the certificate")
	require.ErrorContains(t, s.Fault(), "the last reload failed")

	writeFile(t, s.file("server.key"), key, 0o600)
	changed, err = s.Reload()
	require.NoError(t, err)
	require.True(t, changed)
	require.NoError(t, s.Fault())
	require.False(t, first.Revoked(issuer, "2a"))
	require.True(t, s.State().Revoked(issuer, "2a"))
	require.False(t, first.Certificate().Equal(s.State().Certificate()))
	require.Equal(t, certs.ReloadCounts{Loaded: 2, Unchanged: 1, Rejected: 1}, s.Counts())
}

func TestTrustHooksSeeEachStateBeforeHandshakesDo(t *testing.T) {
	s := newTrustStage(t)
	var seen []*certs.TrustState
	refusal := errors.New("refused")
	var refuse error
	require.NoError(t, s.OnReload(func(next *certs.TrustState) error {
		seen = append(seen, next)
		if len(seen) > 1 {
			require.NotSame(t, next, s.State())
		}
		return refuse
	}))
	first := s.State()
	require.Equal(t, []*certs.TrustState{first}, seen)

	s.issue(t)
	refuse = refusal
	_, err := s.Reload()
	require.ErrorIs(t, err, refusal)
	require.Same(t, first, s.State())
	refuse = nil
	changed, err := s.Reload()
	require.NoError(t, err)
	require.True(t, changed, "what a hook refused is loaded by the next reload")
	require.Same(t, seen[2], s.State())

	require.ErrorIs(t, s.OnReload(func(*certs.TrustState) error { return refusal }), refusal)
	s.issue(t)
	_, err = s.Reload()
	require.NoError(t, err, "a hook that failed at first is not registered")
}

func TestTrustRevokesWhatAWithdrawnCAIssued(t *testing.T) {
	s := newTrustStage(t, func(o *certs.TrustOptions) { o.CRLs = nil })
	issuer := s.State().Issuers()[0]
	_, otherDir := newAuthority(t)
	writeFile(t, s.file(devca.CertFile), readFile(t, filepath.Join(otherDir, devca.CertFile)), 0o644)
	require.False(t, s.State().Revoked(issuer, "01"))
	_, err := s.Reload()
	require.NoError(t, err)
	require.True(t, s.State().Revoked(issuer, "01"))
}

func TestTrustWatchesFilesAndStaleCRLs(t *testing.T) {
	for _, accept := range []bool{false, true} {
		s := newTrustStage(t, func(o *certs.TrustOptions) { o.AcceptStaleCRLs = accept })
		states := make(chan *certs.TrustState, 16)
		require.NoError(t, s.OnReload(func(next *certs.TrustState) error { states <- next; return nil }))
		issuer := (<-states).Issuers()[0]
		s.watch(t)
		s.writeCRL(t, 2, time.Second)
		for {
			next := <-states
			require.Equal(t, len(next.StaleCRLs()) > 0 && !accept, next.Revoked(issuer, "01"))
			if len(next.StaleCRLs()) > 0 {
				break
			}
		}
		require.Eventually(t, func() bool { return s.Fault() != nil }, time.Minute, time.Millisecond)
		require.ErrorContains(t, s.Fault(), "is stale")
	}
}

// A ticket of before a rotation is not resumed, though nothing else has changed.
func TestTrustRotatesSessionTickets(t *testing.T) {
	s := newTrustStage(t, func(o *certs.TrustOptions) { o.TicketRotation = 200 * time.Millisecond })
	listener, err := tls.Listen("tcp", "127.0.0.1:0", s.ServerConfig())
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); _, _ = conn.Write([]byte("x")) }()
		}
	}()
	client := &tls.Config{RootCAs: s.Pool(), ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	resumed := func() bool {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", listener.Addr().String(), client)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.ReadAll(conn) // and so the ticket
		require.NoError(t, err)
		return conn.ConnectionState().DidResume
	}
	require.False(t, resumed())
	require.True(t, resumed())
	rotated := make(chan struct{}, 16)
	first := s.State()
	require.NoError(t, s.OnReload(func(next *certs.TrustState) error {
		if next != first {
			rotated <- struct{}{}
		}
		return nil
	}))
	s.watch(t)
	<-rotated
	require.Eventually(t, func() bool { return s.State() != first }, time.Minute, time.Millisecond)
	require.False(t, resumed())
}

func TestNewTrustNeedsTrustAnchors(t *testing.T) {
	ca, dir := newAuthority(t)
	pair, err := ca.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, pair.Write(dir, "server", false))
	_, err = certs.NewTrust(certs.TrustOptions{Source: certs.Files{Certificate: filepath.Join(dir, "server.crt"), Key: filepath.Join(dir, "server.key")}})
	require.ErrorIs(t, err, certs.ErrNoTrustAnchors)
}

func TestAKeyInPlaceOfACertificateNamesTheCertificate(t *testing.T) {
	pair := issueClient(t, newTrustStage(t).CA, devca.ClientOptions{SPIFFEID: alice})
	_, err := certs.ParseCertificates("in/alice.key", pair.KeyPEM)
	require.ErrorIs(t, err, certs.ErrDamaged)
	require.ErrorContains(t, err, "in/alice.key: is a private key; pass the certificate's file instead, such as in/alice.crt")
}

func TestTrustKnowsTheCertificatesOfItsCAs(t *testing.T) {
	s := newTrustStage(t)
	ca := s.State().TrustAnchors().Certificates()[0]
	credentials, err := certs.CredentialsOf([]*x509.Certificate{ca})
	require.NoError(t, err)
	fingerprint, issuer := hex.EncodeToString(credentials[0].SHA256[:]), hex.EncodeToString(credentials[0].IssuerSPKI[:])
	serial := strings.TrimLeft(credentials[0].Serial, "0")
	require.True(t, s.State().IsCA(fingerprint, "", ""))
	require.True(t, s.State().IsCA("", issuer, serial))
	require.False(t, s.State().IsCA("", issuer, serial+"0"))
	require.False(t, s.State().IsCA("", strings.Repeat("0", 64), serial))
	require.False(t, s.State().IsCA(strings.Repeat("0", 64), "", ""))
	own := sha256.Sum256(s.State().Certificate().Raw)
	require.False(t, s.State().IsCA(hex.EncodeToString(own[:]), "", ""))
}
