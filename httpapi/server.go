package httpapi

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// ServerOptions of [NewServer]. What is zero gets the value that stands in its comment.
type ServerOptions struct {
	// Addr is where ListenAndServeTLS listens; not needed with a listener of one's own.
	Addr    string
	Handler http.Handler
	// TLS is the configuration, best from certs.ServerConfig; nil for a plain server, to
	// which nobody can identify himself.
	TLS *tls.Config
	// Connections is what the handlers ask for the caller; it gets the connections to look
	// after. nil for one of the server's own.
	Connections *Connections
	Limits      ConnectionLimits
	// Proxied is for a server to which clients come through proxies; nil for all others.
	Proxied *Proxied
	// Logger is slog.Default. The access log is at level debug.
	Logger *slog.Logger

	ReadHeaderTimeout time.Duration // 5 s
	// ReadTimeout is for the whole request, the handshake included: 30 s.
	ReadTimeout time.Duration
	// WriteTimeout is for the handler and its answer: 30 s. A handler that needs longer
	// moves its deadline with [http.ResponseController].
	WriteTimeout time.Duration
	IdleTimeout  time.Duration // 2 min
	// MaxHeaderBytes bounds the request line and headers: 64 KiB.
	MaxHeaderBytes int
	// MaxConcurrentStreams bounds the requests under way on an HTTP/2 connection: 128.
	MaxConcurrentStreams int
}

// NewServer makes a server for HTTP/1.1 and HTTP/2 with all its limits set. It gives each
// request an ID (the client's X-Request-ID if it is 1 to 128 visible ASCII characters)
// that is in the answer, in the log of the request and in every problem document; and it
// answers a panic of the handler with a 500, but for [http.ErrAbortHandler], which breaks
// off the answer. Serving, and closing, are the caller's.
func NewServer(o ServerOptions) *http.Server {
	o.Logger = cmp.Or(o.Logger, slog.Default())
	server := &http.Server{
		Addr:              o.Addr,
		Handler:           scoped(o.Logger, o.Proxied, o.Handler),
		TLSConfig:         o.TLS,
		ReadHeaderTimeout: cmp.Or(o.ReadHeaderTimeout, 5*time.Second),
		ReadTimeout:       cmp.Or(o.ReadTimeout, 30*time.Second),
		WriteTimeout:      cmp.Or(o.WriteTimeout, 30*time.Second),
		IdleTimeout:       cmp.Or(o.IdleTimeout, 2*time.Minute),
		MaxHeaderBytes:    cmp.Or(o.MaxHeaderBytes, 64<<10),
		ErrorLog:          log.New(errorLog{o.Logger}, "", 0),
		// OPTIONS * goes to the handler as well.
		DisableGeneralOptionsHandler: true,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: cmp.Or(o.MaxConcurrentStreams, 128),
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     5 * time.Second,
		},
	}
	if o.Connections == nil {
		o.Connections = NewConnections(nil)
	}
	o.Connections.attach(server, o.Limits, o.Proxied, o.Logger)
	return server
}

// errorLog brings what net/http has to say, failed handshakes for the most part, into
// the log as a value.
type errorLog struct{ log *slog.Logger }

func (e errorLog) Write(line []byte) (int, error) {
	e.log.Info("connection failed", slog.String("detail", string(bytes.TrimSpace(line))))
	return len(line), nil
}

// scoped gives each request its ID, its log and its recorder, takes from it what only a proxy
// may say, and meets its panics.
func scoped(log *slog.Logger, proxied *Proxied, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestIDOf(r.Header)
		conn := connectionOf(r.Context())
		scope := &requestScope{id: id, log: log.With(slog.String("request", id))}
		if proxied != nil {
			scope.forwarded = proxied.forwarded(conn, r)
		} else {
			forwarded.Remove(r.Header)
		}
		r = withScope(r, scope)
		w.Header().Set(requestIDHeader, id)
		answer, began := recorded(w), time.Now()
		answer.conn = conn
		defer func() {
			v := recover()
			defer logAccess(r, answer, began)
			if v == http.ErrAbortHandler {
				panic(v)
			}
			if v != nil {
				answer.fail(r, &panicked{value: v, stack: debug.Stack()})
			}
		}()
		next.ServeHTTP(answer, r)
		answer.begin()
	})
}

// panicked is the error of a handler that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string {
	return fmt.Sprintf("the handler panicked: %v\n%s", p.value, p.stack)
}

func logAccess(r *http.Request, answer *response, began time.Time) {
	loggerOf(r.Context()).LogAttrs(r.Context(), slog.LevelDebug, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()), slog.String("protocol", r.Proto),
		slog.String("peer", r.RemoteAddr), slog.Int("status", cmp.Or(answer.status, http.StatusOK)),
		slog.Int64("bytes", answer.bytes), slog.Duration("took", time.Since(began)))
}
