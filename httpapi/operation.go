package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// operation is a guarded handler's response writer: it ends reading and writing when the lease
// loses its authority. A canceled context does not end a handler that is blocked in a Write to a
// client that stopped reading; a deadline in the past does. The handler's own deadlines go through
// here, under the same lock, so that it cannot extend them after a revocation.
//
// There is no Unwrap, so a handler cannot bypass it.
type operation struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	lease *actors.Lease
	pace  web.WritePace
	// noBody means that the read deadline bounds nothing but the wait for the client's end.
	noBody bool
	// websocket means that the request asks for an upgrade to WebSocket.
	websocket bool
	stop      func() bool    // stops the hook
	hooks     sync.WaitGroup // for the hook, if it was not stopped
	quiet     sync.Once

	mu       sync.Mutex
	revoked  bool
	hijacked *hijackedConn
	parts    atomic.Int32 // handler and hijacked connection: the last to end releases
}

var longAgo = time.Unix(1, 0)

func newOperation(w http.ResponseWriter, r *http.Request, lease *actors.Lease) *operation {
	op := &operation{w: w, rc: http.NewResponseController(w), lease: lease}
	op.websocket = strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 {
		op.mu.Lock()
		op.pace.Start(server.WriteTimeout, op.extend)
		op.noBody = r.Body == nil || r.Body == http.NoBody
		op.mu.Unlock()
	}
	op.parts.Store(1)
	op.hooks.Add(1)
	op.stop = lease.AfterFunc(func() {
		defer op.hooks.Done()
		if lostAuthority(lease.Context()) {
			op.revoke()
		}
	})
	return op
}

// lostAuthority reports whether a lease's context ended by a revocation or a shutdown.
func lostAuthority(ctx context.Context) bool {
	err := ctx.Err()
	return errors.Is(err, actors.ErrRevoked) || errors.Is(err, actors.ErrClosed)
}

