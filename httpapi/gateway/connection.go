package gateway

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// connection is a connection to an address of an upstream.
type connection struct {
	client *http.ClientConn
	socket *socket

	// Under the lock of the address.
	busy   bool // an exchange of HTTP1 uses it, or the first one of HTTP2 may begin
	gone   bool
	usedAt time.Time
}

// socket is the connection below TLS. When it closes during a canceled call, it waits for the
// upstream to close its side.
type socket struct {
	net.Conn
	linger time.Duration
	call   atomic.Pointer[context.Context] // of the call that uses it, nil for none
	once   sync.Once
}

// Close implements [net.Conn]. Every call returns after the connection is closed.
func (s *socket) Close() (err error) {
	s.once.Do(func() {
		if call := s.call.Load(); call != nil && s.linger > 0 && isOver(*call) {
			s.awaitEnd()
		}
		err = s.Conn.Close()
	})
	return err
}

// isOver reports whether a call was canceled. The end of a lease reaches its context and its
// connections in any order.
func isOver(call context.Context) bool { return call.Err() != nil || !actors.HasAuthority(call) }

// awaitEnd announces the end and discards what the upstream still sends, until it closes the
// connection.
func (s *socket) awaitEnd() {
	tcp, ok := s.Conn.(*net.TCPConn)
	if !ok || tcp.CloseWrite() != nil || tcp.SetReadDeadline(time.Now().Add(s.linger)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, tcp) // until the upstream's end, or the deadline
}

// socketKey is the context key of a **socket: where a dial leaves the socket that it made.
type socketKey struct{}

// dial connects to an address.
func dial(ctx context.Context, transport *http.Transport, scheme, address string, timeout time.Duration) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c := &connection{}
	client, err := transport.NewClientConn(context.WithValue(ctx, socketKey{}, &c.socket), scheme, address)
	if err != nil {
		return nil, err
	}
	c.client = client
	return c, nil
}

// newTransport makes the transport that makes the connections of an upstream. It keeps none itself.
func newTransport(u *Upstream) *http.Transport {
	linger := u.Linger
	if u.Protocol == HTTP2 {
		linger = 0
	}
	dialer := &net.Dialer{Timeout: u.ConnectTimeout}
	protocols := new(http.Protocols)
	switch {
	case u.Protocol == HTTP1:
		protocols.SetHTTP1(true)
	case u.TLS != nil:
		protocols.SetHTTP2(true)
	default:
		protocols.SetUnencryptedHTTP2(true)
	}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			s := &socket{Conn: conn, linger: linger}
			if to, ok := ctx.Value(socketKey{}).(**socket); ok {
				*to = s
			}
			return s, nil
		},
		TLSClientConfig:       u.TLS.Clone(),
		TLSHandshakeTimeout:   u.ConnectTimeout,
		ResponseHeaderTimeout: u.ResponseTimeout,
		ExpectContinueTimeout: u.ResponseTimeout,
		DisableCompression:    true,
		Protocols:             protocols,
	}
}
