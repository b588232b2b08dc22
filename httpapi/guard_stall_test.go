package httpapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// stallable is a connection whose reading stops when it is told, so that the other side
// cannot send for long.
type stallable struct {
	net.Conn
	stalled atomic.Bool
	closed  chan struct{}
	once    sync.Once
}

func (c *stallable) Read(p []byte) (int, error) {
	if c.stalled.Load() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Read(p)
}

func (c *stallable) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// stallingClient is a client whose connection can be stalled.
func (s *guardStation) stallingClient(speaks servertest.Wire, name string) (*http.Client, *atomic.Pointer[stallable]) {
	c := s.Client(speaks, s.Issue("spiffe://interlock.test/"+name))
	transport := c.Transport.(*http.Transport)
	config := transport.TLSClientConfig.Clone()
	config.NextProtos = map[servertest.Wire][]string{servertest.HTTP1: {"http/1.1"}, servertest.HTTP2: {"h2"}}[speaks]
	config.ServerName = "127.0.0.1"
	dialled := &atomic.Pointer[stallable]{}
	transport.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		raw := &stallable{Conn: conn, closed: make(chan struct{})}
		dialled.Store(raw)
		s.T.Cleanup(func() { _ = raw.Close() })
		secured := tls.Client(raw, config)
		return secured, secured.HandshakeContext(ctx)
	}
	return c, dialled
}

// flood is a handler that writes until it cannot, and says so.
type flood struct {
	written atomic.Int64
	renews  bool // its deadlines before each write
	copies  bool // by the response's ReadFrom
	ended   chan error
}

func newFlood() *flood { return &flood{ended: make(chan error, 1)} }

func (h *flood) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if h.copies {
		_, err := io.Copy(w, h)
		h.ended <- err
		return
	}
	rc := http.NewResponseController(w)
	chunk := make([]byte, 64<<10)
	for {
		if h.renews {
			if err := rc.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				h.ended <- err
				return
			}
		}
		if _, err := h.Read(chunk); err != nil {
			return
		}
		// One that renews looks at nothing else.
		if _, err := w.Write(chunk); err != nil && !h.renews {
			h.ended <- err
			return
		}
	}
}

// Read gives it something to send.
func (h *flood) Read(p []byte) (int, error) {
	h.written.Add(int64(len(p)))
	return len(p), nil
}

// requireBlocked waits until it gets nothing out any more.
func (h *flood) requireBlocked(t testing.TB) {
	t.Helper()
	last, same := int64(0), 0
	require.Eventually(t, func() bool {
		now := h.written.Load()
		if now != last || now == 0 {
			last, same = now, 0
			return false
		}
		same++
		return same > 20
	}, patience, 10*time.Millisecond)
}

// SECURITY, line 22.
func TestSlowClients_AStoppedReaderDelaysNoRevocation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		renews, copies bool
		whole          bool // the connection stands still, not only the body
	}{
		{name: "body"}, {name: "connection", whole: true},
		{name: "body, renewed deadlines", renews: true}, {name: "connection, renewed deadlines", renews: true, whole: true},
		{name: "body, copied", copies: true}, {name: "connection, copied", copies: true, whole: true},
	} {
		for _, speaks := range servertest.Wires {
			t.Run(test.name+" "+string(speaks), func(t *testing.T) {
				t.Parallel()
				s := newGuardStation(t)
				h := newFlood()
				h.renews, h.copies = test.renews, test.copies
				s.protect("flood", httpapi.Rule{Action: "orders:watch"}, h.ServeHTTP)
				c, conn := s.stallingClient(speaks, "bob")
				if test.whole { // what the stream may still send is no limit then
					c.Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 1 << 30, MaxReceiveBufferPerConnection: 1 << 30}
				}
				got, err := c.Do(s.Request(http.MethodGet, "/flood/1", ""))
				require.NoError(t, err)
				defer func() { _ = got.Body.Close() }()
				if test.whole {
					conn.Load().stalled.Store(true)
					go func() { _, _ = io.Copy(io.Discard, got.Body) }()
				}
				h.requireBlocked(t)
				receipt := requireQuiesced(t, s.revoke("bob", "watcher-of-1"))
				require.Len(t, receipt.Ended, 1)
				how := await(t, h.ended)
				require.Error(t, how)
				if test.renews {
					require.ErrorIs(t, how, actors.ErrRevoked)
				}
			})
		}
	}
}

// slowBody is a request whose body never comes to its end.
func (s *guardStation) slowBody(path string) *http.Request {
	body, feed := io.Pipe()
	s.T.Cleanup(func() { _ = feed.Close() })
	r := s.Request(http.MethodPut, path, "x")
	r.Body, r.ContentLength = body, 100
	go func() { _, _ = feed.Write([]byte("the beginning")) }()
	return r
}

// SECURITY, line 22.
func TestSlowClients_ASlowBodyDelaysNoRevocation(t *testing.T) {
	for _, renews := range []bool{false, true} {
		for _, speaks := range servertest.Wires {
			s := newGuardStation(t)
			began, ended := make(chan struct{}), make(chan error, 1)
			s.protect("slow", httpapi.Rule{Action: "orders:watch"}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadFull(r.Body, make([]byte, len("the beginning")))
				close(began)
				_, err := r.Body.Read(make([]byte, 1))
				for renews && !errors.Is(err, actors.ErrRevoked) {
					_, _ = r.Body.Read(make([]byte, 1))
					err = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
				}
				ended <- err
			})
			c, slow := s.Client(speaks, s.Issue("spiffe://interlock.test/bob")), s.slowBody("/slow/1")
			go func() { _, _ = s.Try(c, slow.WithContext(t.Context())) }()
			await(t, began)
			require.Len(t, requireQuiesced(t, s.revoke("bob", "watcher-of-1")).Ended, 1)
			require.Error(t, await(t, ended))
		}
	}
}

// SECURITY, line 22.
func TestSlowClients_ExecuteDoesNotWaitInItsTurn(t *testing.T) {
	t.Parallel()
	for _, speaks := range servertest.Wires {
		s := newGuardStation(t)
		began := make(chan struct{}, 2)
		rule := httpapi.Rule{Action: "orders:read", Mode: httpapi.Execute, ResponseLimit: 64 << 20}
		s.protect("execute", rule, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 16<<20))
			began <- struct{}{}
		})
		c := s.Client(speaks, s.Issue("spiffe://interlock.test/bob"))
		slow := s.slowBody("/execute/1").WithContext(t.Context())
		go func() { _, _ = s.Try(c, slow) }()
		reader, conn := s.stallingClient(speaks, "bob")
		got, err := reader.Do(s.Request(http.MethodGet, "/execute/1", ""))
		require.NoError(t, err)
		conn.Load().stalled.Store(true)
		await(t, began)
		requireQuiesced(t, s.revoke("bob", "reader"))
		require.Empty(t, began, "the slow body has not come to its turn")
		_ = got.Body.Close()
	}
}
