package httpapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
)

// serverConns are the connections of one server. None of its locks is on the path of a request.
type serverConns struct {
	callers *Connections
	proxied *Proxied // nil unless the server is for proxies
	limits  ConnectionLimits
	log     *slog.Logger
	conns   sync.Map // net.Conn to *connection
	open    atomic.Int64

	refused, maxAge, ended atomic.Uint64
	lastWarning            atomic.Int64 // of refused connections, in nanoseconds of Unix time

	// handshaking bounds the connections of one address before their handshake, nameless those
	// without an identity.
	handshaking *share.Shares[string]
	nameless    *share.Shares[struct{}]

	mu          sync.Mutex
	byPrincipal map[policy.Principal]int
}

// addressOf returns the remote address without the port.
func addressOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

// opened is called for each connection before its handshake.
func (s *serverConns) opened(ctx context.Context, conn net.Conn) context.Context {
	c := &connection{server: s, conn: conn}
	if s.open.Add(1) > int64(s.limits.Max) {
		s.refuse("too many connections", slog.Int("limit", s.limits.Max), slog.String("peer", conn.RemoteAddr().String()))
		_ = conn.Close() // the handshake fails
	}
	var ok bool
	if c.leaveHandshaking, ok = s.handshaking.Enter(addressOf(conn)); !ok {
		s.refuse("too many connections of an address in their handshake", slog.Int("limit", s.handshaking.MostOfEach()), slog.String("peer", conn.RemoteAddr().String()))
		_ = conn.Close()
	}
	c.aging = time.AfterFunc(jittered(s.limits.MaxAge), c.reachMaxAge)
	s.conns.Store(conn, c)
	return context.WithValue(ctx, connectionKey{}, c)
}

// warnEvery bounds how often refused connections are logged, so that an attack does not fill
// the log.
const warnEvery = 10 * time.Second

// refuse counts a connection over a limit.
func (s *serverConns) refuse(why string, attrs ...any) {
	total := s.refused.Add(1)
	now, last := time.Now().UnixNano(), s.lastWarning.Load()
	if now-last >= int64(warnEvery) && s.lastWarning.CompareAndSwap(last, now) {
		s.log.Warn(why, append(attrs, slog.Uint64("refused", total))...)
	}
}

// jittered returns a duration, plus or minus a random tenth.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(max(d/5, 1))
}

// stateChanged follows the state of a connection.
func (s *serverConns) stateChanged(conn net.Conn, state http.ConnState) {
	value, ok := s.conns.Load(conn)
	if !ok {
		return
	}
	c := value.(*connection)
	switch state {
	case http.StateActive:
		c.busy.Store(true)
		if !c.shaken {
			c.shaken = true
			c.leaveHandshaking()
			c.handshakeDone()
		}
	case http.StateIdle:
		c.busy.Store(false)
		if c.state.Load() == credentialEnded {
			c.close(flushDelay)
		}
	case http.StateHijacked, http.StateClosed:
		s.remove(c)
	}
}

// remove forgets a connection that is closed or hijacked.
func (s *serverConns) remove(c *connection) {
	s.conns.Delete(c.conn)
	s.open.Add(-1)
	c.aging.Stop()
	c.leaveHandshaking()
	if c.leaveNameless != nil {
		c.leaveNameless()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.removed = true
	if c.ending != nil {
		c.ending.Stop()
	}
	if !c.uncounted {
		c.uncount()
	}
}
