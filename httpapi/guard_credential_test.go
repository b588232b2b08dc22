package httpapi_test

import (
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

func TestSecurity6_ACertificateThatExpiresEndsItsConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range wires {
		t.Run(string(speaks), func(t *testing.T) {
			t.Parallel()
			s := newGuardStation(t)
			all := s.streams("ends", "stays")
			for kind, mode := range modes {
				s.protect(kind, httpapi.Rule{Action: "orders:read", Mode: mode}, nothing)
			}
			short := s.client(speaks, s.mint(func(c *x509.Certificate) {
				withURIs("spiffe://interlock.test/bob")(c)
				c.NotAfter = time.Now().Add(3 * time.Second)
			}))
			stays := s.watch(s.client(speaks, s.issue("spiffe://interlock.test/bob")), "/stays/1", all["stays"])
			ends := s.watch(short, "/ends/1", all["ends"])
			close(ends.from.leave)
			for kind := range modes {
				require.Equal(t, 200, s.send(short, s.request(http.MethodGet, "/"+kind+"/1", "")).StatusCode)
			}
			require.ErrorIs(t, await(t, ends.from.ended), actors.ErrRevoked)
			_, err := io.ReadAll(ends.text)
			requireBroken(t, speaks, err)
			s.requireShutOut(short)
			stays.requireUndisturbed()
		})
	}
}

// requireShutOut finds that a client of an expired certificate gets through no more: its
// connection is closed, and there is no connecting anew.
func (s *guardStation) requireShutOut(c *http.Client) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := s.try(c, s.request(http.MethodGet, "/admit/1", ""))
		return err != nil && strings.Contains(err.Error(), "expired certificate")
	}, patience, 10*time.Millisecond)
}

func TestSecurity6_AnExpiredCertificateEndsAnIdleConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range wires {
		t.Run(string(speaks), func(t *testing.T) {
			t.Parallel()
			s := newGuardStation(t)
			s.protect("admit", httpapi.Rule{Action: "orders:read"}, nothing)
			c := s.client(speaks, s.mint(func(c *x509.Certificate) {
				withURIs("spiffe://interlock.test/bob")(c)
				c.NotAfter = time.Now().Add(2 * time.Second)
			}))
			require.Equal(t, 200, s.send(c, s.request(http.MethodGet, "/admit/1", "")).StatusCode)
			require.EqualValues(t, 1, s.connections.Counts().Open)
			s.requireOpen(0)
			require.EqualValues(t, 1, s.connections.Counts().Ended)
			s.requireShutOut(c)
		})
	}
}

// TestSecurity6_AnExpiredCertificateIsRefusedOnAKeptConnection has a server that nobody
// looks after, so that its connections outlive their certificates.
func TestSecurity6_AnExpiredCertificateIsRefusedOnAKeptConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range wires {
		for kind, mode := range modes {
			t.Run(kind+" "+string(speaks), func(t *testing.T) {
				t.Parallel()
				s := newGuardStation(t)
				s.protect("read", httpapi.Rule{Action: "orders:read", Mode: mode}, nothing)
				server := httpapi.NewServer(s.serverOptions(s.router))
				server.ConnContext, server.ConnState = nil, nil
				s.start(server)
				c := s.client(speaks, s.mint(func(c *x509.Certificate) {
					withURIs("spiffe://interlock.test/bob")(c)
					c.NotAfter = time.Now().Add(3 * time.Second)
				}))
				var got reply
				require.Eventually(t, func() bool {
					got = s.send(c, s.request(http.MethodGet, "/read/1", ""))
					return got.StatusCode != 200
				}, patience, 10*time.Millisecond)
				requireEnded(t, got, speaks, "credential-expired")
			})
		}
	}
}

func requireEnded(t testing.TB, got reply, speaks wire, why string) {
	t.Helper()
	require.Equal(t, 401, got.StatusCode)
	require.Equal(t, "urn:interlock:problem:"+why, got.problem(t)["type"])
	require.Equal(t, speaks == http1, got.Close, "HTTP/2 says GOAWAY instead")
}

func TestSecurity6_ARevokedCertificateEndsWhatItBegan(t *testing.T) {
	for _, speaks := range wires {
		s := newGuardStation(t)
		all := s.streams("ends", "stays")
		s.protect("admit", httpapi.Rule{Action: "orders:read"}, nothing)
		stolen := s.issue("spiffe://interlock.test/bob")
		thief := s.client(speaks, stolen)
		other := s.client(speaks, stolen)
		require.Equal(t, 200, s.send(other, s.request(http.MethodGet, "/admit/1", "")).StatusCode)
		stays := s.watch(s.client(speaks, s.issue("spiffe://interlock.test/bob")), "/stays/1", all["stays"])
		ends := s.watch(thief, "/ends/1", all["ends"])
		close(ends.from.leave)
		id, err := policy.ByFingerprint(fingerprintOf(stolen))
		require.NoError(t, err)
		receipt := requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen")))
		require.Len(t, receipt.Ended, 1)
		require.Equal(t, fingerprintOf(stolen), receipt.Ended[0].Credential)
		_, err = io.ReadAll(ends.text)
		requireBroken(t, speaks, err)
		require.Equal(t, 2, receipt.Connections, "a busy and an idle one")
		s.requireOpen(1)
		other.CloseIdleConnections() // if it has not seen so far that it is closed
		requireEnded(t, s.send(other, s.request(http.MethodGet, "/admit/1", "")), speaks, "credential-revoked")
		stays.requireUndisturbed()
	}
}

// TestSecurity6_AListEndsAnAdministratorToo: also what is being decided in the log.
func TestSecurity6_AListEndsAnAdministratorToo(t *testing.T) {
	s := newAdminStation(t)
	cert := s.issue("spiffe://interlock.test/admin")
	c := s.client(http2, cert)
	change := `{"changes":[` + grant("bob", "reader") + `]}`
	require.Equal(t, 200, s.post(c, "/v1/changes", change).StatusCode)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	_, err = s.engine.UseRevocationLists(t.Context(), revokedSerial(leaf.SerialNumber.Text(16)))
	require.NoError(t, err)
	before := s.engine.Revision()
	for _, path := range []string{"/v1/changes", "/v1/changes?dry-run=true"} {
		s.post(c, path, change).requireProblem(t, 401, "credential-revoked")
	}
	s.send(c, s.request(http.MethodGet, "/v1/policy", "")).requireProblem(t, 401, "credential-revoked")
	require.Equal(t, before, s.engine.Revision())
	require.Equal(t, 200, s.get("admin", "/v1/policy").StatusCode, "another certificate of the same administrator")
}

// revokedSerial is a list that revokes one certificate, of any authority.
type revokedSerial string

// Revoked implements [actors.RevocationLists].
func (r revokedSerial) Revoked(_, serial string) bool { return serial == string(r) }
