package admin

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// Defaults of [Options].
const (
	// DefaultBodyLimit fits a whole policy.
	DefaultBodyLimit  = 64 << 20
	DefaultLinesLimit = 4 << 30
	DefaultIdle       = 30 * time.Second
	DefaultUpdateRate = 50
)

// Options of [New]. Engine is required.
type Options struct {
	Engine *actors.Engine
	// Identifier finds the caller of a request; nil for mutual TLS with SPIFFE IDs.
	Identifier httpapi.Identifier
	// Issuers returns the SHA-256 of the public keys of the callers' trust anchors, in
	// hexadecimal, as certs.TrustAnchors.Issuers does. The issuer of a certificate that is
	// revoked by its serial number has to be one of them; nil accepts any.
	Issuers func() []string
	// IsCA reports whether a certificate is that of a CA of callers, whose revocation ends them all;
	// nil if this is not known.
	IsCA func(policy.CertificateID) bool
	// Logger is for requests without a log of their own; nil for slog.Default.
	Logger *slog.Logger
	// BodyLimit bounds a body in bytes; 0 for [DefaultBodyLimit].
	BodyLimit int64
	// LinesLimit bounds a policy in lines instead of BodyLimit; 0 for [DefaultLinesLimit].
	LinesLimit int64
	// Idle bounds the time for each 64 KiB of a policy in lines, sent or received; 0 for
	// [DefaultIdle].
	Idle time.Duration
	// UpdateRate bounds the updates of each author in a second, on average; 0 for
	// [DefaultUpdateRate], negative for no limit. An author can make ten times as many at once.
	UpdateRate float64
	// Store is the store of the engine's log; nil for a log in memory.
	Store Store
}

// Store is what an operator can do with the store of a running engine.
type Store interface {
	// Verify reads the whole store. Its errors name what is damaged.
	Verify(ctx context.Context) (oplog.Verification, error)
	// Backup writes a copy of the store.
	Backup(ctx context.Context, to io.Writer) error
}

// api serves the endpoints.
type api struct {
	engine  *actors.Engine
	callers httpapi.Identifier
	issuers func() []string
	isCA    func(policy.CertificateID) bool
	limit   int64
	store   Store

	connected connected
	gates     gates
	pace      pace

	linesLimit int64
	idle       time.Duration
}

// New returns the handler of /v1/changes, /v1/policy, /v1/principals, /v1/roles, /v1/leases,
// /v1/explain, /v1/store, and of their description at [openapi.Path]. It can be mounted on any
// router that leaves the path as it is. It is safe for concurrent use.
func New(o Options) http.Handler { return web.ForAPI(newRouter(o)) }

// newRouter makes the routes.
func newRouter(o Options) *mux.Router {
	a := &api{
		engine: o.Engine, callers: o.Identifier, issuers: o.Issuers, isCA: o.IsCA, store: o.Store,
		limit:      cmp.Or(o.BodyLimit, DefaultBodyLimit),
		linesLimit: cmp.Or(o.LinesLimit, DefaultLinesLimit),
		idle:       cmp.Or(o.Idle, DefaultIdle),
		gates:      newGates(),
		pace:       newPace(cmp.Or(o.UpdateRate, DefaultUpdateRate)),
	}
	if a.callers == nil {
		a.callers = httpapi.NewConnections(nil)
	}
	r := httpapi.NewRouter(o.Logger)
	for _, route := range []struct {
		method, path string
		serve        web.HandlerFunc
	}{
		{http.MethodPost, "/v1/changes", a.postChanges},
		{http.MethodHead, "/v1/policy", a.headPolicy},
		{http.MethodPut, "/v1/policy", a.putPolicy},
		{http.MethodGet, "/v1/roles/{role}", a.getRole},
	} {
		r.Handle(route.path, web.Handle(o.Logger, route.serve)).Methods(route.method)
	}
	// What may take long is an operation. It ends when its caller loses the right, and the
	// update that takes the right waits for it.
	guard := httpapi.NewGuard(o.Engine, a.callers, o.Logger)
	for _, route := range []struct {
		method, path     string
		action, resource string
		serve            web.HandlerFunc
	}{
		{http.MethodGet, "/v1/changes", control.ActionRead, control.ResourceChanges, a.getChanges},
		{http.MethodGet, "/v1/changes/{revision}", control.ActionRead, control.ResourceChanges, a.getReceipt},
		{http.MethodGet, "/v1/policy", control.ActionRead, control.ResourcePolicy, a.getPolicy},
		{http.MethodGet, "/v1/principals", control.ActionRead, control.ResourcePolicy, a.getPrincipal},
		{http.MethodGet, "/v1/leases", control.ActionRead, control.ResourceLeases, a.getLeases},
		{http.MethodPost, "/v1/explain", control.ActionRead, control.ResourceChanges, a.postExplain},
		{http.MethodPost, "/v1/store/verify", control.ActionOperate, control.ResourceStore, a.postVerify},
		{http.MethodGet, "/v1/store/backup", control.ActionOperate, control.ResourceStore, a.getBackup},
	} {
		rule := httpapi.Rule{Action: route.action, Resource: route.resource, Mode: httpapi.Admit}
		r.Handle(route.path, guard.Protect(rule, web.Handle(o.Logger, a.connects(route.serve)))).Methods(route.method)
	}
	r.Handle(openapi.Path, openapi.Admin()).Methods(http.MethodGet)
	return r
}

// connects remembers the caller of an operation, see [connected].
func (a *api) connects(serve web.HandlerFunc) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if caller, ok := httpapi.CallerOf(r.Context()); ok {
			a.connected.add(caller.Principal)
		}
		return serve(w, r)
	}
}

// authorize returns an error unless the caller of r has the right.
func (a *api) authorize(r *http.Request, action, resource string) error {
	caller, err := a.callers.Identify(r)
	if err != nil {
		return err
	}
	if err := web.Authorize(r.Context(), a.engine, caller.Request(action, resource)); err != nil {
		return err
	}
	a.connected.add(caller.Principal)
	return nil
}

// etag identifies a revision of this store. The number alone has no meaning in another store.
func (a *api) etag(revision uint64) string {
	return `"` + a.engine.StoreID() + "." + strconv.FormatUint(revision, 10) + `"`
}
