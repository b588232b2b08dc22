package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Mode says how a guarded handler runs.
type Mode uint8

const (
	// Admit runs the handler outside its principal's turn, under a lease: concurrently
	// with others of the same principal. It may block, stream and hijack. A revocation
	// cancels its context and ends its reading and writing.
	Admit Mode = iota
	// Execute runs the handler in the turn, serialized with all operations and updates of
	// its principal. It is for short handlers that do not block. The body is read before the
	// turn and the response is sent after it, so the handler cannot flush or hijack.
	Execute
)

// Default limits in Execute mode, in bytes.
const (
	DefaultBodyLimit     = 1 << 20
	DefaultResponseLimit = 4 << 20
)

// Rule says what a route needs.
type Rule struct {
	// Action is the action. Resource is a template of the resource: {name} is the route's
	// variable of that name (of gorilla/mux or net/http), which has to be one whole segment;
	// {name...} is a variable that may hold several segments. All other text is literal.
	Action   string
	Resource string
	Mode     Mode
	// Grace is how long an operation in Admit mode may continue after it lost its authority:
	// see [actors.Request]. Nil leaves it to the update.
	Grace *time.Duration
	// Properties returns the resource's properties for conditions; nil for none. In Execute
	// mode it may read the body, and the handler can read it again. In Admit mode the handler
	// cannot.
	Properties func(*http.Request) (map[string]any, error)
	// BodyLimit and ResponseLimit bound what Execute mode holds in memory, in bytes; 0 for
	// the defaults.
	BodyLimit, ResponseLimit int64
}

// Guard is the enforcement point: middleware that runs a handler only as an operation that the
// engine has authorized (G1), and ends it when it loses its authority (G2). It is safe for
// concurrent use. Make one with [NewGuard].
type Guard struct {
	engine  *actors.Engine
	callers Identifier
	log     *slog.Logger
	bodies  *web.Bodies // in mode Execute
}

// NewGuard makes a guard. callers identifies the caller of each request; nil for mutual TLS with
// SPIFFE IDs. Share one [Connections] with [NewServer] to identify once for each connection. log
// may be nil.
func NewGuard(engine *actors.Engine, callers Identifier, log *slog.Logger) *Guard {
	if callers == nil {
		callers = NewConnections(nil)
	}
	return &Guard{engine: engine, callers: callers, log: log, bodies: web.NewBodies()}
}

// Protect puts the guard around a handler. The action and the resource come from the rule and the
// route's variables. A rejected request is answered with a problem document and does not reach
// the handler: 401 without an identity or with an ended credential, 400 for a path that is not
// canonical, 403 if the policy does not allow it, 503 if too many requests are waiting.
//
// The handler's context is that of its lease or of its turn. [CallerOf] returns the caller from
// it and [actors.RevisionOf] the revision.
//
// A revocation in Admit mode cancels the context with [actors.ErrRevoked], makes reading and
// writing fail at once, and aborts a response in progress, so that no client takes it for a
// complete one. The update that revoked waits until the handler returns. A connection that the
// handler hijacked is closed, and is part of the operation until then.
//
// Protect panics if the rule is malformed. It does not know the route: [CheckRoutes] finds a
// variable in the resource that the route does not have. A request of such a route gets a 500.
func (g *Guard) Protect(rule Rule, next http.Handler) http.Handler {
	route := g.guard(rule, next)
	if rule.Mode == Execute {
		return route.handler(route.execute)
	}
	return route.handler(route.admit)
}

// guard makes a guarded handler. It panics if the rule is malformed.
func (g *Guard) guard(rule Rule, next http.Handler) *guarded {
	t, err := parseTemplate(rule.Resource)
	if err == nil {
		err = policy.CheckAction(rule.Action)
	}
	if err == nil && rule.Grace != nil && (rule.Mode == Execute || *rule.Grace < 0) {
		err = errors.New("a grace is for mode Admit, and at least 0")
	}
	if err != nil {
		panic(fmt.Sprintf("httpapi: rule for %q on %q: %v", rule.Action, rule.Resource, err))
	}
	return &guarded{Guard: g, rule: rule, template: t, next: next}
}

