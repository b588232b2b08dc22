package grpcguard

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Handler serves gRPC with server.ServeHTTP, and all other requests with next; nil for none. It is
// the handler of [github.com/interlock-authz/interlock/httpapi.NewServer] for a process with one
// port. gRPC is what arrives by HTTP/2 with content type application/grpc.
//
// The server needs the interceptors of a [Guard]: Handler itself authorizes nothing. The limits,
// the age and the end of connections are those of the HTTP server, and not those of options of the
// gRPC server. Share one Connections between the HTTP server and the guard.
//
// ReadTimeout bounds the time until a stream is admitted, or a unary request is read. WriteTimeout
// bounds a write without progress. A stream may take any time, and be idle.
//
// Shut down with the HTTP server's Shutdown or Close, and then with the gRPC server's Stop. Do not
// call GracefulStop, which panics for calls that are served here. A handler can continue after its
// HTTP request has ended, so close the engine last: it waits for the handlers in mode Admit.
func Handler(server *grpc.Server, next http.Handler) http.Handler {
	if next == nil {
		next = http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isGRPC(r) {
			next.ServeHTTP(w, r)
			return
		}
		c := newCall(w, r)
		defer c.end()
		server.ServeHTTP(c, r.WithContext(context.WithValue(r.Context(), callKey{}, c)))
	})
}

// isGRPC does not match application/grpc-web, which is another protocol.
func isGRPC(r *http.Request) bool {
	rest, found := strings.CutPrefix(r.Header.Get("Content-Type"), "application/grpc")
	return found && r.ProtoMajor == 2 && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// callKey is the context key of a *call.
type callKey struct{}

func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// call is the response writer of a gRPC call that [Handler] serves. It moves the deadlines of
// the HTTP server. It has no Unwrap, so that nothing else does. grpc writes on one goroutine.
type call struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	mu      sync.Mutex
	pace    web.WritePace
	revoked bool
	over    bool // the writer is no longer usable
}

func newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{w: w, rc: http.NewResponseController(w)}
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.pace.Start(server.WriteTimeout, c.extend)
	}
	return c
}

// end is called when the server has ended the call.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.pace.Stop()
}

// extend moves the write deadline unless a write is stalled.
func (c *call) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && !c.revoked && c.pace.Tick() {
		_ = c.rc.SetWriteDeadline(time.Now().Add(c.pace.Timeout)) // a writer without deadlines needs none
	}
}

// admitted removes the read deadline: a client may be silent for any time.
func (c *call) admitted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		_ = c.rc.SetReadDeadline(time.Time{}) // a reader without deadlines needs none
	}
}

// revokedStall bounds a write without progress after the revocation. Others get the status.
const revokedStall = 200 * time.Millisecond

// endStalledWrites resets the stream, from now on, when a write makes no progress.
func (c *call) endStalledWrites() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		c.revoked = true
		c.pace.Start(revokedStall, c.endIfStalled)
	}
}

var longAgo = time.Unix(1, 0)

func (c *call) endIfStalled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over && !c.pace.Tick() {
		_ = c.rc.SetWriteDeadline(longAgo) // a writer without deadlines cannot be blocked by its client
	}
}

// Header implements [http.ResponseWriter].
func (c *call) Header() http.Header { return c.w.Header() }

// WriteHeader implements [http.ResponseWriter].
func (c *call) WriteHeader(code int) { c.w.WriteHeader(code) }

// Write implements [http.ResponseWriter].
func (c *call) Write(data []byte) (int, error) {
	c.pace.Begin()
	defer c.pace.End()
	return c.w.Write(data)
}

// Flush implements [http.Flusher], which grpc needs.
func (c *call) Flush() {
	c.pace.Begin()
	defer c.pace.End()
	_ = c.rc.Flush() // the next write fails too
}
