package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// errBusy means that an address has as many connections as it may.
var errBusy = errors.New("all connections to the upstream are in use")

// retryAddressAfter is how long an address is avoided after a connection to it failed, unless
// health checks decide about it.
const retryAddressAfter = 2 * time.Second

// address is one server of an upstream, with the connections to it.
type address struct {
	target    string
	options   *Upstream
	scheme    string
	transport *http.Transport

	unhealthy atomic.Bool  // by the last health check
	failedAt  atomic.Int64 // when the last connection failed, in nanoseconds of Unix time

	mu      sync.Mutex
	open    map[*connection]struct{}
	idle    []*connection // HTTP1: the last used one at the end
	dialing int
	dialed  chan struct{} // HTTP2: closed when the dial in progress has ended
	closed  bool
}

func newAddress(target string, u *Upstream, transport *http.Transport) *address {
	a := &address{target: target, options: u, scheme: "http", transport: transport, open: map[*connection]struct{}{}}
	if u.TLS != nil {
		a.scheme = "https"
	}
	return a
}

// usable reports whether requests should go there.
func (a *address) usable(now time.Time) bool {
	if a.options.Health != nil {
		return !a.unhealthy.Load()
	}
	failed := a.failedAt.Load()
	return failed == 0 || now.UnixNano()-failed > int64(retryAddressAfter)
}

// take returns a connection for one request, and whether it was used before. With fresh, it was not.
func (a *address) take(ctx context.Context, fresh bool) (c *connection, reused bool, err error) {
	switch {
	case fresh:
	case a.options.Protocol == HTTP2:
		return a.takeShared(ctx)
	default:
		if c := a.takeIdle(time.Now()); c != nil {
			return c, true, nil
		}
	}
	c, err = a.dial(ctx)
	return c, false, err
}

// takeIdle returns an idle connection, nil if there is none. It closes those that were idle for too
// long.
func (a *address) takeIdle(now time.Time) *connection {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.idle) > 0 {
		c := a.idle[len(a.idle)-1]
		if now.Sub(c.usedAt) > a.options.IdleTimeout {
			a.closeIdleLocked(now)
			return nil
		}
		a.idle = a.idle[:len(a.idle)-1]
		if !c.gone && c.client.Err() == nil {
			c.busy = true
			return c
		}
	}
	return nil
}

// takeShared returns a connection of HTTP/2 with room for another stream. If there is none, one dial
// is in progress at a time.
func (a *address) takeShared(ctx context.Context) (c *connection, reused bool, err error) {
	for {
		all := a.openConnections()
		if i := slices.IndexFunc(all, a.reserve); i >= 0 {
			return all[i], true, nil
		}
		dialed := a.beginDial()
		if dialed == nil {
			defer a.endDial()
			c, err := a.dial(ctx)
			return c, false, err
		}
		select {
		case <-dialed:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (a *address) openConnections() []*connection {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.open))
}

// beginDial returns nil if the caller may dial, and then has to call endDial. Otherwise it returns
// what is closed when the dial in progress has ended.
func (a *address) beginDial() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dialed == nil {
		a.dialed = make(chan struct{})
		return nil
	}
	return a.dialed
}

// endDial lets others look for a connection again.
func (a *address) endDial() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.dialed)
	a.dialed = nil
}

// reserve takes a stream of a connection of HTTP/2 that stays open.
func (a *address) reserve(c *connection) bool {
	if c.client.Reserve() != nil {
		return false
	}
	a.mu.Lock()
	gone := c.gone
	a.mu.Unlock()
	if gone {
		c.client.Release()
	}
	return !gone
}

// dial makes another connection, within the limit.
func (a *address) dial(ctx context.Context) (*connection, error) {
	a.mu.Lock()
	if len(a.open)+a.dialing >= a.options.MaxConnections {
		a.mu.Unlock()
		return nil, fmt.Errorf("%w: %d to %s", errBusy, a.options.MaxConnections, a.target)
	}
	a.dialing++
	a.mu.Unlock()
	c, err := dial(ctx, a.transport, a.scheme, a.target, a.options.ConnectTimeout)
	a.mu.Lock()
	a.dialing--
	if err == nil {
		c.busy, c.usedAt = true, time.Now()
		a.open[c] = struct{}{}
	}
	a.mu.Unlock()
	switch {
	case err == nil:
		a.failedAt.Store(0)
		c.client.SetStateHook(func(*http.ClientConn) { a.forget(c) })
	case ctx.Err() == nil:
		a.failedAt.Store(time.Now().UnixNano())
	}
	return c, err
}

// forget removes a connection that has closed by itself.
func (a *address) forget(c *connection) {
	if c.client.Err() == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.forgetLocked(c)
}

// release ends the use of a connection by one exchange. A connection of HTTP/1.1 that cannot be used
// again is about to close. release asks the connection before it takes the lock, because a
// connection that closes may not answer at once.
func (a *address) release(c *connection) {
	available, inFlight := c.client.Available() > 0, c.client.InFlight()
	a.mu.Lock()
	c.busy, c.usedAt = false, time.Now()
	surplus := a.closed && inFlight == 0 && !c.gone
	switch {
	case surplus:
		a.forgetLocked(c)
	case available && !c.gone && a.options.Protocol == HTTP1:
		a.idle = append(a.idle, c)
	}
	a.mu.Unlock()
	if surplus {
		_ = c.client.Close()
	}
}

func (a *address) forgetLocked(c *connection) {
	c.gone = true
	delete(a.open, c)
	if i := slices.Index(a.idle, c); i >= 0 {
		a.idle = slices.Delete(a.idle, i, i+1)
	}
}

// closeIdle closes the connections that were not used for the idle timeout.
func (a *address) closeIdle(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closeIdleLocked(now)
}

func (a *address) closeIdleLocked(now time.Time) {
	for c := range a.open {
		idle := !c.busy
		if a.options.Protocol == HTTP2 {
			idle = idle && c.client.InFlight() == 0
		}
		if idle && now.Sub(c.usedAt) > a.options.IdleTimeout {
			a.forgetLocked(c)
			go func() { _ = c.client.Close() }() // a close may take its time
		}
	}
}

// close closes all idle connections now, and the others when their calls have ended.
func (a *address) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.closeIdle(time.Now().Add(a.options.IdleTimeout + time.Hour))
}