func (g *guarded) handler(serve web.HandlerFunc) http.Handler {
	return &protected{Handler: web.Handle(g.log, serve), rule: g.rule, template: g.template}
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
	caller, err := g.callers.Identify(r)
	if err != nil {
		return nil, actors.Request{}, err
	}
	return g.requestOf(caller, r)
}

func (g *guarded) requestOf(caller *Caller, r *http.Request) (context.Context, actors.Request, error) {
	if err := checkPath(r.URL); err != nil {
		return nil, actors.Request{}, err
	}
	resource, err := g.template.fill(&g.rule, r)
	if err != nil {
		return nil, actors.Request{}, err
	}
	req := caller.Request(g.rule.Action, resource)
	req.Grace = g.rule.Grace
	if g.rule.Properties != nil {
		properties, err := g.rule.Properties(r)
		if err != nil {
			return nil, actors.Request{}, propertiesError(err)
		}
		req.Properties = &policy.Properties{Resource: properties}
	}
	return ContextWithCaller(r.Context(), caller), req, nil
}

// propertiesError makes a 400 of the error of a Properties function, unless it is a problem.
func propertiesError(err error) error {
	_, own := errors.AsType[*client.Problem](err)
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	if own || tooLarge {
		return err
	}
	p := web.NewProblem(http.StatusBadRequest, "malformed-request", "Malformed request", "The properties for the policy cannot be read from the request.")
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
	op := newOperation(w, r, lease)
	defer op.handlerEnded()
	handler := &handlerContext{lease: lease.Context(), client: ctx}
	defer handler.end()
	g.next.ServeHTTP(op, r.WithContext(handler))
	if op.handlerReturned() {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// lease admits the request while the client waits for it. The lease's own context does not end
// with the client's: a lease is canceled only once, and its revocation has to cancel it even if
// the client is gone and the handler, or the connection that it hijacked, is not.
func (g *guarded) lease(waiting context.Context, req actors.Request) (*actors.Lease, error) {
	lease, err := g.engine.AdmitDetached(waiting, req)
	if err == nil && waiting.Err() != nil { // the client is gone
		lease.Release()
		return nil, waiting.Err()
	}
	return lease, err
}

func (g *guarded) execute(w http.ResponseWriter, r *http.Request) error {
	caller, err := g.callers.Identify(r)
	if err != nil {
		return err // before anything is read for a caller without identity
	}
	limit := cmp.Or(g.rule.BodyLimit, DefaultBodyLimit)
	leave, err := g.bodies.Enter(r, limit, caller.Principal)
	if err != nil {
		return err
	}
	defer leave()
	body, err := wholeBody(w, r, limit)
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
	answer := newBuffered(w.Header(), cmp.Or(g.rule.ResponseLimit, DefaultResponseLimit))
	err = g.engine.Execute(ctx, req, func(ctx context.Context) error {
		served := r.WithContext(ctx)
		if body != nil {
			setBody(served, body) // Properties has read the other one
		}
		g.next.ServeHTTP(answer, served)
		return nil
	})
	if err != nil {
		return executeError(err)
	}
	return answer.send(w)
}

// executeError lets a handler abort its response.
func executeError(err error) error {
	var panicked *actors.PanicError
	if errors.As(err, &panicked) && panicked.Value == http.ErrAbortHandler {
		panic(http.ErrAbortHandler)
	}
	return err
}

// callerKey is the context key of the caller of a guarded handler.
type callerKey struct{}

// ContextWithCaller returns a context from which [CallerOf] returns the caller. It is for guards
// of other protocols: nothing reads an identity from it.
func ContextWithCaller(ctx context.Context, caller *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}

// CallerOf returns the caller of a guarded handler, from the handler's context.
func CallerOf(ctx context.Context) (*Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*Caller)
	return c, ok
}
