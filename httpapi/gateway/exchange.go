package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is a request and its response on a connection.
type exchange struct {
	address    *address
	connection *connection
	http2      bool
	call       *context.Context   // HTTP1: that of the call
	cancel     context.CancelFunc // HTTP2: of the request's own context
	stop       func() bool        // HTTP2: what closes the response when the call ends
}

// fail ends an exchange without a response. It returns when the connection or the stream is closed.
func (e *exchange) fail() {
	if e.http2 {
		e.cancel()
	} else {
		_ = e.connection.client.Close()
	}
	e.address.release(e.connection)
}

// responseBody is the body of an upstream's response. When Close has returned, the upstream's
// connection has no part in the exchange any more, but for the request's body.
type responseBody struct {
	io.ReadCloser
	exchange *exchange
	flush    func() error
	left     int64 // what the length says, negative if it is unknown; used by the reader only
	begun    bool
	whole    atomic.Bool // was read to its end
	once     sync.Once
}

// Read implements [io.Reader]. While a part of a known length is missing, the client gets what came
// before. ReverseProxy does the same for an unknown length.
func (b *responseBody) Read(data []byte) (int, error) {
	if b.begun && b.left > 0 {
		_ = b.flush()
	}
	n, err := b.ReadCloser.Read(data)
	b.begun, b.left = true, b.left-int64(n)
	if err == io.EOF {
		b.whole.Store(true)
	}
	return n, err
}

// Close implements [io.Closer].
func (b *responseBody) Close() (err error) {
	b.once.Do(func() {
		e := b.exchange
		err = b.ReadCloser.Close()
		switch {
		case e.http2:
			e.stop()
			e.cancel()
		case b.whole.Load() || b.ReadCloser == http.NoBody:
			e.connection.socket.call.CompareAndSwap(e.call, nil)
		default:
			_ = e.connection.client.Close()
		}
		e.address.release(e.connection)
	})
	return err
}

// callKey is the context key of a *call.
type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// call is a request to the gateway that is being served. Its methods, but for those of its body,
// belong to the goroutine of the handler.
type call struct {
	flush func() error  // sends to the client what is written
	body  *clientBody   // nil without a body
	sent  chan struct{} // closed when the transport has stopped sending the body; nil if it never began
	by    *exchange     // sends the body
	// upgraded is the connection after an upgrade. ReverseProxy closes it when it returns, and does
	// not wait for that.
	upgraded *socket
}

// take gives the body to a transport.
func (c *call) take(by *exchange, body io.ReadCloser) io.ReadCloser {
	c.sent, c.by = make(chan struct{}), by
	return &sentBody{ReadCloser: body, sent: c.sent}
}

// end closes the connection of an upgrade, and waits until the transport has stopped sending the
// body. If the body has not ended, the upstream has answered without it, or the call was canceled.
// Then end stops the sending.
func (c *call) end() {
	if c.upgraded != nil {
		_ = c.upgraded.Close()
	}
	if c.sent == nil {
		return
	}
	select {
	case <-c.sent:
		return
	default:
	}
	if !c.body.whole.Load() {
		if !c.by.http2 {
			_ = c.by.connection.client.Close()
		}
		c.body.abort()
	}
	<-c.sent
}

// sentBody is a body that a transport sends.
type sentBody struct {
	io.ReadCloser
	sent chan struct{}
	once sync.Once
}

// Close tells that the transport has stopped sending.
func (b *sentBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(func() { close(b.sent) })
	return err
}

// clientBody is the body of a client's request. While it makes progress, the server's read timeout
// does not end it.
type clientBody struct {
	io.ReadCloser
	response *http.ResponseController
	timeout  time.Duration // 0 for none
	whole    atomic.Bool   // was read to its end
	failed   atomic.Pointer[error]
	// received are the trailers of the client, which are complete at the end of the body. forwarded
	// are those of them that go to the upstream.
	received, forwarded http.Header

	mu       sync.Mutex
	extended time.Time // when Read moved the deadline
	aborted  bool
}

func newClientBody(w http.ResponseWriter, r *http.Request) *clientBody {
	b := &clientBody{ReadCloser: r.Body, response: http.NewResponseController(w), extended: time.Now(), received: r.Trailer}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok {
		b.timeout = server.ReadTimeout
	}
	return b
}

// Read implements [io.Reader].
func (b *clientBody) Read(data []byte) (int, error) {
	b.extend(time.Now())
	n, err := b.ReadCloser.Read(data)
	switch {
	case err == io.EOF:
		for name := range b.forwarded {
			b.forwarded[name] = b.received[name]
		}
		b.whole.Store(true)
	case err != nil:
		b.failed.CompareAndSwap(nil, &err)
	}
	return n, err
}

// extend moves the deadline unless reading was aborted. After a revocation it stays in the past.
func (b *clientBody) extend(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timeout > 0 && !b.aborted && now.Sub(b.extended) > b.timeout/4 {
		b.extended = now
		_ = b.response.SetReadDeadline(now.Add(b.timeout))
	}
}

// abort makes reading fail from now on.
func (b *clientBody) abort() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.aborted = true
	_ = b.response.SetReadDeadline(time.Unix(1, 0))
}

// error returns why reading failed, nil if it did not.
func (b *clientBody) error() error {
	if b == nil {
		return nil
	}
	if err := b.failed.Load(); err != nil && !errors.Is(*err, http.ErrBodyReadAfterClose) {
		return *err
	}
	return nil
}
