package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
)

// AdminOptions of [NewAdminAPI].
type AdminOptions struct {
	Engine *actors.Engine
	// Callers identifies administrators; nil for SPIFFE IDs.
	Callers *Connections
	// Issuers are the SHA-256 of the public keys of the callers' authorities, in
	// hexadecimal, as certs.TrustAnchors.Issuers gives them. A certificate that is revoked by its
	// serial number has to be of one of them; nil takes any.
	Issuers func() []string
	// Logger may be nil.
	Logger *slog.Logger
	// BodyLimit bounds a request's body in bytes; 0 for [DefaultAdminBodyLimit].
	BodyLimit int64
	// LinesLimit bounds a policy in lines, in place of BodyLimit; 0 for [DefaultLinesLimit].
	LinesLimit int64
	// Idle is how long the next 64 KiB of a policy in lines may take, on their way in either
	// direction; 0 for [DefaultIdle].
	Idle time.Duration
	// Store is where the engine's log keeps its things; nil for in memory.
	Store Store
}

// DefaultAdminBodyLimit bounds a body of the admin API, unless options say otherwise: a
// whole policy has to fit.
const DefaultAdminBodyLimit = 64 << 20

// adminAPI is the administration point: it reads and changes the policy. Whoever calls it
// is a principal like any other, whose rights are permissions of the policy.
type adminAPI struct {
	engine  *actors.Engine
	callers *Connections
	issuers func() []string
	limit   int64
	store   Store

	connected connected

	lines      http.Handler // getLines behind the guard
	linesLimit int64
	idle       time.Duration
}

// NewAdminAPI returns the handler of the admin listener: /v1/changes, /v1/policy,
// /v1/principals, /v1/leases, /v1/explain and /v1/store, as docs/admin-api.md describes
// them.
func NewAdminAPI(o AdminOptions) http.Handler {
	a := &adminAPI{engine: o.Engine, callers: o.Callers, issuers: o.Issuers, limit: limitOr(o.BodyLimit, DefaultAdminBodyLimit), store: o.Store,
		linesLimit: limitOr(o.LinesLimit, DefaultLinesLimit), idle: cmp.Or(o.Idle, DefaultIdle)}
	if a.callers == nil {
		a.callers = NewConnections(nil)
	}
	r := NewRouter(o.Logger)
	for _, route := range []struct {
		method, path string
		serve        handlerFunc
	}{
		{http.MethodPost, "/v1/changes", a.postChanges},
		{http.MethodGet, "/v1/changes/{revision}", a.getReceipt},
		{http.MethodGet, "/v1/policy", a.getPolicy},
		{http.MethodHead, "/v1/policy", a.headPolicy},
		{http.MethodPut, "/v1/policy", a.putPolicy},
		{http.MethodGet, "/v1/principals", a.getPrincipal},
		{http.MethodGet, "/v1/leases", a.getLeases},
		{http.MethodPost, "/v1/explain", a.postExplain},
	} {
		r.Handle(route.path, handle(o.Logger, route.serve)).Methods(route.method)
	}
	// What may last runs as an operation like any other: it ends when its caller's right does.
	guard := NewGuard(o.Engine, a.callers, o.Logger)
	a.lines = guard.Protect(Rule{Action: control.ActionRead, Resource: control.ResourcePolicy, Mode: Admit}, handle(o.Logger, a.getLines))
	for _, route := range []struct {
		method, path, action, resource string
		serve                          handlerFunc
	}{
		{http.MethodGet, "/v1/changes", control.ActionRead, control.ResourceChanges, a.getChanges},
		{http.MethodPost, "/v1/store/verify", control.ActionOperate, control.ResourceStore, a.postVerify},
		{http.MethodGet, "/v1/store/backup", control.ActionOperate, control.ResourceStore, a.getBackup},
	} {
		rule := Rule{Action: route.action, Resource: route.resource, Mode: Admit}
		r.Handle(route.path, guard.Protect(rule, handle(o.Logger, route.serve))).Methods(route.method)
	}
	return r
}

