package actors

import (
	"log/slog"
	"runtime/debug"
)

// Connections knows by which connections principals come; the engine knows none. It must be
// safe for concurrent use, and must not wait for operations that run on its connections:
// one of them may be waiting for the receipt.
type Connections interface {
	// CloseEnded closes all connections that were made with a credential which has ended: those
	// that are idle now, the others after what is under way on them. It returns how many they
	// are. Whoever makes a connection meanwhile, or later, asks ended himself, which is
	// [Engine.Ended]: so the engine calls it at its start too.
	CloseEnded(ended func(*Credential) bool) int
}

// closeConnections has connections closed after a change of the revocations, and the
// receipt wait for the answer.
func (e *Engine) closeConnections(t *tracker) {
	if e.doors == nil {
		return
	}
	t.expect()
	go func() {
		closed := 0
		defer func() {
			if v := recover(); v != nil {
				e.log.Error("connections of revoked certificates were not closed", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
			}
			t.closedConnections(closed)
		}()
		closed = e.doors.CloseEnded(e.Ended)
	}()
}

// Ended reports whether a credential has ended, by date or by revocation, so that no turn from
// now on takes it. It is for what has no turn: connections, and preconditions of updates. A
// nil credential never ends.
func (e *Engine) Ended(c *Credential) bool {
	if c == nil {
		return false
	}
	var at moment
	e.now(&at)
	return at.now >= c.notAfter || (at.revoked != nil && at.revoked.has(c))
}

// closedConnections is applied, with a count.
func (t *tracker) closedConnections(n int) {
	t.mu.Lock()
	t.closed += n
	t.mu.Unlock()
	t.applied()
}
