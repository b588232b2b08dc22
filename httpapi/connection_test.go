package httpapi_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// limited is a guard station whose server has other limits.
func limited(t *testing.T, limits httpapi.ConnectionLimits) *guardStation {
	t.Helper()
	s := newGuardStation(t)
	s.Serve(s.router, func(o *httpapi.ServerOptions) {
		o.ReadTimeout, o.WriteTimeout, o.Limits = time.Hour, time.Hour, limits
	})
	s.router.Handle("/whoami", whoami(s.Connections))
	return s
}

func (s *guardStation) whoami(c *http.Client) servertest.Reply {
	s.T.Helper()
	return s.Send(c, s.Request(http.MethodGet, "/whoami", ""))
}

// SECURITY, line 6.
func TestCredentials_RevocationClosesOnlyItsConnections(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := limited(t, httpapi.ConnectionLimits{})
			stolen := s.Issue("spiffe://interlock.test/bob")
			one, two, other := s.Client(speaks, stolen), s.Client(speaks, stolen), s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
			before := s.whoami(one).Text
			s.whoami(two)
			stays := s.whoami(other).Text
			id, err := policy.ByFingerprint(servertest.FingerprintOf(stolen))
			require.NoError(t, err)
			require.Equal(t, 2, requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen"))).Connections)
			s.requireOpen(1)
			require.Equal(t, stays, s.whoami(other).Text, "the same connection")
			one.CloseIdleConnections()
			require.NotEqual(t, before, s.whoami(one).Text, "another connection")
			require.Zero(t, requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen"))).Connections,
				"who connects anew by it is told to close at once")
			s.requireOpen(1)
		})
	}
}

// TestCredentials_GoAwayLetsAClientRetry sends a request that cannot be sent twice by itself
// on a connection that is being closed.
//
// SECURITY, line 6.
func TestCredentials_GoAwayLetsAClientRetry(t *testing.T) {
	s := limited(t, httpapi.ConnectionLimits{})
	stolen := s.Issue("spiffe://interlock.test/bob")
	c := s.Client(servertest.HTTP2, stolen)
	s.whoami(c)
	id, err := policy.ByFingerprint(servertest.FingerprintOf(stolen))
	require.NoError(t, err)
	requireQuiesced(t, s.update(policy.RevokeCertificate(id, "stolen")))
	s.protect("read", httpapi.Rule{Action: "orders:read"}, nothing)
	s.Send(c, s.Request(http.MethodPost, "/read/1", "a body")).RequireProblem(t, 401, "credential-revoked")
}

// SECURITY, line 9.
func TestTLS_ConnectionsHaveAMaxAge(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			t.Parallel()
			s := limited(t, httpapi.ConnectionLimits{MaxAge: 2 * time.Second}) // both clients connect within it
			held := newStream()
			s.router.Handle("/held", held)
			c, idle := s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
			s.whoami(idle)
			holds := s.watch(c, "/held", held)
			require.Eventually(t, func() bool { return s.Connections.Counts().MaxAge >= 2 }, patience, time.Millisecond)
			holds.requireUndisturbed() // a request in progress is completed
			before := s.whoami(idle)
			require.Equal(t, speaks == servertest.HTTP1, before.Close, "HTTP/2 says GOAWAY instead")
			require.Equal(t, 200, before.StatusCode, "whoever is told so has got its answer")
			require.NotEqual(t, before.Text, s.whoami(idle).Text, "another connection")
			require.EqualValues(t, 0, s.Connections.Counts().Ended)
		})
	}
}

// SECURITY, line 10.
func TestLimits_ConnectionsPerPrincipal(t *testing.T) {
	for _, speaks := range servertest.Wires {
		t.Run(string(speaks), func(t *testing.T) {
			s := limited(t, httpapi.ConnectionLimits{PerPrincipal: 2})
			var clients []*http.Client
			for range 2 {
				c := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
				require.Equal(t, 200, s.whoami(c).StatusCode)
				clients = append(clients, c)
			}
			third := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
			got := s.whoami(third)
			got.RequireProblem(t, 429, "too-many-connections")
			require.Equal(t, speaks == servertest.HTTP1, got.Close, "HTTP/2 says GOAWAY instead")
			require.EqualValues(t, 1, s.Connections.Counts().Refused)
			require.Equal(t, 200, s.whoami(s.As("alice")).StatusCode, "another principal")
			require.Equal(t, 200, s.whoami(clients[0]).StatusCode, "the open ones")
			clients[0].CloseIdleConnections()
			require.Eventually(t, func() bool { return s.whoami(third).StatusCode == 200 }, patience, 10*time.Millisecond)
		})
	}
}

