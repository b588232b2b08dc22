package httpapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// connectionKey is the context key of a *connection.
type connectionKey struct{}

// connection is one connection of a server. Its caller is identified once.
type connection struct {
	server         *serverConns
	conn           net.Conn
	identification atomic.Pointer[identification]
	state          atomic.Int32
	busy           atomic.Bool // a request is in progress
	shaken         bool        // the handshake is done; used by the server's own goroutine only
	once           sync.Once   // closes it
	// The places that it has in the shares of the server. leaveNameless is nil unless it has no
	// identity. They are used by the server's own goroutine only.
	leaveHandshaking, leaveNameless func()
	aging                           *time.Timer
	clients                         forwardedClients // of a proxy

	// Under the lock of the server.
	removed   bool
	counted   *policy.Principal // the principal that it is or was counted for
	uncounted bool              // it no longer counts
	ending    *time.Timer       // for the end of the certificate or the unauthenticated timeout
}

// The states of a connection. It moves down this list only.
const (
	usable          int32 = iota
	maxAgeReached         // the next answer closes it
	overLimit             // the same: its principal has too many connections
	credentialEnded       // the same, and it is closed when idle: its credential ended, or it has none
)

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// handshakeDone identifies the caller.
func (c *connection) handshakeDone() {
	if _, ok := c.conn.(*tls.Conn); !ok {
		return
	}
	if chain := c.verifiedChain(); len(chain) > 0 {
		id := c.server.callers.identify(chain)
		c.adopt(id)
		if id.err == nil {
			return
		}
	}
	var found bool
	if c.leaveNameless, found = c.server.nameless.Enter(struct{}{}); !found {
		c.server.refuse("too many connections without an identity", slog.Int("limit", c.server.nameless.MostOfEach()))
		c.advance(credentialEnded)
		c.once.Do(func() { _ = c.conn.Close() }) // at once, because it holds a place
		return
	}
	c.endAfter(c.server.limits.UnauthenticatedTimeout)
}

// verifiedChain returns the first verified chain of the handshake, empty for none.
func (c *connection) verifiedChain() []*x509.Certificate {
	secure, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	if chains := secure.ConnectionState().VerifiedChains; len(chains) > 0 {
		return chains[0]
	}
	return nil
}

// adopt stores the identification. A connection counts for its first caller, and lives no
// longer than that caller's certificate.
func (c *connection) adopt(id *identification) {
	c.identification.Store(id)
	if id.err != nil {
		return
	}
	first, allowed := c.count(id.caller)
	switch {
	case !allowed:
		c.advance(overLimit)
		c.server.refuse("too many connections of a principal", slog.Int("limit", c.server.limits.PerPrincipal),
			slog.String("principal", id.caller.Principal.String()))
		c.endAfter(c.server.limits.UnauthenticatedTimeout) // if it makes no request
	case first:
		c.watchEnd(id.caller.Credential)
	}
}

// watchEnd closes the connection when the credential ends.
func (c *connection) watchEnd(credential *actors.Credential) {
	ended := c.server.callers.ended.Load()
	if ended == nil { // there is no engine to ask
		c.endAfter(time.Until(credential.NotAfter()))
		return
	}
	if (*ended)(credential) {
		c.end()
		return
	}
	// The engine's time may be behind: a connection that a turn would still admit stays open.
	left := max(time.Until(credential.NotAfter()), endedRetry)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.removed {
		c.ending = time.AfterFunc(left, func() { c.watchEnd(credential) })
	}
}

// endedRetry is how often an engine is asked whose time is behind.
const endedRetry = 100 * time.Millisecond

// count counts the connection for its principal, once. It reports whether this is the first
// count, and whether the principal is within its limit.
func (c *connection) count(caller *Caller) (first, allowed bool) {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.removed || c.counted != nil {
		return false, true
	}
	c.counted = &caller.Principal
	if c.uncounted {
		return true, true
	}
	s.byPrincipal[caller.Principal]++
	return true, s.byPrincipal[caller.Principal] <= s.limits.PerPrincipal
}

// uncount reverses count. The caller holds the lock of the server.
func (c *connection) uncount() {
	if c.counted == nil {
		return
	}
	counts := c.server.byPrincipal
	if counts[*c.counted]--; counts[*c.counted] <= 0 {
		delete(counts, *c.counted)
	}
}

// endAfter ends the connection after a while, unless it is closed by then.
func (c *connection) endAfter(left time.Duration) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.removed {
		c.ending = time.AfterFunc(left, func() { c.end() })
	}
}

// reachMaxAge makes the next answer the last. The principal may open another connection for it.
func (c *connection) reachMaxAge() {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if !c.removed && c.advance(maxAgeReached) {
		c.server.maxAge.Add(1)
		c.uncount()
		c.uncounted = true
	}
}

// advance moves the connection to a later state, and reports whether it was in an earlier one.
func (c *connection) advance(to int32) bool {
	for {
		now := c.state.Load()
		if now >= to {
			return false
		}
		if c.state.CompareAndSwap(now, to) {
			return true
		}
	}
}

// closeIf closes the connection if its credential has ended, and reports whether it did.
func (c *connection) closeIf(ended func(*actors.Credential) bool) bool {
	id := c.identification.Load()
	return id != nil && id.err == nil && ended(id.caller.Credential) && c.end()
}

// end closes the connection: at once if it is idle, else after its requests in progress.
func (c *connection) end() bool {
	if !c.advance(credentialEnded) {
		return false
	}
	c.server.ended.Add(1)
	if !c.busy.Load() {
		c.close(0)
	}
	return true
}

const (
	// flushDelay is the time that net/http needs to write the end of an HTTP/2 answer after
	// it has reported the connection as idle.
	flushDelay = 100 * time.Millisecond
	// goAwayGrace is the time that an HTTP/2 client has to read the GOAWAY frame and to close
	// the connection itself.
	goAwayGrace = time.Second
)

// goAway is an HTTP/2 frame without an error (RFC 9113, section 6.8): no further requests.
// Requests that the client sends before it reads this are still answered.
var goAway = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// close closes an idle connection after a while. It does not block.
func (c *connection) close(after time.Duration) {
	c.once.Do(func() { time.AfterFunc(after, c.closeGracefully) })
}

// closeGracefully announces the end to an HTTP/2 client before it closes the connection.
func (c *connection) closeGracefully() {
	if secure, ok := c.conn.(*tls.Conn); !ok || secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = c.conn.Close()
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(goAwayGrace))
	_, _ = c.conn.Write(goAway) // a client that cannot read it sees the close
	time.AfterFunc(goAwayGrace, func() { _ = c.conn.Close() })
}

// Closing reports whether the next answer is the connection's last.
func (c *connection) Closing() bool { return c.state.Load() != usable }
