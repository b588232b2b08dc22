package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Observer is told what the engine decides and does, for metrics and logs: see package observe.
// Its methods are called concurrently, often in a turn of the principal. They must not block, call
// the engine, or end their goroutine.
//
// If Decided, Described or Admitted panics, the request is denied with [ErrFault], whatever the
// decision was. The principal's state does not change. A panic in another method changes nothing.
// The engine logs the first panic.
type Observer interface {
	// Decided is called once for each decision, before its operation, also for requests that were
	// refused without a turn, with [policy.ReasonOverloaded], [policy.ReasonClosed],
	// [policy.ReasonFenced] or [policy.ReasonFault]. It is called for each request of DecideAll. It is
	// not called for a request that was not decided, because its context ended. If it returns true,
	// Described is called next.
	Decided(who policy.Principal, reason policy.Reason) (describe bool)
	// Described gets the decision for which Decided returned true. ctx is the caller's. The
	// observer may keep d.
	Described(ctx context.Context, d *ObservedDecision)
	// Waited is called for a request that had to queue for its principal, when its turn begins or
	// its context ends. Requests whose callers run the turn themselves do not queue.
	Waited(who policy.Principal, wait time.Duration)

	// Admitted is called after Decided for a lease that is about to be recorded. The lease keeps the
	// result for Released.
	Admitted(l *Lease) (tag any)
	// Released is called in the turn that removes a lease, with the result of Admitted and the time
	// since. how is as in [Ended].
	Released(l *Lease, tag any, after time.Duration, how string)

	// Delivered is called when an update takes effect. The goroutine that delivers updates calls it.
	Delivered(u AppliedUpdate)
	// Quiesced is called when the update is quiesced on this engine, perhaps after Update has
	// returned.
	Quiesced(u AppliedUpdate)
	// Swept is called after the engine has looked for principals that changes of shared state
	// concern: roles, pattern grants, revoked certificates, CRLs.
	Swept(took time.Duration)
}

// ObservedDecision is a decision as an [Observer] sees it. It is immutable and safe for concurrent
// use, except for the properties of the request, which may change after the call of Described.
type ObservedDecision struct {
	request Request
	verdict policy.Verdict
	table   *policy.Table
	record  *policy.Record
	at      int64
}

// Request returns the request.
func (o *ObservedDecision) Request() *Request { return &o.request }

// Reason returns why the decision is as it is. [policy.ReasonAllowed] allows.
func (o *ObservedDecision) Reason() policy.Reason { return o.verdict.Reason() }

// Revision returns the revision of the policy that decided.
func (o *ObservedDecision) Revision() uint64 { return o.table.Revision() }

// Time returns when it was decided, to the second.
func (o *ObservedDecision) Time() time.Time { return time.Unix(0, o.at) }

// Role returns the role whose permission decided, empty if none did.
func (o *ObservedDecision) Role() string { return o.table.RoleOf(o.verdict) }

// Decision returns the whole decision, which takes longer than the other methods.
func (o *ObservedDecision) Decision() (d policy.Decision) {
	q := policy.Query{
		Principal: o.request.Principal, Action: o.request.Action, Resource: o.request.Resource, Properties: o.request.Properties,
	}
	o.table.FillDecision(&d, o.verdict, &q)
	d.AttachRecord(o.record, o.at)
	return d
}

// AppliedUpdate is an update as an [Observer] sees it.
type AppliedUpdate struct {
	Revision uint64
	Author   oplog.Author
	// Changes are those of the update, nil if the log does not know them. The observer must not
	// change them.
	Changes []policy.Change
	// Asked is when [Engine.Update] was called. It is zero if another engine made the update, or if
	// the caller has given up.
	Asked time.Time
	// Delivered is when every later turn decides by the update.
	Delivered time.Time
	// Quiesced is when no operation was left that the update forbids. It is zero for
	// [Observer.Delivered].
	Quiesced time.Time
	// Ended counts the operations that lost their authority and that the update waited for.
	Ended int
}

// observe tells the observer of a decision in a turn. The caller knows what to do with its panic.
// [principal.run] does the same without a call, which would cost more than the rest.
func (p *principal) observe(ctx context.Context, v policy.Verdict, at *moment, req *Request) {
	if p.engine.observer != nil {
		p.tellDecision(ctx, v, at, req)
	}
}

func (p *principal) tellDecision(ctx context.Context, v policy.Verdict, at *moment, req *Request) {
	if o := p.engine.observer; o.Decided(p.who, v.Reason()) {
		o.Described(ctx, p.describe(v, at, req))
	}
}

