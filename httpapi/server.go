package httpapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// ServerOptions of [NewServer]. A zero field has the default in its comment.
type ServerOptions struct {
	// Addr is the address for ListenAndServeTLS; not needed with a listener.
	Addr    string
	Handler http.Handler
	// TLS is the configuration, preferably from certs.ServerConfig; nil for a plain server, on
	// which no caller has an identity.
	TLS *tls.Config
	// Connections manages the connections, and identifies callers for handlers that use it;
	// nil for one that the server makes.
	Connections *Connections
	Limits      ConnectionLimits
	// Proxied is for a server whose clients connect through proxies; nil for all others.
	Proxied *Proxied
	// Logger is slog.Default by default. The access log has level debug.
	Logger *slog.Logger

	ReadHeaderTimeout time.Duration // 5 s
	// ReadTimeout bounds reading the whole request, including the handshake: 30 s.
	ReadTimeout time.Duration
	// WriteTimeout bounds the handler and its answer: 30 s. A handler that needs longer
	// moves its deadline with [http.ResponseController].
	// A guarded handler in mode [Admit] may take any time: its answer is aborted only if its
	// client does not read for that long.
	WriteTimeout time.Duration
	IdleTimeout  time.Duration // 2 min
	// MaxHeaderBytes bounds the request line and headers: 64 KiB.
	MaxHeaderBytes int
	// MaxConcurrentStreams bounds the concurrent requests on an HTTP/2 connection: 128.
	MaxConcurrentStreams int
}

// NewServer makes a server for HTTP/1.1 and HTTP/2 with all its limits set. It gives each
// request an ID (the client's X-Request-ID if it has 1 to 256 bytes), which is
// in the answer, in the request's log and in every problem document. It answers a panic of the
// handler with a 500, except [http.ErrAbortHandler], which aborts the answer. The caller serves
// and closes the server.
//
// NewServer panics if the handler is a router that fails [CheckRoutes].
func NewServer(o ServerOptions) *http.Server {
	if router, ok := o.Handler.(*mux.Router); ok {
		if err := CheckRoutes(router); err != nil {
			panic("httpapi: " + err.Error())
		}
	}
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
		ErrorLog:          log.New(&errorLog{log: o.Logger}, "", 0),
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

// scoped gives each request its ID, its log and its recorder, removes identity headers that
// only a proxy may set, and recovers panics.
func scoped(log *slog.Logger, proxied *Proxied, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := web.RequestIDOf(r.Header)
		conn := connectionOf(r.Context())
		scope := &web.Scope{ID: id, Log: log.With(slog.String("request", id))}
		if proxied != nil {
			client := proxied.identify(conn, r)
			scope.ViaProxy = client.by != nil
			r = r.WithContext(context.WithValue(r.Context(), forwardedKey{}, client))
		} else {
			forwarded.Remove(r.Header)
		}
		r = web.WithScope(r, scope)
		w.Header().Set(web.RequestIDHeader, id)
		answer, began := recorded(w, conn), time.Now()
		defer func() {
			v := recover()
			defer logAccess(r, answer, began)
			if v == http.ErrAbortHandler {
				panic(v)
			}
			if v != nil {
				answer.Fail(r, &panicked{value: v, stack: debug.Stack()})
			}
		}()
		next.ServeHTTP(answer, r)
		answer.Begin()
	})
}

func recorded(w http.ResponseWriter, conn *connection) *web.Response {
	if conn == nil {
		return web.Record(w, nil)
	}
	return web.Record(w, conn)
}

// panicked is the error of a handler that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string {
	return fmt.Sprintf("the handler panicked: %v\n%s", p.value, p.stack)
}

func logAccess(r *http.Request, answer *web.Response, began time.Time) {
	web.LoggerOf(r.Context()).LogAttrs(r.Context(), slog.LevelDebug, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.EscapedPath()), slog.String("protocol", r.Proto),
		slog.String("peer", r.RemoteAddr), slog.Int("status", cmp.Or(answer.Status, http.StatusOK)),
		slog.Int64("bytes", answer.Bytes), slog.Duration("took", time.Since(began)))
}
