package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// connectionKey is the context's key of a *connection.
type connectionKey struct{}

// connection is one of them. What is found of its caller is found once.
type connection struct {
	door   *door
	conn   net.Conn
	found  atomic.Pointer[finding]
	fate   atomic.Int32
	busy   atomic.Bool // a request is under way
	met    bool        // the server's own goroutine for the connection alone uses it
	once   sync.Once   // closes it
	aging  *time.Timer
	behind sightings // the clients of a proxy

	// Under the lock of the door.
	left       bool
	counted    *policy.Principal // as whose it counts, or has counted
	discounted bool              // it counts no more
	ending     *time.Timer       // for the end of the certificate, or of waiting for one
}

// What is to become of a connection.
const (
	stands  int32 = iota
	aged          // the next answer closes it
	crowded       // the same: its principal has too many
	ended         // the same, or nothing if it is idle: its credential has ended, or none has come
)

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

// meet finds the caller, when the handshake is over.
func (c *connection) meet() {
	secure, ok := c.conn.(*tls.Conn)
	if !ok {
		return
	}
	state := secure.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		c.endAfter(c.door.limits.Strange)
		return
	}
	c.adopt(c.door.callers.find(state.VerifiedChains[0]))
}

// adopt takes a finding for the connection's own. A connection counts as its caller's from the
// first that is one, and lives no longer than that one's certificate.
func (c *connection) adopt(found *finding) {
	c.found.Store(found)
	if found.err != nil {
		return
	}
	fresh, counts := c.count(found.caller)
	if !counts {
		c.doom(crowded)
		c.door.refuse("a principal has too many connections", slog.Int("limit", c.door.limits.PerPrincipal),
			slog.String("principal", found.caller.Principal.String()))
	}
	if fresh {
		c.watchEnd(found.caller.Credential)
	}
}

// watchEnd closes the connection when the credential ends, if it has not by now.
func (c *connection) watchEnd(credential *actors.Credential) {
	ended := c.door.callers.ended.Load()
	if ended == nil { // there is no engine to ask
		c.endAfter(time.Until(credential.NotAfter()))
		return
	}
	if (*ended)(credential) {
		c.end()
		return
	}
	// The engine's time may be behind: nothing is closed that a turn would still admit.
	left := max(time.Until(credential.NotAfter()), endedAgain)
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left {
		c.ending = time.AfterFunc(left, func() { c.watchEnd(credential) })
	}
}

// endedAgain is how often an engine is asked whose time is behind.
const endedAgain = 100 * time.Millisecond

// count adds the connection to those of its principal, once, and reports whether that may
// have it.
func (c *connection) count(caller *Caller) (fresh, counts bool) {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.left || c.counted != nil {
		return false, true
	}
	c.counted = &caller.Principal
	if c.discounted {
		return true, true
	}
	d.of[caller.Principal]++
	return true, d.of[caller.Principal] <= d.limits.PerPrincipal
}

// discount takes the connection from those of its principal. The door's lock is the caller's.
func (c *connection) discount() {
	if c.counted == nil {
		return
	}
	of := c.door.of
	if of[*c.counted]--; of[*c.counted] <= 0 {
		delete(of, *c.counted)
	}
}

// endAfter ends the connection after a while, unless it has gone by then.
func (c *connection) endAfter(left time.Duration) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left {
		c.ending = time.AfterFunc(left, func() { c.end() })
	}
}

// age has the next answer be the last. The principal may have another connection for it.
func (c *connection) age() {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left && c.doom(aged) {
		c.door.aged.Add(1)
		c.discount()
		c.discounted = true
	}
}

// doom decides what becomes of the connection; the last word is the worst.
func (c *connection) doom(fate int32) bool {
	for {
		now := c.fate.Load()
		if now >= fate {
			return false
		}
		if c.fate.CompareAndSwap(now, fate) {
			return true
		}
	}
}

// closeIf closes the connection if its credential has ended, and reports whether it did.
func (c *connection) closeIf(ended func(*actors.Credential) bool) bool {
	found := c.found.Load()
	return found != nil && found.err == nil && ended(found.caller.Credential) && c.end()
}

// end closes the connection: at once if it is idle, else when what is under way is over.
func (c *connection) end() bool {
	if !c.doom(ended) {
		return false
	}
	c.door.ended.Add(1)
	if !c.busy.Load() {
		c.close(0)
	}
	return true
}

const (
	// lastFrames is the time that net/http needs to write the end of an answer of HTTP/2
	// after it has called the connection idle.
	lastFrames = 100 * time.Millisecond
	// farewell is the time that a client of HTTP/2 has to read what it is told at the end, and
	// to close the connection itself.
	farewell = time.Second
)

// goAway is a frame of HTTP/2 (RFC 9113, section 6.8): no further requests, and no error. What
// the client has sent until it reads this is answered still.
var goAway = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

// close closes an idle connection after a while; it does not wait for that.
func (c *connection) close(after time.Duration) {
	c.once.Do(func() { time.AfterFunc(after, c.sayFarewell) })
}

func (c *connection) sayFarewell() {
	if secure, ok := c.conn.(*tls.Conn); !ok || secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = c.conn.Close()
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
	_, _ = c.conn.Write(goAway) // who cannot be told sees the end all the same
	time.AfterFunc(farewell, func() { _ = c.conn.Close() })
}

// closing reports whether an answer has to say that it is the connection's last.
func (c *connection) closing() bool { return c != nil && c.fate.Load() != stands }
