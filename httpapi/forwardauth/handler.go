package forwardauth

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// Path is where interlock serve has the handler.
const Path = "/v1/forward-auth"

// Options of [New].
type Options struct {
	// Engine decides. It is required.
	Engine *actors.Engine
	// Identifier identifies callers; nil is mutual TLS with SPIFFE IDs. The listener's Connections
	// identify the client of a proxy.
	Identifier httpapi.Identifier
	// Format says which headers have the original request. It is required, and not Envoy.
	Format forwarded.Format
	// Routes are tried in this order. The first one that matches the original request decides.
	Routes []routes.Route
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Handler answers whether an original request is allowed, at every path and for every method of
// the request that asks. Make one with [New]. It is safe for concurrent use.
type Handler struct {
	decider *routes.Decider
	source  source
	nginx   bool
}

// source has the names of the headers with the original request.
type source struct{ method, host, uri string }

var (
	original  = source{"X-Original-Method", "X-Original-Host", "X-Original-Uri"}
	forwarder = source{"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"}
)

var sources = map[forwarded.Format]source{
	forwarded.Nginx: original, forwarded.HAProxy: original, forwarded.RFC9440: original,
	forwarded.Caddy: forwarder, forwarded.Traefik: forwarder,
}

// New makes a handler. The error lists all faults of the routes and wraps [policy.ErrInvalid].
func New(o Options) (*Handler, error) {
	from, known := sources[o.Format]
	if !known {
		return nil, fmt.Errorf("%w: proxies of format %q do not ask by forward authentication", policy.ErrInvalid, o.Format)
	}
	decider, err := routes.NewDecider(routes.DeciderOptions{Engine: o.Engine, Identifier: o.Identifier, Routes: o.Routes, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &Handler{decider: decider, source: from, nginx: o.Format == forwarded.Nginx}, nil
}

// Use replaces the routes for all later requests, or returns the error of [New] and changes nothing.
func (h *Handler) Use(all []routes.Route) error { return h.decider.Use(all) }

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.nginx {
		w = &forNginx{w}
	}
	asked, err := h.source.about(r)
	if err != nil {
		httpapi.WriteProblem(w, r, err)
		return
	}
	h.decider.ServeHTTP(w, asked)
}

// about returns the original request.
func (s source) about(r *http.Request) (*http.Request, error) {
	var values [3]string
	for i, name := range []string{s.method, s.host, s.uri} {
		found := r.Header[name]
		if len(found) != 1 || found[0] == "" {
			return nil, web.NewProblem(http.StatusBadRequest, "original-request", "Original request unknown",
				fmt.Sprintf("%s occurs %d times or is empty, but the proxy sets it once. Configure the proxy to set it.", name, len(found)))
		}
		values[i] = found[0]
	}
	return routes.About(r, values[0], values[1], values[2])
}

// forNginx answers with a 403 where auth_request would make a 500 of the status.
type forNginx struct{ http.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w *forNginx) WriteHeader(status int) {
	if status != http.StatusUnauthorized && status >= 300 {
		status = http.StatusForbidden
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap serves [http.ResponseController].
func (w *forNginx) Unwrap() http.ResponseWriter { return w.ResponseWriter }
