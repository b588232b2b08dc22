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
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// SECURITY, line 6.
func TestCredentials_ExpiryEndsTheConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			t.Parallel()
			s := newGuardStation(t)
			all := s.streams("ends", "stays")
			for kind, mode := range modes {
				s.protect(kind, httpapi.Rule{Action: "orders:read", Mode: mode}, nothing)
			}
			short := s.Client(speaks, s.Mint(func(c *x509.Certificate) {
				servertest.WithURIs("spiffe://interlock.test/bob")(c)
				c.NotAfter = time.Now().Add(3 * time.Second)
			}))
			stays := s.watch(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), "/stays/1", all["stays"])
			ends := s.watch(short, "/ends/1", all["ends"])
			close(ends.from.leave)
			for kind := range modes {
				require.Equal(t, 200, s.Send(short, s.Request(http.MethodGet, "/"+kind+"/1", "")).StatusCode)
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
// connection is closed, and a new one is refused.
func (s *guardStation) requireShutOut(c *http.Client) {
	s.T.Helper()
	require.Eventually(s.T, func() bool {
		_, err := s.Try(c, s.Request(http.MethodGet, "/admit/1", ""))
		return err != nil && strings.Contains(err.Error(), "expired certificate")
	}, patience, 10*time.Millisecond)
}

// SECURITY, line 6.
func TestCredentials_ExpiryEndsAnIdleConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			t.Parallel()
			s := newGuardStation(t)
			s.protect("admit", httpapi.Rule{Action: "orders:read"}, nothing)
			c := s.Client(speaks, s.Mint(func(c *x509.Certificate) {
				servertest.WithURIs("spiffe://interlock.test/bob")(c)
				c.NotAfter = time.Now().Add(2 * time.Second)
			}))
			require.Equal(t, 200, s.Send(c, s.Request(http.MethodGet, "/admit/1", "")).StatusCode)
			require.EqualValues(t, 1, s.Connections.Counts().Open)
			s.requireOpen(0)
			require.EqualValues(t, 1, s.Connections.Counts().Ended)
			s.requireShutOut(c)
		})
	}
}

// TestCredentials_ExpiryOnAKeptConnection has a server that no one
// looks after, so that its connections outlive their certificates.
//
// SECURITY, line 6.
func TestCredentials_ExpiryOnAKeptConnection(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		for kind, mode := range modes {
			t.Run(kind+" "+string(speaks), func(t *testing.T) {
				t.Parallel()
				s := newGuardStation(t)
				s.protect("read", httpapi.Rule{Action: "orders:read", Mode: mode}, nothing)
				server := httpapi.NewServer(s.ServerOptions(s.router))
				server.ConnContext, server.ConnState = nil, nil
				s.Start(server)
				c := s.Client(speaks, s.Mint(func(c *x509.Certificate) {
					servertest.WithURIs("spiffe://interlock.test/bob")(c)
					c.NotAfter = time.Now().Add(3 * time.Second)
				}))
				// A second connection, which a client may open before it knows that the first is idle
				// again, would be refused as soon as the certificate has expired.
				c.Transport.(*http.Transport).MaxConnsPerHost = 1
				var got servertest.Reply
				require.Eventually(t, func() bool {
					got = s.Send(c, s.Request(http.MethodGet, "/read/1", ""))
					return got.StatusCode != 200
				}, patience, 10*time.Millisecond)
				requireEnded(t, got, speaks, "credential-expired")
			})
		}
	}
}

func requireEnded(t testing.TB, got servertest.Reply, speaks servertest.Wire, why string) {
	t.Helper()
	require.Equal(t, 401, got.StatusCode)
	require.Equal(t, "urn:interlock:problem:"+why, got.Problem(t)["type"])
	require.Equal(t, speaks == servertest.HTTP1, got.Close, "HTTP/2 says GOAWAY instead")
}

// SECURITY, line 6.
func TestCredentials_RevocationEndsOperations(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		all := s.streams("ends", "stays")
		s.protect("admit", httpapi.Rule{Action: "orders:read"}, nothing)
		stolen := s.Issue("spiffe://interlock.test/bob")
		thief := s.Client(speaks, stolen)
		other := s.Client(speaks, stolen)
		require.Equal(t, 200, s.Send(other, s.Request(http.MethodGet, "/admit/1", "")).StatusCode)
		stays := s.watch(s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), "/stays/1", all["stays"])
		ends := s.watch(thief, "/ends/1", all["ends"])
		close(ends.from.leave)
		id, err := policy.ByFingerprint(servertest.FingerprintOf(stolen))
		require.NoError(t, err)
		receipt := requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen")))
		require.Len(t, receipt.Ended, 1)
		require.Equal(t, servertest.FingerprintOf(stolen), receipt.Ended[0].Credential)
		_, err = io.ReadAll(ends.text)
		requireBroken(t, speaks, err)
		require.Equal(t, 2, receipt.Connections, "a busy and an idle one")
		s.requireOpen(1)
		other.CloseIdleConnections() // if it has not seen so far that it is closed
		requireEnded(t, s.Send(other, s.Request(http.MethodGet, "/admit/1", "")), speaks, "credential-revoked")
		stays.requireUndisturbed()
	}
}
