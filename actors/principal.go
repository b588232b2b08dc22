package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/policy"
)

// principal is an actor with its mailbox: the state of the mailbox, its two lanes, and
// the holder whose turns they feed. What a request touches lies together.
type principal struct {
	state    atomic.Uint32
	spins    atomic.Uint32
	hash     uint64
	control  controlLane
	requests requestLane
	holder
	lastUsed atomic.Int64
	engine   *Engine
	chunk    *contextChunk // of a principal that is used often; the turn's
	recent   uint32        // functions run since lastUsed; the turn's

	backlog  *call        // taken from the request lane; the turn's
	waiting  atomic.Int64 // since when the oldest request is queued; 0 for none
	inFlight atomic.Int32 // unreleased leases
	dueAt    int64        // for when the ticker was asked to look in; the turn's
	visits   *visited     // as the ticker knows this principal; the turn's
	invoker  actor.MessageInvoker
	open     atomic.Bool

	// view and appliedTo tell the authority whom a change of roles concerns; posted is
	// the authority's own: the last revision that it sent here.
	view      atomic.Pointer[policy.Effective]
	appliedTo atomic.Uint64
	posted    uint64
}

// execute runs fn in a turn, on the caller's goroutine if the mailbox is idle.
func (p *principal) execute(ctx context.Context, req *Request, fn Func) error {
	if !p.acquire() && !p.spin() {
		return p.executeQueued(ctx, req, fn)
	}
	var at moment
	p.begin(&at)
	return p.run(ctx, req, fn, &at, true)
}

// run decides and runs fn in a turn that the caller owns, and ends the turn if last says
// so. What fn does to its goroutine, a panic or Goexit, is met in here.
func (p *principal) run(ctx context.Context, req *Request, fn Func, at *moment, last bool) (err error) {
	var (
		t    *turnContext
		over bool
	)
	defer func() {
		if !over {
			err = p.cut(recover(), t)
		}
		if last {
			p.finish()
		}
	}()
	v := p.judgeTurn(req, at)
	if !v.Allowed() {
		over = true
		return p.refuse(v, at, req)
	}
	t = p.turnContext(ctx)
	err = fn(t)
	t.end()
	over = true
	return err
}

// cut is what becomes of a turn that did not come to its end: fn panicked, or ended its
// goroutine, or, if it had not begun, the turn itself failed.
func (p *principal) cut(v any, t *turnContext) error {
	if t == nil {
		p.fault(v)
		return ErrFault
	}
	t.end()
	if v == nil {
		return ErrGoexit
	}
	return &PanicError{Value: v, Stack: debug.Stack()}
}

func (p *principal) executeQueued(ctx context.Context, req *Request, fn Func) error {
	c := p.engine.calls.get(ctx, req)
	c.fn = fn
	_, err := p.queue(c)
	return err
}

// queue posts a call and waits for its answer.
func (p *principal) queue(c *call) (policy.Decision, error) {
	if err := p.post(c); err != nil {
		return policy.Decision{}, err
	}
	d, err := c.decision, c.err
	p.engine.calls.put(c)
	return d, err
}

// admit records a lease in a turn.
func (p *principal) admit(ctx context.Context, l *Lease) error {
	if !p.acquire() && !p.spin() {
		return p.admitQueued(ctx, l)
	}
	var at moment
	p.begin(&at)
	defer p.finish()
	return p.admitTurn(l, &at)
}

func (p *principal) admitQueued(ctx context.Context, l *Lease) error {
	c := p.engine.calls.get(ctx, &l.req)
	c.lease = l
	_, err := p.queue(c)
	return err
}

// decide answers a request in a turn.
func (p *principal) decide(ctx context.Context, req *Request) (policy.Decision, error) {
	if !p.acquire() && !p.spin() {
		return p.queue(p.engine.calls.get(ctx, req))
	}
	var at moment
	p.begin(&at)
	defer p.finish()
	return p.decideTurn(req, &at), nil
}

// decideAll answers all items in one turn.
func (p *principal) decideAll(ctx context.Context, items []*item) error {
	if !p.acquire() && !p.spin() {
		c := p.engine.calls.get(ctx, items[0].req)
		c.batch = items
		_, err := p.queue(c)
		return err
	}
	var at moment
	p.begin(&at)
	defer p.finish()
	p.decideBatch(items, &at)
	return nil
}

func (p *principal) decideBatch(items []*item, at *moment) {
	for _, it := range items {
		*it.decision = p.decideTurn(it.req, at)
	}
}

// judgeTurn decides in a turn that the caller owns.
func (p *principal) judgeTurn(req *Request, at *moment) policy.Verdict {
	if p.lastUsed.Load() != at.now && p.shut == policy.ReasonUnset {
		p.lastUsed.Store(at.now)
		p.recent = 0
	}
	v, fx := p.judge(at, req)
	if fx != nil {
		p.perform(fx, 0, nil)
		p.watchTime()
	}
	return v
}

// decideTurn is judgeTurn with all that is known of the decision; when the turn fails it
// denies.
func (p *principal) decideTurn(req *Request, at *moment) (d policy.Decision) {
	decided := false
	defer func() {
		if !decided {
			p.fault(recover())
			d = policy.Denied(policy.ReasonFault, p.who, p.table.Revision(), at.now)
		}
	}()
	d = p.decision(p.judgeTurn(req, at), at, req)
	decided = true
	return d
}