// revoke ends reading and writing permanently.
func (op *operation) revoke() {
	op.mu.Lock()
	op.revoked = true
	op.pace.Stop()
	_ = op.rc.SetReadDeadline(longAgo) // a writer without deadlines cannot be blocked by its client
	_ = op.rc.SetWriteDeadline(longAgo)
	conn := op.hijacked
	op.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// handlerReturned is called when the handler returned without a panic. It reports whether the
// response has to be aborted.
func (op *operation) handlerReturned() (broken bool) {
	if op.silence() {
		return false
	}
	// The hook may have been stopped before it ran, because the handler was faster.
	return lostAuthority(op.lease.Context())
}

// handlerEnded is called when the handler has ended in any way.
func (op *operation) handlerEnded() {
	op.silence()
	op.partEnded()
}

// silence stops the hook and the pace, or waits for them, so that they touch no response that is
// over. The hook of a hijacked connection continues until that is closed.
func (op *operation) silence() (hijacked bool) {
	op.mu.Lock()
	op.pace.Stop()
	hijacked = op.hijacked != nil
	op.mu.Unlock()
	if !hijacked {
		op.quiet.Do(func() {
			if !op.stop() {
				op.hooks.Wait()
			}
		})
	}
	return hijacked
}

// extend moves the write deadline unless a write is stalled. Without a body it moves the read
// deadline too, because HTTP/1.1 takes an expired one for a client that is gone.
func (op *operation) extend() {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.pace.Tick() {
		until := time.Now().Add(op.pace.Timeout)
		_ = op.rc.SetWriteDeadline(until) // a writer without deadlines needs none
		if op.noBody {
			_ = op.rc.SetReadDeadline(until)
		}
	}
}

func (op *operation) partEnded() {
	if op.parts.Add(-1) == 0 {
		op.lease.Release()
	}
}

// gone returns the error of every use after the revocation.
func (op *operation) gone() error {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.revoked {
		return actors.ErrRevoked
	}
	return nil
}

// Header implements [http.ResponseWriter].
func (op *operation) Header() http.Header { return op.w.Header() }

// WriteHeader implements [http.ResponseWriter].
func (op *operation) WriteHeader(status int) {
	if op.gone() == nil {
		op.w.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (op *operation) Write(data []byte) (int, error) {
	if err := op.gone(); err != nil {
		return 0, err
	}
	op.pace.Begin()
	defer op.pace.End()
	return op.w.Write(data)
}

// ReadFrom implements [io.ReaderFrom].
func (op *operation) ReadFrom(src io.Reader) (int64, error) {
	if err := op.gone(); err != nil {
		return 0, err
	}
	op.pace.Begin()
	defer op.pace.End()
	return io.Copy(op.w, &web.PacedSource{Reader: src, Pace: &op.pace})
}

// Flush implements [http.Flusher].
func (op *operation) Flush() { _ = op.FlushError() }

// FlushError serves [http.ResponseController].
func (op *operation) FlushError() error {
	if err := op.gone(); err != nil {
		return err
	}
	op.pace.Begin()
	defer op.pace.End()
	return op.rc.Flush()
}

// EnableFullDuplex serves [http.ResponseController].
func (op *operation) EnableFullDuplex() error { return op.rc.EnableFullDuplex() }

// SetReadDeadline serves [http.ResponseController]. After the revocation it changes
// nothing and returns [actors.ErrRevoked].
func (op *operation) SetReadDeadline(t time.Time) error {
	return op.unlessRevoked(func() error { return op.rc.SetReadDeadline(t) })
}

// SetWriteDeadline is the same for writing.
func (op *operation) SetWriteDeadline(t time.Time) error {
	return op.unlessRevoked(func() error {
		op.pace.Stop() // the handler has a deadline of its own
		return op.rc.SetWriteDeadline(t)
	})
}

// unlessRevoked runs f under the lock that the revocation takes.
func (op *operation) unlessRevoked(f func() error) error {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.revoked {
		return actors.ErrRevoked
	}
	return f()
}

// Hijack implements [http.Hijacker]. The operation then ends when both the handler and
// the connection have.
func (op *operation) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	op.mu.Lock()
	defer op.mu.Unlock()
	if op.revoked {
		return nil, nil, actors.ErrRevoked
	}
	conn, buffered, err := op.rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	op.pace.Stop()
	op.parts.Add(1)
	op.hijacked = &hijackedConn{Conn: conn, op: op}
	return op.hijacked, buffered, nil
}

// hijackedConn is a connection that a guarded handler took over.
type hijackedConn struct {
	net.Conn
	op      *operation
	once    sync.Once // ends its part of the operation
	said    sync.Once // the close frame
	writing sync.Mutex
}

// Write implements [net.Conn].
func (c *hijackedConn) Write(data []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.Conn.Write(data)
}

// policyViolation is a WebSocket close frame with status 1008 (RFC 6455, section 7.4.1).
var policyViolation = []byte{0x88, 2, 1008 >> 8, 1008 & 0xff}

// closeFrameTimeout bounds the write of a close frame, so that a client that does not read
// delays its revocation only briefly.
const closeFrameTimeout = 50 * time.Millisecond

// sayPolicyViolation sends a close frame if the connection is a WebSocket and no write is in
// progress.
func (c *hijackedConn) sayPolicyViolation() {
	if !c.op.websocket || !c.writing.TryLock() {
		return
	}
	defer c.writing.Unlock()
	if c.Conn.SetWriteDeadline(time.Now().Add(closeFrameTimeout)) == nil {
		_, _ = c.Conn.Write(policyViolation) // a client that does not read sees the close
	}
}

// Close closes the connection and ends its part of the operation. It says why if that is a
// revocation: a handler that obeys its context can be faster than [operation.revoke].
func (c *hijackedConn) Close() error {
	if lostAuthority(c.op.lease.Context()) {
		c.said.Do(c.sayPolicyViolation)
	}
	err := c.Conn.Close()
	c.once.Do(func() {
		c.op.stop()
		c.op.partEnded()
	})
	return err
}

// SetDeadline, like the other two, changes nothing after the revocation.
func (c *hijackedConn) SetDeadline(t time.Time) error {
	return c.op.unlessRevoked(func() error { return c.Conn.SetDeadline(t) })
}

// SetReadDeadline is SetDeadline for reading.
func (c *hijackedConn) SetReadDeadline(t time.Time) error {
	return c.op.unlessRevoked(func() error { return c.Conn.SetReadDeadline(t) })
}

// SetWriteDeadline is SetDeadline for writing.
func (c *hijackedConn) SetWriteDeadline(t time.Time) error {
	return c.op.unlessRevoked(func() error { return c.Conn.SetWriteDeadline(t) })
}
