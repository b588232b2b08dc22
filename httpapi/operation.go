package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// operation is a guarded handler's response writer: it ends reading and writing when the
// lease loses its authority. Cancelling a context does not end a handler that is blocked
// in a Write to a client that stopped reading; a deadline in the past does. The handler's
// own deadlines go through here, under one lock with that, so that it cannot set them
// anew afterwards.
//
// There is no Unwrap: a handler cannot reach around it.
type operation struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	lease *actors.Lease
	stop  func() bool    // stops the hook
	hooks sync.WaitGroup // for the hook, if it was not stopped
	quiet sync.Once

	mu       sync.Mutex
	revoked  bool
	hijacked *hijackedConn
	parts    atomic.Int32 // handler and hijacked connection: the last to end releases
}

var longAgo = time.Unix(1, 0)

func newOperation(w http.ResponseWriter, lease *actors.Lease) *operation {
	op := &operation{w: w, rc: http.NewResponseController(w), lease: lease}
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

// revoke ends reading and writing, for good.
func (op *operation) revoke() {
	op.mu.Lock()
	op.revoked = true
	_ = op.rc.SetReadDeadline(longAgo) // who has no deadlines cannot be blocked by its client
	_ = op.rc.SetWriteDeadline(longAgo)
	conn := op.hijacked
	op.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// handlerReturned is called when the handler came back by itself; it reports whether the
// response has to be broken off.
func (op *operation) handlerReturned() (broken bool) {
	if op.silence() {
		return false
	}
	// The hook may have been stopped before it ran: a handler that waits for the end of its
	// context can be faster.
	return lostAuthority(op.lease.Context())
}

// handlerEnded is deferred: the handler is not running any more, however it ended.
func (op *operation) handlerEnded() {
	op.silence()
	op.partEnded()
}

// silence stops the hook, or waits for it, so that it touches no response that is over.
// With a hijacked connection it does not, for the hook goes on until that is closed.
func (op *operation) silence() (hijacked bool) {
	op.mu.Lock()
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

func (op *operation) partEnded() {
	if op.parts.Add(-1) == 0 {
		op.lease.Release()
	}
}

// gone is the error of everything that the handler does after the revocation.
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
	return op.w.Write(data)
}

// ReadFrom implements [io.ReaderFrom], for the server's own way to copy files.
func (op *operation) ReadFrom(src io.Reader) (int64, error) {
	if err := op.gone(); err != nil {
		return 0, err
	}
	return io.Copy(op.w, src)
}

// Flush implements [http.Flusher].
func (op *operation) Flush() { _ = op.FlushError() }

// FlushError serves [http.ResponseController].
func (op *operation) FlushError() error {
	if err := op.gone(); err != nil {
		return err
	}
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
	return op.unlessRevoked(func() error { return op.rc.SetWriteDeadline(t) })
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
	op.parts.Add(1)
	op.hijacked = &hijackedConn{Conn: conn, op: op}
	return op.hijacked, buffered, nil
}

// hijackedConn is a connection that a guarded handler took over.
type hijackedConn struct {
	net.Conn
	op   *operation
	once sync.Once
}

// Close closes the connection and ends its part of the operation.
func (c *hijackedConn) Close() error {
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