// admitTurn decides and records the lease in a turn that the caller owns.
func (p *principal) admitTurn(l *Lease, at *moment) error {
	l.decision = p.decideTurn(&l.req, at)
	if !l.decision.Allowed {
		return p.denied(l.decision, &l.req)
	}
	l.p = p
	p.holder.admit(l)
	p.inFlight.Add(1)
	if p.ends != 0 {
		p.watchTime()
	}
	return nil
}

// refuse makes the error of a verdict. It is no part of the frames of those who call it:
// what is rare must not make the stack of every request grow.
//
//go:noinline
func (p *principal) refuse(v policy.Verdict, at *moment, req *Request) error {
	return p.denied(p.decision(v, at, req), req)
}

func (p *principal) denied(d policy.Decision, req *Request) error {
	switch d.Reason {
	case policy.ReasonFault:
		return ErrFault
	case policy.ReasonClosed:
		return ErrClosed
	}
	return &DeniedError{Decision: d, Principal: req.Principal, Action: req.Action, Resource: req.Resource}
}

// fault is the end of a principal whose turn failed: it denies, and its leases lose their
// authority. It stays in memory until they are released, and is read anew after that.
func (p *principal) fault(v any) {
	p.engine.log.Error("a principal's turn failed; it denies from now on",
		slog.String("principal", p.who.String()), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	p.shut = policy.ReasonFault
	p.lastUsed.Store(0)
	for l := p.leases; l != nil; l = l.older {
		if l.revokedAt == 0 {
			l.revokedAt = max(p.table.Revision(), 1)
		}
		l.cancel(ErrRevoked)
	}
}

// perform does what a turn asked for: cancel what was revoked, after the grace, and tell
// the tracker of an update what it has to wait for.
func (p *principal) perform(fx *effects, grace time.Duration, t *tracker) {
	if t != nil {
		for _, l := range fx.running {
			if n := len(l.watchers); n == 0 || l.watchers[n-1] != t {
				l.watchers = append(l.watchers, t)
				t.runs(l)
			}
		}
	}
	if len(fx.running) == 0 {
		return
	}
	now := time.Now()
	var last time.Time
	for _, l := range fx.running {
		fresh := l.cancelAt.IsZero()
		if t == nil && !fresh {
			continue // time revokes, and cuts no grace short that an update gave
		}
		if end := graceEnd(l, now, grace); fresh || end.Before(l.cancelAt) {
			l.cancelAt, last = end, end
		}
		if !l.cancelAt.After(now) {
			l.cancel(ErrRevoked)
		}
	}
	if last.After(now) {
		time.AfterFunc(last.Sub(now), func() { p.tell(&node{message: graceOver{}}) })
	}
}

// graceOver cancels the leases whose grace has ended.
type graceOver struct{}

func (graceOver) drop() {}

func (graceOver) handle(p *principal, _ moment) {
	now := time.Now()
	for l := p.leases; l != nil; l = l.older {
		if l.revokedAt != 0 && !l.cancelAt.After(now) {
			l.cancel(ErrRevoked)
		}
	}
}

// watchTime asks the ticker to look in when time will change something, unless it was
// asked to come by then.
func (p *principal) watchTime() {
	due := p.due()
	if due == 0 || (p.dueAt != 0 && p.dueAt <= due) {
		return
	}
	p.dueAt = due
	if p.visits == nil {
		p.visits = &visited{}
		p.visits.p.Store(p)
	}
	p.engine.ticker.watch(p.visits, due)
}

// timeUp is the ticker's message: something may have expired.
type timeUp struct{}

func (timeUp) drop() {}

func (timeUp) handle(p *principal, at moment) {
	p.dueAt = 0
	defer func() { p.view.Store(p.held) }()
	p.perform(p.apply(&at, &change{}), 0, nil)
}

// deliveredChange is the authority's message: an update that concerns this principal.
type deliveredChange struct {
	acknowledgement
	change change
	grace  time.Duration
}

func (d *deliveredChange) drop() { d.acknowledge() }

func (d *deliveredChange) handle(p *principal, at moment) {
	defer d.acknowledge()
	applied := false
	defer func() {
		if !applied {
			p.fault(recover())
			p.perform(p.unreleased(), 0, d.tracker)
		}
	}()
	p.perform(p.apply(&at, &d.change), d.grace, d.tracker)
	p.view.Store(p.held)
	p.appliedTo.Store(max(d.change.revision, p.appliedTo.Load()))
	applied = true
}

// unreleased has all leases as revoked ones: the turn of their principal failed.
func (p *principal) unreleased() *effects {
	fx := &effects{}
	for l := p.leases; l != nil; l = l.older {
		fx.running = append(fx.running, l)
	}
	return fx
}

// inspect is a message that runs a function in the principal's turn.
type inspect struct {
	look func(p *principal, at moment)
	done func()
}

func (i *inspect) drop() { i.done() }

func (i *inspect) handle(p *principal, at moment) {
	defer i.done()
	i.look(p, at)
}