// may returns the caller if it has the right.
func (a *adminAPI) may(r *http.Request, action, resource string) (*Caller, error) {
	caller, err := a.callers.CallerFrom(r)
	if err != nil {
		return nil, err
	}
	req := caller.Request(action, resource)
	d, err := a.engine.Decide(r.Context(), req)
	if err != nil {
		return nil, err
	}
	if !d.Allowed {
		return nil, &actors.DeniedError{Decision: d, Principal: req.Principal, Action: action, Resource: resource}
	}
	a.connected.add(caller.Principal)
	return caller, nil
}

// connected remembers the principals that used a right on the admin API since the server
// started, for [control.Author.Connected]. It is safe for concurrent use.
type connected struct {
	mu   sync.Mutex
	seen map[policy.Principal]struct{}
}

// maxConnected bounds the set. Administrators are few, so it is not reached in practice;
// later ones are not remembered.
const maxConnected = 10_000

func (c *connected) add(p policy.Principal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[policy.Principal]struct{}{}
	}
	if len(c.seen) < maxConnected {
		c.seen[p] = struct{}{}
	}
}

func (c *connected) has(p policy.Principal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[p]
	return ok
}

// etag names a revision of this store: the number alone means nothing in another one.
func (a *adminAPI) etag(revision uint64) string {
	return `"` + a.engine.Identity() + "." + strconv.FormatUint(revision, 10) + `"`
}

// ifMatch returns the precondition of the request's If-Match, nil if it has none.
func (a *adminAPI) ifMatch(h http.Header) (func(policy.View) error, error) {
	values := h.Values("If-Match")
	if len(values) == 0 {
		return nil, nil
	}
	var tags []string
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" {
				return func(policy.View) error { return nil }, nil
			}
			if len(tag) < 2 || !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
				return nil, queryProblem("If-Match", "is not an entity tag in quotes, as a response's ETag gives it")
			}
			tags = append(tags, tag)
		}
	}
	return func(tip policy.View) error {
		current := a.etag(tip.Revision())
		for _, tag := range tags {
			if tag == current {
				return nil
			}
		}
		return &staleError{current: current}
	}, nil
}

// isAt is the precondition that nothing has changed since a revision.
func (a *adminAPI) isAt(revision uint64) func(policy.View) error {
	return func(tip policy.View) error {
		if tip.Revision() != revision {
			return &staleError{current: a.etag(tip.Revision())}
		}
		return nil
	}
}

// staleError is a failed If-Match. It wraps [actors.ErrPrecondition].
type staleError struct{ current string }

func (e *staleError) Error() string { return "the policy is at " + e.current + " by now" }

// Unwrap returns [actors.ErrPrecondition].
func (e *staleError) Unwrap() error { return actors.ErrPrecondition }

// Bounds of what a request may ask for. An update has minWait at least until it is
// applied: whoever would not wait for its receipt does want the update.
const (
	minWait     = time.Second
	defaultWait = 10 * time.Second
	maxWait     = time.Minute
	maxGrace    = time.Hour
)

// durationOf reads a query parameter such as wait=5s.
func durationOf(r *http.Request, name string, otherwise, most time.Duration) (time.Duration, error) {
	query := r.URL.Query()
	if !query.Has(name) {
		return otherwise, nil
	}
	d, err := time.ParseDuration(query.Get(name))
	if err != nil || d < 0 || d > most {
		return 0, queryProblem(name, "is not a duration from 0s to "+most.String()+", such as 5s")
	}
	return d, nil
}

// onlyQuery refuses parameters that mean nothing here, and what is no query: a misspelt
// dry-run would be taken for none.
func onlyQuery(r *http.Request, known ...string) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return queryProblem("query", "is not of the form name=value&name=value")
	}
next:
	for name, values := range query {
		for _, k := range known {
			if name == k && len(values) == 1 {
				continue next
			}
		}
		return queryProblem(name, "is not known here, or stands there twice")
	}
	return nil
}

func queryProblem(name, what string) *Problem {
	p := problem(http.StatusBadRequest, "malformed-request", "Malformed request", name+" "+what+".")
	p.Members = map[string]any{"errors": []fieldFault{{Field: name, Detail: what}}}
	return p
}

func revisionVar(r *http.Request) (uint64, error) {
	n, err := strconv.ParseUint(mux.Vars(r)["revision"], 10, 64)
	if err != nil {
		return 0, queryProblem("revision", "is not a number")
	}
	return n, nil
}