// SECURITY, line 10.
func TestLimits_Connections(t *testing.T) {
	s := limited(t, httpapi.ConnectionLimits{Max: 2})
	one, two := s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/bob")), s.Client(servertest.HTTP1)
	require.Equal(t, 200, s.whoami(one).StatusCode)
	require.Equal(t, 401, s.whoami(two).StatusCode) // which closes it
	s.requireOpen(1)
	held := newStream()
	s.router.Handle("/held", held)
	holds := s.watch(two, "/held", held)
	third := s.As("alice")
	_, err := s.Try(third, s.Request(http.MethodGet, "/whoami", ""))
	require.Error(t, err)
	require.EqualValues(t, 1, s.Connections.Counts().Refused)
	holds.requireUndisturbed()
	two.CloseIdleConnections()
	s.requireOpen(1)
	require.Equal(t, 200, s.whoami(third).StatusCode)
	require.Equal(t, 200, s.whoami(one).StatusCode)
}

// TestConnectionsAreForgotten checks that a server keeps nothing of closed connections.
func TestConnectionsAreForgotten(t *testing.T) {
	for _, speaks := range servertest.Wires {
		s := limited(t, httpapi.ConnectionLimits{PerPrincipal: 3})
		hijacks := make(chan struct{}, 1)
		s.router.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_ = conn.Close()
				hijacks <- struct{}{}
			}
		})
		for range 8 {
			c := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
			require.Equal(t, 200, s.whoami(c).StatusCode)
			if speaks == servertest.HTTP1 {
				answer, err := c.Do(s.Request(http.MethodGet, "/hijack", ""))
				if err == nil {
					_, _ = io.Copy(io.Discard, answer.Body)
					_ = answer.Body.Close()
				}
				await(t, hijacks)
			}
			c.CloseIdleConnections()
			s.requireOpen(0)
		}
	}
}

// SECURITY, line 10.
func TestLimits_UnauthenticatedConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		s := limited(t, httpapi.ConnectionLimits{UnauthenticatedTimeout: 50 * time.Millisecond})
		s.router.HandleFunc("/open", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "open") })
		held := newStream()
		s.router.Handle("/held", held)
		idle, busy, known := s.Client(speaks), s.Client(speaks), s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
		before := s.whoami(known).Text
		require.Equal(t, "open", s.Send(idle, s.Request(http.MethodGet, "/open", "")).Text)
		holds := s.watch(busy, "/held", held)
		s.requireOpen(2)
		holds.requireUndisturbed()
		s.requireOpen(1)
		require.Equal(t, before, s.whoami(known).Text, "the same connection")
	}
}

// TestCredentials_ACAThatMayNoLongerCertify: connections that stand are looked at anew,
// at their next request or when a caller asks.
//
// SECURITY, line 6.
func TestCredentials_ACAThatMayNoLongerCertify(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		s := limited(t, httpapi.ConnectionLimits{})
		bob, idle := s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
		require.Equal(t, 200, s.whoami(bob).StatusCode)
		require.Equal(t, 200, s.whoami(idle).StatusCode)
		s.Connections.Use(new(certs.Identifier).Under(s.authorities("ca")))
		require.Empty(t, s.Connections.Reidentify(), "it is another look, with the same end")
		s.NewAuthority("other" + string(speaks[5:]))
		s.Connections.Use(new(certs.Identifier).Under(s.authorities("other" + string(speaks[5:]))))
		s.whoami(bob).RequireProblem(t, 401, "no-identity")
		require.Len(t, s.Connections.Reidentify(), 1, "the other has asked for nothing since")
		s.requireOpen(0)
		require.Empty(t, s.Connections.Reidentify())
	}
}

// TestCredentials_RevocationEndsAConnectionAtMaxAge checks that a revocation ends a
// connection that its age has already ended for later requests.
//
// SECURITY, line 6.
func TestCredentials_RevocationEndsAConnectionAtMaxAge(t *testing.T) {
	t.Parallel()
	s := limited(t, httpapi.ConnectionLimits{MaxAge: 50 * time.Millisecond})
	held := newStream()
	s.router.Handle("/held", held)
	stolen := s.Issue("spiffe://interlock.test/bob")
	holds := s.watch(s.Client(servertest.HTTP2, stolen), "/held", held)
	require.Eventually(t, func() bool { return s.Connections.Counts().MaxAge == 1 }, patience, time.Millisecond)
	require.Equal(t, 1, requireQuiesced(t, s.update(s.revocationOf(stolen))).Connections)
	holds.requireUndisturbed()
	s.requireOpen(0)
}

