package actors

import (
	"log/slog"
	"runtime/debug"
)

// Connections closes the connections of revoked certificates for the engine. It must be safe
// for concurrent use, and must not wait for operations that run on its connections, because
// one of them may wait for the receipt.
type Connections interface {
	// CloseEnded closes all connections whose credential has ended: idle ones at once, busy
	// ones after their requests. It returns their number. The implementation checks
	// connections that are made later with ended, which is [Engine.Ended]; for this the engine
	// also calls CloseEnded when it starts.
	CloseEnded(ended func(*Credential) bool) int
}

// closeConnections closes connections after a change of the revocations. The tracker waits
// for it.
func (e *Engine) closeConnections(t *tracker) {
	if e.connections == nil {
		return
	}
	t.expect()
	go func() {
		closed := 0
		defer func() {
			if v := recover(); v != nil {
				e.log.Error("closing connections of revoked certificates failed", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			}
			t.closedConnections(closed)
		}()
		closed = e.connections.CloseEnded(e.Ended)
	}()
}

// Ended reports whether a credential has expired or is revoked. It is for code outside of a
// turn: connections, and preconditions of updates. A nil credential never ends.
func (e *Engine) Ended(c *Credential) bool {
	if c == nil {
		return false
	}
	var at moment
	e.now(&at)
	return at.now >= c.notAfter || (at.revoked != nil && at.revoked.has(c))
}

// closedConnections adds to the count of closed connections and calls applied.
func (t *tracker) closedConnections(n int) {
	t.mu.Lock()
	t.closed += n
	t.mu.Unlock()
	t.applied()
}