// describe copies a decision for the observer. It is not inlined, so that it does not enlarge the
// stack frame of requests that are not described.
//
//go:noinline
func (p *principal) describe(v policy.Verdict, at *moment, req *Request) *ObservedDecision {
	return &ObservedDecision{request: *req, verdict: v, table: at.table, record: p.record, at: at.now}
}

// observeRefusal tells the observer of a request that was refused without a turn, and returns err,
// also if the observer panics. It does nothing for an error that is no refusal.
func (e *Engine) observeRefusal(ctx context.Context, req *Request, op *operation, err error) error {
	if e.observer != nil {
		e.tellRefusal(ctx, req, op, refusalReason(err))
	}
	return err
}

// refusalReason returns the reason of a refusal, ReasonUnset for any other error.
func refusalReason(err error) policy.Reason {
	switch err {
	case ErrOverloaded:
		return policy.ReasonOverloaded
	case ErrClosed:
		return policy.ReasonClosed
	case ErrFault:
		return policy.ReasonFault
	case ErrFenced:
		return policy.ReasonFenced
	}
	if denied, ok := err.(*DeniedError); ok {
		return denied.Decision.Reason
	}
	return policy.ReasonUnset
}

func (e *Engine) tellRefusal(ctx context.Context, req *Request, op *operation, reason policy.Reason) {
	if reason == policy.ReasonUnset {
		return
	}
	defer e.observed()
	if op.batch == nil {
		e.tellRefused(ctx, req, reason)
	}
	for _, it := range op.batch {
		e.tellRefused(ctx, it.req, reason)
	}
}

func (e *Engine) tellRefused(ctx context.Context, req *Request, reason policy.Reason) {
	if e.observer.Decided(req.Principal, reason) {
		e.observer.Described(ctx, &ObservedDecision{
			request: *req, verdict: policy.Refuse(reason), table: e.Table(), at: e.shared.time.Load(),
		})
	}
}

// observeWait tells the observer how long a request has queued.
func (e *Engine) observeWait(req *Request, since int64) {
	if e.observer != nil {
		defer e.observed()
		e.observer.Waited(req.Principal, time.Duration(monotonic()-since))
	}
}

// observation is what a lease has for the observer.
type observation struct {
	began int64 // on the monotonic clock
	tag   any   // the observer's
}

// observeAdmission tells the observer of a lease. The caller knows what to do with its panic.
func (e *Engine) observeAdmission(l *Lease) {
	if e.observer != nil {
		o := &observation{began: monotonic()}
		l.observation = o
		o.tag = e.observer.Admitted(l)
	}
}

// observeRelease tells the observer of the end of a lease.
func (e *Engine) observeRelease(l *Lease) {
	if o := l.observation; o != nil {
		defer e.observed()
		e.observer.Released(l, o.tag, time.Duration(monotonic()-o.began), l.how())
	}
}

// observeDelivery tells the observer of an update that is published. The caller is nil if it is not
// known.
func (e *Engine) observeDelivery(t *tracker, o *oplog.Outcome, caller *updateCaller) {
	if e.observer == nil {
		return
	}
	u := AppliedUpdate{Revision: o.Revision, Changes: changesOf(o), Delivered: time.Now()}
	if o.Change != nil {
		u.Author = o.Change.Author
	}
	if caller != nil {
		u.Asked = caller.asked
	}
	t.mu.Lock()
	t.observer, t.observed = e, u
	t.mu.Unlock()
	defer e.observed()
	e.observer.Delivered(u)
}

// observeQuiescence tells the observer of an update that is quiesced.
func (e *Engine) observeQuiescence(u AppliedUpdate) {
	defer e.observed()
	e.observer.Quiesced(u)
}

// observeSweep tells the observer of a sweep.
func (e *Engine) observeSweep(took time.Duration) {
	if e.observer != nil {
		defer e.observed()
		e.observer.Swept(took)
	}
}

// observed is deferred around a call of the observer whose panic changes nothing.
func (e *Engine) observed() {
	if v := recover(); v != nil {
		e.observerFailed(v)
	}
}

// observerFailed logs the first panic of the observer.
func (e *Engine) observerFailed(v any) {
	e.unobserved.Do(func() {
		e.log.Error("the observer panicked; later panics are not logged", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	})
}

// how returns how the operation ended. The turn is the caller's, and the lease is released. It takes
// no lock, because only turns change these fields after [Lease.free].
func (l *Lease) how() string {
	switch {
	case l.rare != nil && l.rare.endedAs != "":
		return l.rare.endedAs
	case l.canceled:
		return HowCanceled
	default:
		return HowFinished
	}
}
