package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Mode is how a guarded handler runs.
type Mode uint8

const (
	// Admit runs the handler outside its principal's turn, under a lease: concurrently
	// with others of the same principal, free to block, stream and hijack. When its
	// authority is revoked its context is cancelled and its reading and writing end.
	Admit Mode = iota
	// Execute runs the handler in the turn: serialized with all operations and updates of
	// its principal. It is for short handlers that do not block; the body is read before
	// and the response is sent after the turn, so there is no flushing and no hijacking.
	Execute
)

// Limits in Execute mode, when a [Rule] does not say otherwise.
const (
	DefaultBodyLimit     = 1 << 20
	DefaultResponseLimit = 4 << 20
)

// Rule says what a route asks for.
type Rule struct {
	// Action is the action, and Resource a template of the resource: {name} is replaced
	// by the route's variable of that name (of gorilla/mux, or of net/http's own mux),
	// which has to be one whole segment; {name...} takes a variable that may hold several
	// segments. Everything else stands for itself.
	Action   string
	Resource string
	Mode     Mode
	// Properties gives conditions the resource's properties; nil for none. In Execute
	// mode it may read the body, which the handler finds unread all the same; in Admit
	// mode what it reads is gone.
	Properties func(*http.Request) (map[string]any, error)
	// BodyLimit and ResponseLimit bound, in bytes, what Execute mode holds in memory; 0
	// for the defaults.
	BodyLimit, ResponseLimit int64
}

// Guard is the enforcement point: middleware that lets a handler run only as an operation
// that the engine has authorized (G1), and ends it when it loses its authority (G2). It
// is safe for concurrent use; make one with [NewGuard].
type Guard struct {
	engine  *actors.Engine
	callers *Connections
	log     *slog.Logger
}

// NewGuard makes a guard. callers may be nil: SPIFFE IDs then, looked at for each request;
// share it with [NewServer] to look once for each connection. log may be nil.
func NewGuard(engine *actors.Engine, callers *Connections, log *slog.Logger) *Guard {
	if callers == nil {
		callers = NewConnections(nil)
	}
	return &Guard{engine: engine, callers: callers, log: log}
}

// Protect puts the guard around a handler. The caller is identified by its verified client
// certificate; action and resource come from the rule and the route's variables. What is
// refused is answered with a problem document and does not reach the handler: 401 without
// an identity or with an ended credential, 400 for a path that is not canonical, 403 when
// the policy does not allow it, 503 when too many requests wait.
//
// The handler's context is that of its lease, or of its turn. [CallerOf] finds the caller
// in it and [actors.RevisionOf] the revision.
//
// On revocation in Admit mode the context is cancelled with [actors.ErrRevoked], reading
// and writing fail at once, and a response that is under way is broken off, so that no
// client takes it for whole. The update that revoked waits for the handler to return. A
// connection that the handler hijacked is closed, and is part of the operation until then.
//
// Protect panics if the rule is malformed, as a route that can never match would be.
func (g *Guard) Protect(rule Rule, next http.Handler) http.Handler {
	t, err := parseTemplate(rule.Resource)
	if err == nil {
		err = policy.CheckAction(rule.Action)
	}
	if err != nil {
		panic(fmt.Sprintf("httpapi: rule for %q on %q: %v", rule.Action, rule.Resource, err))
	}
	route := &guarded{Guard: g, rule: rule, template: t, next: next}
	serve := route.admit
	if rule.Mode == Execute {
		serve = route.execute
	}
	return handle(g.log, serve)
}

// guarded is a handler behind a guard.
type guarded struct {
	*Guard
	rule     Rule
	template template
	next     http.Handler
}

// request makes the engine's request of an HTTP request, and the context that carries the
// caller.
func (g *guarded) request(r *http.Request) (context.Context, actors.Request, error) {
	caller, err := g.callers.CallerFrom(r)
	if err != nil {
		return nil, actors.Request{}, err
	}
	return g.requestOf(caller, r)
}

func (g *guarded) requestOf(caller *Caller, r *http.Request) (context.Context, actors.Request, error) {
	if err := checkPath(r.URL); err != nil {
		return nil, actors.Request{}, err
	}
	resource, err := g.template.fill(r)
	if err != nil {
		return nil, actors.Request{}, err
	}
	req := caller.Request(g.rule.Action, resource)
	if g.rule.Properties != nil {
		properties, err := g.rule.Properties(r)
		if err != nil {
			return nil, actors.Request{}, propertiesError(err)
		}
		req.Properties = &policy.Properties{Resource: properties}
	}
	return context.WithValue(r.Context(), callerKey{}, caller), req, nil
}

// propertiesError makes a 400 of what a Properties function found wrong with the request,
// unless it is an error of its own making.
func propertiesError(err error) error {
	var own *Problem
	if errors.As(err, &own) || isA[*http.MaxBytesError](err) {
		return err
	}
	p := problem(http.StatusBadRequest, "malformed-request", "Malformed request", "What the policy needs to know cannot be read from the request.")
	p.Cause = err
	return p
}

func (g *guarded) admit(w http.ResponseWriter, r *http.Request) error {
	ctx, req, err := g.request(r)
	if err != nil {
		return err
	}
	lease, err := g.lease(ctx, req)
	if err != nil {
		return err
	}
	op := newOperation(w, lease)
	defer op.handlerEnded()
	handler := &handlerContext{lease: lease.Context(), client: ctx}
	defer handler.end()
	g.next.ServeHTTP(op, r.WithContext(handler))
	if op.handlerReturned() {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// lease admits the request while the client waits for it, and not beyond. The lease's own
// context does not end with the client's: a lease is cancelled once only, and that has to
// be left for its revocation, which may come when the client has gone and the handler, or
// the connection that it hijacked, has not.
func (g *guarded) lease(client context.Context, req actors.Request) (*actors.Lease, error) {
	lease, err := g.engine.AdmitDetached(client, req)
	if err == nil && client.Err() != nil { // the client has gone
		lease.Release()
		return nil, client.Err()
	}
	return lease, err
}

func (g *guarded) execute(w http.ResponseWriter, r *http.Request) error {
	caller, err := g.callers.CallerFrom(r)
	if err != nil {
		return err // before anything is read for somebody unknown
	}
	body, err := wholeBody(w, r, limitOr(g.rule.BodyLimit, DefaultBodyLimit))
	if err != nil {
		return err
	}
	if body != nil {
		r = withBody(r, body)
	}
	ctx, req, err := g.requestOf(caller, r)
	if err != nil {
		return err
	}
	answer := newBuffered(w.Header(), limitOr(g.rule.ResponseLimit, DefaultResponseLimit))
	err = g.engine.Execute(ctx, req, func(ctx context.Context) error {
		served := r.WithContext(ctx)
		if body != nil {
			setBody(served, body) // the properties have read the other
		}
		g.next.ServeHTTP(answer, served)
		return nil
	})
	if err != nil {
		return executeError(err)
	}
	return answer.send(w)
}

// executeError lets a handler that broke off its response do so.
func executeError(err error) error {
	var panicked *actors.PanicError
	if errors.As(err, &panicked) && panicked.Value == http.ErrAbortHandler {
		panic(http.ErrAbortHandler)
	}
	return err
}

func limitOr(limit, otherwise int64) int64 {
	if limit > 0 {
		return limit
	}
	return otherwise
}

// callerKey is the context's key of the caller of a guarded handler.
type callerKey struct{}

// CallerOf returns the caller on whose behalf a guarded handler runs, from the handler's
// context.
func CallerOf(ctx context.Context) (*Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*Caller)
	return c, ok
}
