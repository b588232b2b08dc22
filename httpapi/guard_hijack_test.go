package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// taken is what a handler got by hijacking.
type taken struct {
	net.Conn
	w http.ResponseWriter
}

// hijack protects a handler that hijacks and says hello, and stays until it may leave.
func (s *guardStation) hijack(leave <-chan struct{}) <-chan taken {
	hijacked := make(chan taken, 1)
	s.protect("hijack", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			s.T.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "hello\n")
		hijacked <- taken{conn, w}
		<-leave
	})
	return hijacked
}

// raw is the connection of a caller, for bytes that no client library sends.
func (s *station) raw(name string) net.Conn {
	s.T.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL, "https://"), &tls.Config{
		RootCAs: s.Authority.Pool(), NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{s.Issue("spiffe://interlock.test/" + name)},
	})
	require.NoError(s.T, err)
	require.NoError(s.T, conn.SetDeadline(time.Now().Add(patience)))
	s.T.Cleanup(func() { _ = conn.Close() })
	return conn
}

// sayHello asks for the hijacking and reads the handler's hello.
func (s *guardStation) sayHello() *bufio.Reader {
	s.T.Helper()
	conn := s.raw("bob")
	_, err := io.WriteString(conn, "GET /hijack/1 HTTP/1.1\r\nHost: a\r\n\r\n")
	require.NoError(s.T, err)
	text := bufio.NewReader(conn)
	line, err := text.ReadString('\n')
	require.NoError(s.T, err)
	require.Equal(s.T, "hello\n", line)
	return text
}

// requireClosed finds that the other side closed it: it is not silent until the deadline.
func requireClosed(t testing.TB, from io.Reader) {
	t.Helper()
	_, err := io.ReadAll(from)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestG2_RevocationClosesAHijackedConnectionAndWaitsForTheHandler(t *testing.T) {
	s := newGuardStation(t)
	leave := make(chan struct{})
	hijacked := s.hijack(leave)
	client := s.sayHello()
	conn := await(t, hijacked)
	update := s.revoke("bob", "watcher-of-1")
	requireClosed(t, client)
	for _, set := range []func(time.Time) error{conn.SetDeadline, conn.SetReadDeadline, conn.SetWriteDeadline} {
		require.ErrorIs(t, set(time.Now().Add(time.Hour)), actors.ErrRevoked)
	}
	_, err := conn.Write([]byte("late"))
	require.ErrorIs(t, err, net.ErrClosed)
	s.requireRunning(1)
	close(leave)
	require.Equal(t, actors.HowCanceled, requireQuiesced(t, update).Ended[0].How)
}

// TestG2_RevocationClosesAConnectionWhoseHandlerHasReturned is how most upgrades work: the
// handler hands the connection over, and the server ends the request's context.
func TestG2_RevocationClosesAConnectionWhoseHandlerHasReturned(t *testing.T) {
	s := newGuardStation(t)
	leave := make(chan struct{})
	hijacked := s.hijack(leave)
	client := s.sayHello()
	conn := await(t, hijacked)
	close(leave)
	read := make(chan error, 1)
	go func() { _, err := conn.Read(make([]byte, 1)); read <- err }()
	require.Len(t, s.leases(), 1, "the connection is part of the operation")
	receipt := requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
	require.Equal(t, actors.HowCanceled, receipt.Ended[0].How)
	require.Error(t, await(t, read))
	requireClosed(t, client)
}

func TestG2_AnUpdateWaitsForAHijackedConnection(t *testing.T) {
	s := newGuardStation(t)
	leave := make(chan struct{})
	close(leave)
	hijacked := s.hijack(leave)
	client := s.sayHello()
	conn := await(t, hijacked)
	requireQuiesced(t, s.revoke("alice", "watcher-of-1"))
	require.Len(t, s.leases(), 1, "others' revocations leave it alone")
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err := io.WriteString(conn, "more\n")
	require.NoError(t, err)
	line, err := client.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "more\n", line)

	require.NoError(t, conn.Close())
	_ = conn.Close() // as every defer does
	s.requireNoLeases()
	require.Empty(t, requireQuiesced(t, s.revoke("bob", "watcher-of-1")).Ended)
	requireClosed(t, client)
}

func TestG2_NoHijackingAfterTheRevocation(t *testing.T) {
	s := newGuardStation(t)
	began, refused := make(chan struct{}), make(chan error, 1)
	s.protect("late", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		rc := http.NewResponseController(w)
		for rc.SetWriteDeadline(time.Time{}) == nil {
			continue // until the guard has seen it as well
		}
		_, _, err := rc.Hijack()
		refused <- err
	})
	go func() {
		_, _ = s.Try(s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/bob")), s.Request(http.MethodGet, "/late/1", ""))
	}()
	await(t, began)
	requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
	require.ErrorIs(t, await(t, refused), actors.ErrRevoked)
}

func TestGuardCannotHijackHTTP2(t *testing.T) {
	s := newGuardStation(t)
	refused := make(chan error, 1)
	s.protect("admit", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, _ *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		refused <- err
	})
	require.Equal(t, 200, s.Send(s.As("bob"), s.Request(http.MethodGet, "/admit/1", "")).StatusCode)
	require.True(t, isUnsupported(await(t, refused)))
}

// TestG2_ARevokedWebSocketGetsAPolicyViolation checks the close code that a browser or a
// WebSocket library reports.
func TestG2_ARevokedWebSocketGetsAPolicyViolation(t *testing.T) {
	s := newGuardStation(t)
	leave := make(chan struct{})
	close(leave)
	hijacked := s.hijack(leave)
	conn := s.raw("bob")
	_, err := io.WriteString(conn, "GET /hijack/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	<-hijacked
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
	update := s.revoke("bob", "watcher-of-1")
	rest, _ := io.ReadAll(r) // the connection may end without a TLS alert
	require.Equal(t, []byte{0x88, 2, 0x03, 0xf0}, rest)
	requireQuiesced(t, update)
}
