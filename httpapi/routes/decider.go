package routes

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// DeciderOptions are those of [NewDecider].
type DeciderOptions struct {
	// Engine decides. It is required.
	Engine *actors.Engine
	// Identifier identifies callers; nil is mutual TLS with SPIFFE IDs.
	Identifier httpapi.Identifier
	// Routes are tried in this order. The first one that matches a request decides.
	Routes []Route
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Decider decides about requests and runs none of them: see [httpapi.Guard.Decide]. A request
// without a route is answered with a 403, whoever asks. A Decider is safe for concurrent use.
type Decider struct {
	guard  *httpapi.Guard
	log    *slog.Logger
	router atomic.Pointer[mux.Router]
}

// NewDecider makes a decider. The error lists all faults of the routes and wraps
// [policy.ErrInvalid].
func NewDecider(o DeciderOptions) (*Decider, error) {
	d := &Decider{guard: httpapi.NewGuard(o.Engine, o.Identifier, o.Logger), log: cmp.Or(o.Logger, slog.Default())}
	if err := d.Use(o.Routes); err != nil {
		return nil, err
	}
	return d, nil
}

// Use replaces the routes for all later requests, or returns the error of [NewDecider] and changes
// nothing.
func (d *Decider) Use(all []Route) error {
	router := httpapi.NewRouter(d.log)
	router.NotFoundHandler = web.Handle(d.log, noRoute)
	router.MethodNotAllowedHandler = router.NotFoundHandler
	var faults []error
	for i := range all {
		err := all[i].Check()
		if err == nil {
			err = all[i].Add(router, d.guard.Decide)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("route %d (%s): %w", i+1, all[i].Path, err))
		}
	}
	if err := errors.Join(append(faults, httpapi.CheckRoutes(router))...); err != nil {
		return err
	}
	d.router.Store(router)
	return nil
}

func noRoute(http.ResponseWriter, *http.Request) error {
	return web.NewProblem(http.StatusForbidden, "no-route", "No route", "No route of the server has this host, method and path.")
}

// ServeHTTP answers whether the request is allowed.
func (d *Decider) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.router.Load().ServeHTTP(w, r) }

// About returns a request to decide about: r with another method, host and URI, as they are in the
// request line and the header Host of a client. It has the headers, the context and the connection of
// r, and no body. The error is a problem of status 400.
func About(r *http.Request, method, host, uri string) (*http.Request, error) {
	if method == "" || !strings.HasPrefix(uri, "/") {
		return nil, web.NewProblem(http.StatusBadRequest, "path", "Path not canonical",
			"The request that is asked about has no method, or a path that does not begin with a slash.")
	}
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		p := web.NewProblem(http.StatusBadRequest, "path", "Path not canonical", "The path of the request that is asked about cannot be parsed.")
		p.Cause = err
		return nil, p
	}
	asked := r.WithContext(r.Context())
	asked.Method, asked.Host, asked.URL, asked.RequestURI = method, host, u, uri
	asked.Pattern, asked.Body, asked.ContentLength, asked.TransferEncoding = "", http.NoBody, 0, nil
	return asked, nil
}
