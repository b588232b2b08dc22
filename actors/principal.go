package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/policy"
)

// principal is an actor: a mailbox, and the holder whose turns the mailbox feeds. The fields
// that a request touches come first.
type principal struct {
	mailbox
	holder
	lastUsed atomic.Int64
	engine   *Engine
	chunk    *contextChunk // of a principal that is used often; the owner's
	recent   uint32        // functions run since lastUsed; the owner's

	dueAt   int64    // when the ticker was asked to visit; the owner's
	graceAt int64    // when the next timer of a grace ends, on the monotonic clock; the owner's
	visits  *visited // the ticker's reference to this principal; the owner's
	invoker actor.MessageInvoker
	open    atomic.Bool

	// shown tells a sweep what the principal holds: see [principal.show].
	shown atomic.Pointer[policy.Effective]
}

// show publishes what the principal holds for [revision.concerns]. It includes expired grants,
// so that a sweep of an earlier revision still finds the principal.
func (p *principal) show(at *moment, t *policy.Table) {
	shown := p.held
	if p.expired {
		shown = at.intern.effective(t, t.Hold(p.who, p.record, 0))
	}
	p.shown.Store(shown)
}

// compile makes the principal's form for the shape of the table.
func (p *principal) compile(at *moment) {
	p.hold(at, at.table)
	p.show(at, at.table)
	p.watchTime()
}

// operation is what a request asks the turn to do: run fn or do, admit lease, decide batch, or,
// if it is zero, decide the request itself.
type operation struct {
	fn    Func
	do    func() error
	lease *Lease
	batch []*item
}

// item is one request of a batch.
type item struct {
	req      *Request
	decision *policy.Decision
}

// do serves a request in a turn: on the caller's goroutine if the mailbox is idle, otherwise
// through the queue. decision is set for an operation that is zero. errMoved means that the
// mailbox has closed.
func (p *principal) do(ctx context.Context, req *Request, op *operation, decision *policy.Decision) error {
	if !p.acquire() && !p.spin() {
		return p.queue(ctx, req, op, decision)
	}
	defer p.finish()
	var at moment
	p.begin(&at)
	return p.serve(ctx, req, op, decision, &at)
}

// serve runs an operation in a turn that the caller owns.
func (p *principal) serve(ctx context.Context, req *Request, op *operation, decision *policy.Decision, at *moment) error {
	switch {
	case op.fn != nil || op.do != nil:
		return p.run(ctx, req, op, at)
	case op.lease != nil:
		return p.admitTurn(ctx, op.lease, at)
	case op.batch != nil:
		for _, it := range op.batch {
			p.decideTurn(ctx, it.req, it.decision, at)
		}
	default:
		p.decideTurn(ctx, req, decision, at)
	}
	return nil
}

// run decides and runs the function of op. It handles what the function does to its goroutine,
// a panic or Goexit.
func (p *principal) run(ctx context.Context, req *Request, op *operation, at *moment) (err error) {
	var (
		t       *turnContext
		reached stage
		over    bool
	)
	defer func() {
		if !over {
			if t != nil {
				t.end()
			}
			err = p.cut(recover(), reached)
		}
	}()
	v := p.judgeTurn(req, at)
	if o := p.engine.observer; o != nil {
		reached = observing
		if o.Decided(p.who, v.Reason()) {
			o.Described(ctx, p.describe(v, at, req))
		}
	}
	reached = decided
	switch {
	case !v.Allowed():
		err = p.refuse(v, at, req)
	case op.do != nil:
		err = op.do()
	default:
		t = p.turnContext(ctx, at)
		err = op.fn(t)
		t.end()
	}
	over = true
	return err
}

// stage is how far a turn has come with a request. It tells what a panic means.
type stage uint8

const (
	judging   stage = iota // a panic is a fault of the engine, and the principal is denied
	observing              // a panic is the observer's, and the request is denied
	decided                // a panic is the function's
)

// interrupted ends the decision of a turn that a panic, or the end of the goroutine, has interrupted
// before it was decided. v is the value of the panic.
func (p *principal) interrupted(at stage, v any) {
	if at == observing {
		p.engine.observerFailed(v)
	} else {
		p.fault(v)
	}
}

// cut returns the error of a turn whose function panicked or ended its goroutine. If it was
// not decided, the turn itself failed, or the observer.
func (p *principal) cut(v any, at stage) error {
	if at != decided {
		p.interrupted(at, v)
		return ErrFault
	}
	if v == nil {
		return ErrGoexit
	}
	return &PanicError{Value: v, Stack: debug.Stack()}
}

// judgeTurn decides in a turn that the caller owns.
func (p *principal) judgeTurn(req *Request, at *moment) policy.Verdict {
	if p.lastUsed.Load() != at.now && p.shut == policy.ReasonUnset {
		p.lastUsed.Store(at.now)
		p.recent = 0
	}
	if p.hasExpired(at) {
		if fx := p.expire(at); fx != nil {
			p.perform(fx, nil)
			p.watchTime()
		}
	}
	return p.judge(at, req)
}

// decideTurn is judgeTurn with the whole decision, which it writes to d. It denies if the turn
// or the observer fails.
func (p *principal) decideTurn(ctx context.Context, req *Request, d *policy.Decision, at *moment) {
	reached := judging
	defer func() {
		if reached != decided {
			p.interrupted(reached, recover())
			*d = policy.Denied(policy.ReasonFault, p.who, at.table.Revision(), at.now)
		}
	}()
	v := p.judgeTurn(req, at)
	p.decision(d, v, at, req)
	reached = observing
	p.observe(ctx, v, at, req)
	reached = decided
}

// admitTurn decides and records the lease in a turn that the caller owns. It denies if the turn
// or the observer fails.
func (p *principal) admitTurn(ctx context.Context, l *Lease, at *moment) (err error) {
	reached := judging
	defer func() {
		if reached != decided {
			p.interrupted(reached, recover())
			err = ErrFault
		}
	}()
	v := p.judgeTurn(&l.req, at)
	reached = observing
	p.observe(ctx, v, at, &l.req)
	if !v.Allowed() {
		reached = decided
		return p.refuse(v, at, &l.req)
	}
	l.p = p
	l.verdict, l.table, l.record, l.since = v, at.table, p.record, at.now
	p.engine.observeAdmission(l)
	reached = decided
	p.recordLease(l)
	if p.ends != 0 {
		p.watchTime()
	}
	return nil
}

// refuse makes the error of a verdict. It is not inlined, so that it does not enlarge the
// stack frame of allowed requests.
//
//go:noinline
func (p *principal) refuse(v policy.Verdict, at *moment, req *Request) error {
	switch v.Reason() {
	case policy.ReasonFault:
		return ErrFault
	case policy.ReasonClosed:
		return ErrClosed
	case policy.ReasonFenced:
		return ErrFenced
	}
	e := &DeniedError{Principal: req.Principal, Action: req.Action, Resource: req.Resource}
	p.decision(&e.Decision, v, at, req)
	return e
}

// fault marks a principal whose turn failed: it denies, and its leases lose their authority.
// It stays in memory until they are released. The next request then activates it again.
func (p *principal) fault(v any) {
	p.engine.log.Error("turn failed, principal denied",
		slog.String("principal", p.who.String()), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	p.shut = policy.ReasonFault
	p.lastUsed.Store(0)
	now := monotonic()
	for l := p.leases.Load(); l != nil; l = l.older.Load() {
		if l.revokedAt.Load() == 0 {
			l.revokedAt.Store(max(p.engine.Revision(), 1))
		}
		l.lose(now, now)
		l.cancel(ErrRevoked)
	}
}
