package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Options of [New].
type Options struct {
	// Engine authorizes the calls. It is required.
	Engine *actors.Engine
	// Identifier identifies callers; nil is mutual TLS with SPIFFE IDs.
	Identifier httpapi.Identifier
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Gateway is a reverse proxy whose calls are operations of an engine. It is an [http.Handler] for
// [httpapi.NewServer], and safe for concurrent use. The caller closes it.
type Gateway struct {
	guard *httpapi.Guard
	log   *slog.Logger
	table atomic.Pointer[table]
	calls counters

	using  sync.Mutex // held by Use and Close
	closed bool
}

// table is the routes of one configuration.
type table struct {
	router    *mux.Router
	upstreams map[string]*upstream
}

// ErrClosed is the error of [Gateway.Use] after [Gateway.Close].
var ErrClosed = errors.New("the gateway is closed")

// New makes a gateway with these routes. The error lists all faults of the configuration and wraps
// [policy.ErrInvalid].
func New(c Config, o Options) (*Gateway, error) {
	g := &Gateway{guard: httpapi.NewGuard(o.Engine, o.Identifier, o.Logger), log: cmp.Or(o.Logger, slog.Default())}
	g.table.Store(&table{router: httpapi.NewRouter(g.log)})
	if err := g.Use(c); err != nil {
		return nil, err
	}
	return g, nil
}

// Use replaces the configuration for all later requests, or returns the error of [New] and changes
// nothing. Calls in progress keep their route and their upstream. An upstream whose configuration is
// equal, with the same pointer in TLS, keeps its connections and the state of its health checks.
func (g *Gateway) Use(c Config) error {
	g.using.Lock()
	defer g.using.Unlock()
	if g.closed {
		return ErrClosed
	}
	before := g.table.Load()
	next, err := g.build(c, before)
	if err != nil {
		return err
	}
	g.table.Store(next)
	before.closeExcept(next)
	return nil
}

// Close ends the health checks and closes the connections to the upstreams that have no call. The
// others close when their calls end. Requests after Close get a 404.
func (g *Gateway) Close() {
	g.using.Lock()
	defer g.using.Unlock()
	g.closed = true
	none := &table{router: httpapi.NewRouter(g.log)}
	g.table.Swap(none).closeExcept(none)
}

// ServeHTTP implements [http.Handler].
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := web.Record(w, nil)
	returned := false
	defer func() { g.calls.count(answer.Status, returned) }()
	g.table.Load().router.ServeHTTP(answer, r)
	returned = true
}

// build makes a table. It takes the upstreams of the table before that are configured the same way.
func (g *Gateway) build(c Config, before *table) (*table, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &table{router: httpapi.NewRouter(g.log), upstreams: map[string]*upstream{}}
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		if u := before.upstreams[name]; u != nil && u.is(c.Upstreams[name]) {
			t.upstreams[name] = u
		} else {
			t.upstreams[name] = newUpstream(name, c.Upstreams[name], g.log)
		}
	}
	var faults []error
	for i := range c.Routes {
		if err := g.add(t, &c.Routes[i]); err != nil {
			faults = append(faults, fmt.Errorf("route %d (%s): %w", i+1, c.Routes[i].Path, err))
		}
	}
	if err := errors.Join(append(faults, httpapi.CheckRoutes(t.router))...); err != nil {
		t.closeExcept(before)
		return nil, err
	}
	return t, nil
}

// closeExcept closes the upstreams that the other table does not use.
func (t *table) closeExcept(other *table) {
	for name, u := range t.upstreams {
		if other.upstreams[name] != u {
			u.close()
		}
	}
}

// add adds a route to the router of a table.
func (g *Gateway) add(t *table, r *Route) error {
	u := t.upstreams[r.Upstream]
	return r.Add(t.router, func(rule httpapi.Rule) http.Handler {
		rule.Grace = r.Grace
		return g.guard.Protect(rule, newForwarder(u, g.log))
	})
}

// forwarder sends requests to an upstream, each as a guarded operation.
type forwarder struct{ proxy *httputil.ReverseProxy }

// newForwarder makes the handler of a route.
func newForwarder(u *upstream, logger *slog.Logger) *forwarder {
	errors := &proxyLog{log: logger, upstream: u.name}
	return &forwarder{&httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { rewrite(r, u) },
		Transport:      u,
		ModifyResponse: modifyResponse,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, err error) { answerError(w, r, u, err) },
		ErrorLog:       log.New(errors, "", 0),
		BufferPool:     &buffers,
	}}
}

// ServeHTTP implements [http.Handler]. It returns when the upstream has no part in the call any
// more, also by a panic: see the argument in the package documentation.
func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := web.CheckSpelling(r.URL); err != nil {
		httpapi.WriteProblem(w, r, err)
		return
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		r.Header.Del("Upgrade") // h2c, for example, would carry requests that are not authorized
	}
	c := &call{flush: http.NewResponseController(w).Flush}
	defer c.end()
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	if r.ContentLength != 0 && r.Body != nil {
		c.body = newClientBody(w, r)
		_ = c.body.response.EnableFullDuplex() // HTTP/2 is full duplex
		r.Body = c.body
	}
	f.proxy.ServeHTTP(w, r)
}

// buffers are those that copy responses.
var buffers = bufferPool{sync.Pool{New: func() any { return new([32 << 10]byte) }}}

type bufferPool struct{ pool sync.Pool }

// Get implements [httputil.BufferPool].
func (p *bufferPool) Get() []byte { return p.pool.Get().(*[32 << 10]byte)[:] }

// Put implements [httputil.BufferPool].
func (p *bufferPool) Put(b []byte) { p.pool.Put((*[32 << 10]byte)(b)) }

// proxyLog writes what ReverseProxy logs.
type proxyLog struct {
	log      *slog.Logger
	upstream string
}

// Write implements [io.Writer].
func (l *proxyLog) Write(text []byte) (int, error) {
	l.log.Info("a proxied call failed", slog.String("upstream", l.upstream), slog.String("cause", string(text)))
	return len(text), nil
}