// TestConnectionsOfTheirAgeDoNotCount checks that a client which reconnects when asked gets
// another connection.
func TestConnectionsOfTheirAgeDoNotCount(t *testing.T) {
	s := limited(t, httpapi.ConnectionLimits{MaxAge: 50 * time.Millisecond, PerPrincipal: 1})
	held := newStream()
	s.router.Handle("/held", held)
	holds := s.watch(s.As("bob"), "/held", held)
	require.Eventually(t, func() bool { return s.Connections.Counts().MaxAge == 1 }, patience, time.Millisecond)
	require.Equal(t, 200, s.whoami(s.As("bob")).StatusCode)
	holds.requireUndisturbed()
}

// TestCredentials_HTTP2GetsGoAway reads the frames of a connection whose certificate ends.
//
// SECURITY, line 6.
func TestCredentials_HTTP2GetsGoAway(t *testing.T) {
	t.Parallel()
	s := limited(t, httpapi.ConnectionLimits{})
	stolen := s.Issue("spiffe://interlock.test/bob")
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{
		RootCAs: s.Authority.Pool(), Certificates: []tls.Certificate{stolen}, NextProtos: []string{"h2"},
	})
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // and empty SETTINGS
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
	readUntil(t, conn, "\x00\x00\x00\x04\x01\x00\x00\x00\x00") // the client has read the settings
	require.Equal(t, 1, requireQuiesced(t, s.update(s.revocationOf(stolen))).Connections)
	text, err := io.ReadAll(conn)
	require.NoError(t, err, "it ends as it should")
	last := text[len(text)-17:]
	require.Equal(t, []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}, last, "GOAWAY, without an error")
}

// readUntil reads up to the end of a text.
func readUntil(t testing.TB, from io.Reader, end string) {
	t.Helper()
	var read []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(read), end); read = append(read, one...) {
		_, err := io.ReadFull(from, one)
		require.NoError(t, err)
	}
}

// idle opens a connection that makes no request. With a protocol it also completes the handshake.
func (s *guardStation) idle(protocol string, chain ...tls.Certificate) net.Conn {
	s.T.Helper()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // others come from 127.0.0.1
	conn, err := from.Dial("tcp", strings.TrimPrefix(s.URL, "https://"))
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.Close() })
	if protocol == "" {
		return conn
	}
	secure := tls.Client(conn, &tls.Config{RootCAs: s.Authority.Pool(), ServerName: "localhost", Certificates: chain, NextProtos: []string{protocol}})
	require.NoError(s.T, secure.Handshake())
	if protocol == "h2" {
		_, err = io.WriteString(secure, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		require.NoError(s.T, err)
	}
	return secure
}

// SECURITY, line 25.
func TestLimits_NamelessAndCrowdedConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	s := limited(t, httpapi.ConnectionLimits{PerPrincipal: 1, UnauthenticatedTimeout: 50 * time.Millisecond})
	nameless := s.IssueBy(s.Authority, devca.ClientOptions{DNSNames: []string{"a.example", "b.example"}})
	bob := s.Issue("spiffe://interlock.test/bob")
	first := s.As("bob")
	require.Equal(t, 200, s.whoami(first).StatusCode)
	for name, conn := range map[string]net.Conn{
		"a certificate without an identity": s.idle("h2", nameless), "over the limit of its principal": s.idle("h2", bob), "no certificate": s.idle("h2"),
	} {
		t.Log(name)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		requireClosed(t, conn)
	}
	require.Equal(t, 200, s.whoami(first).StatusCode, "the same connection")
	s.requireOpen(1)
}

// TestLimits_NoClientTakesAllConnections has one client take all that it can. Another one still connects.
//
// SECURITY, line 25.
func TestLimits_NoClientTakesAllConnections(t *testing.T) {
	const most = 60
	bob := func(s *guardStation) net.Conn { return s.idle("h2", s.Issue("spiffe://interlock.test/bob")) }
	for name, open := range map[string]func(*guardStation) net.Conn{
		"without TLS": func(s *guardStation) net.Conn { return s.idle("") },
		"without a certificate": func(s *guardStation) net.Conn {
			conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{RootCAs: s.Authority.Pool(), NextProtos: []string{"h2"}})
			if err != nil { // over the limit
				return nil
			}
			_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
			s.T.Cleanup(func() { _ = conn.Close() })
			return conn
		},
		"of one principal": bob,
	} {
		t.Run(name, func(t *testing.T) {
			s := limited(t, httpapi.ConnectionLimits{Max: most, UnauthenticatedTimeout: time.Hour})
			tries := most - 1
			if name == "of one principal" {
				tries = most/2 + 5 // of which a request gets 429
			}
			for range tries {
				open(s)
			}
			require.Eventually(t, func() bool { return s.Connections.Counts().Refused > 0 }, patience, time.Millisecond)
			for range 5 {
				require.Equal(t, 200, s.whoami(s.As("alice")).StatusCode)
			}
		})
	}
}
