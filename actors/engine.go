package actors

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Options of an engine. The zero value is a good choice.
type Options struct {
	// Log orders and keeps the updates; nil for a new [oplog.Memory]. An [oplog.SharedLog]
	// has other engines on it.
	Log oplog.Log
	// MaxQueued bounds the requests that wait for one principal; the next gets
	// [ErrOverloaded]. 0 for 4096.
	MaxQueued int
	// IdleAfter is how long a principal without leases and requests stays in memory; 0
	// for five minutes.
	IdleAfter time.Duration
	// Connections closes connections when a certificate is revoked; nil if nobody does.
	Connections Connections
	// Logger gets what an operator should know; nil for slog.Default.
	Logger *slog.Logger
}

// Engine is an authorization engine: see the package documentation for what it promises.
// It is safe for concurrent use. Make one with [New] and end it with [Engine.Close].
type Engine struct {
	shared    shared
	directory *directory
	intern    *interner
	pool      *controlPool
	ticker    *ticker
	journal   oplog.Log
	storeID   string
	callers   *callers
	confirmer *confirmer // nil unless the log is shared
	most      int32
	idle      time.Duration
	doors     Connections
	log       *slog.Logger
	system    *actor.ActorSystem
	authority *actor.PID
	spawners  sync.Pool
	calls     callPool
	names     atomic.Uint64
	leaseIDs  atomic.Uint64
	receipts  receipts
	delivery  delivery
	closing   sync.Once
	leaving   chan struct{} // closed when it stops admitting
	stopped   chan struct{}
	failure   failure
}

// shared is what every request reads and updates alone write; it has cache lines of its
// own.
type shared struct {
	_         [64]byte
	published atomic.Pointer[policy.Table]
	revoked   atomic.Pointer[revocations]
	time      atomic.Int64
	closing   atomic.Bool
	_         [64]byte
}

// New starts an engine on the policy that its log holds.
func New(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = oplog.NewMemory()
	}
	if o.MaxQueued == 0 {
		o.MaxQueued = 4096
	}
	if o.IdleAfter == 0 {
		o.IdleAfter = 5 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	e := &Engine{
		directory: newDirectory(), intern: &interner{}, journal: o.Log,
		pool: &controlPool{most: max(2, runtime.GOMAXPROCS(0))},
		most: int32(o.MaxQueued), idle: o.IdleAfter, doors: o.Connections, log: o.Logger,
		receipts: receipts{kept: map[uint64]*tracker{}}, stopped: make(chan struct{}), leaving: make(chan struct{}),
		failure: failure{happened: make(chan struct{})},
	}
	e.ticker = newTicker(e)
	e.callers = newCallers()
	e.confirmer = newConfirmer(e)
	e.startActors()
	initial, err := o.Log.Open(oplog.Events{Deliver: e.deliver, Failed: e.fail})
	if err != nil {
		e.stopActors()
		return nil, err
	}
	e.storeID = initial.StoreID
	e.shared.published.Store(initial.Table)
	e.delivery.begun.Store(initial.Table.Revision())
	e.receipts.newest, e.receipts.opened = initial.Table.Revision(), initial.Table.Revision()
	if len(initial.Revoked) > 0 {
		e.shared.revoked.Store((*revocations)(nil).with(initial.Revoked))
	}
	if o.Connections != nil {
		o.Connections.CloseEnded(e.Ended)
	}
	go e.ticker.run()
	if e.confirmer != nil {
		go e.confirmer.run()
	}
	return e, nil
}

// now reads the moment. The published table comes first: see [principal.begin].
func (e *Engine) now(at *moment) {
	at.table = e.shared.published.Load()
	at.revoked = e.shared.revoked.Load()
	at.now = e.shared.time.Load()
	at.intern = e.intern
}

// nested reports whether ctx belongs to a function that runs in a turn of this engine.
func (e *Engine) nested(ctx context.Context) bool {
	for t, ok := ctx.Value(turnKey{}).(*turnContext); ok; t, ok = t.parent.Value(turnKey{}).(*turnContext) {
		if t.engine == e {
			return true
		}
	}
	return false
}

// admissible says why a call with ctx cannot even begin.
func (e *Engine) admissible(ctx context.Context) error {
	if e.nested(ctx) {
		return ErrNested
	}
	if e.shared.closing.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// Execute decides and, if the request is allowed, runs fn in the same turn. It returns
// what fn returns; a [*DeniedError] if the request is not allowed; ctx.Err() if ctx was
// done before the turn; [ErrOverloaded] at once if too many requests wait for the
// principal. If fn panics the error is a [*PanicError], and if it ends its goroutine
// [ErrGoexit] (unless it ran on the caller's own goroutine, which then ends). When
// Execute returns, fn has run exactly once or will never run (G1, G3).
//
// Operations of one principal are serialized with each other and with its updates, so fn
// should be short and should not block: use [Engine.Admit] for what does. fn may run on
// another goroutine. Calling the engine with the context that fn is given, or one that
// derives from it, returns [ErrNested]; calling it from fn with another context may wait
// until that context's deadline, for the turn is not over.
func (e *Engine) Execute(ctx context.Context, req Request, fn Func) error {
	return e.do(ctx, &req, operation{fn: fn}, nil)
}

// Admit decides and, if the request is allowed, records a lease in the same turn. The
// operation then runs outside the turn, concurrently with others of the same principal,
// under [Lease.Context], and the caller has to end it with [Lease.Release], best deferred
// right after Admit. Errors are those of [Engine.Execute].
func (e *Engine) Admit(ctx context.Context, req Request) (*Lease, error) {
	return e.admit(ctx, ctx, req)
}

// AdmitDetached is [Engine.Admit] for an operation that may outlast the call: the lease's
// context has the values of ctx, and does not end with it. ctx bounds the wait for the
// decision alone.
func (e *Engine) AdmitDetached(ctx context.Context, req Request) (*Lease, error) {
	return e.admit(ctx, context.WithoutCancel(ctx), req)
}

// admit waits under ctx for a lease whose context derives from parent.
func (e *Engine) admit(ctx, parent context.Context, req Request) (*Lease, error) {
	l := &Lease{parent: parent, req: req, started: e.shared.time.Load()}
	if err := e.do(ctx, &l.req, operation{lease: l}, nil); err != nil {
		return nil, err
	}
	return l, nil
}

// Decide answers the request, and nothing else: the answer can be stale by the time it is
// read. It is for callers that cannot bring their operation. A denial is no error; the
// errors are those of [Engine.Execute] about requests that were not decided.
func (e *Engine) Decide(ctx context.Context, req Request) (policy.Decision, error) {
	var d policy.Decision
	if err := e.do(ctx, &req, operation{}, &d); err != nil {
		return denialOf(err)
	}
	return d, nil
}

// DecideAll answers all requests, in one turn for each principal among them; the answers
// for one principal are of one revision, those for different ones need not be. Errors are
// those of [Engine.Decide], and then there are no answers.
func (e *Engine) DecideAll(ctx context.Context, reqs []Request) ([]policy.Decision, error) {
	if err := e.admissible(ctx); err != nil {
		return nil, err
	}
	decisions := make([]policy.Decision, len(reqs))
	batches := map[policy.Principal][]*item{}
	order := make([]policy.Principal, 0, 1)
	for i := range reqs {
		who := reqs[i].Principal
		if batches[who] == nil {
			order = append(order, who)
		}
		batches[who] = append(batches[who], &item{req: &reqs[i], decision: &decisions[i]})
	}
	for _, who := range order {
		if err := e.decideFor(ctx, batches[who]); err != nil {
			return nil, err
		}
	}
	return decisions, nil
}

func (e *Engine) decideFor(ctx context.Context, items []*item) error {
	err := e.do(ctx, items[0].req, operation{batch: items}, nil)
	if err == nil {
		return nil
	}
	d, err := denialOf(err)
	if err != nil {
		return err
	}
	for _, it := range items {
		*it.decision = d
	}
	return nil
}

// do finds or activates the request's principal and serves the request in a turn of it. A
// principal that leaves memory meanwhile is looked up again.
func (e *Engine) do(ctx context.Context, req *Request, op operation, decision *policy.Decision) error {
	if err := e.admissible(ctx); err != nil {
		return err
	}
	hash := e.directory.hash(req.Principal)
	for {
		p := e.directory.get(req.Principal, hash)
		if p == nil {
			var err error
			if p, err = e.activate(ctx, req, hash); err != nil {
				return err
			}
		}
		if err := p.do(ctx, req, op, decision); err != errMoved {
			return err
		}
	}
}

// denialOf turns the error of a denial into its decision.
func denialOf(err error) (policy.Decision, error) {
	if denied, ok := err.(*DeniedError); ok {
		return denied.Decision, nil
	}
	return policy.Decision{}, err
}

// Revision returns the revision that every later decision names at least.
func (e *Engine) Revision() uint64 { return e.shared.published.Load().Revision() }

// Table returns the published roles and pattern grants.
func (e *Engine) Table() *policy.Table { return e.shared.published.Load() }

// StoreID identifies the store that the revisions belong to.
func (e *Engine) StoreID() string { return e.storeID }

// Active returns how many principals are in memory.
func (e *Engine) Active() int { return e.directory.len() }

// View calls look with the policy as a whole, once delivery has reached what is in it.
// Updates wait meanwhile; look must not keep the view or call the engine.
func (e *Engine) View(ctx context.Context, look func(policy.View)) error {
	if e.nested(ctx) {
		return ErrNested
	}
	var seen uint64
	if err := e.journal.View(func(v policy.View) {
		seen = v.Revision()
		look(v)
	}); err != nil {
		return err
	}
	return e.delivery.reach(ctx, e, seen)
}

// Record returns the exact grants of a principal, nil if it never had any, once delivery
// has reached them.
func (e *Engine) Record(ctx context.Context, who policy.Principal) (*policy.Record, error) {
	if e.nested(ctx) {
		return nil, ErrNested
	}
	r, err := e.journal.Record(who)
	if err != nil || r == nil {
		return nil, err
	}
	return r, e.delivery.reach(ctx, e, r.Revision)
}

// Closing reports whether the engine has stopped admitting.
func (e *Engine) Closing() bool { return e.shared.closing.Load() }

// Close stops admitting, waits until ctx is done for the operations in flight, cancels
// those that are left (their cause is [ErrClosed]), gives these a second to end, and ends
// the engine, but not its log. It does not wait for leases under whose contexts it is
// called. If operations have not been released by then, the error is a
// [*NotQuiescedError] that lists them. Further calls return nil at once.
func (e *Engine) Close(ctx context.Context) (err error) {
	if e.nested(ctx) {
		return ErrNested
	}
	e.closing.Do(func() { err = e.close(ctx) })
	return err
}

func (e *Engine) close(ctx context.Context) error {
	e.shared.closing.Store(true)
	close(e.leaving)
	t := newTracker(e.Revision())
	e.directory.each(func(p *principal) {
		t.expect()
		p.tell(&node{message: &shutdown{tracker: t}})
	})
	t.applied()
	cause := t.wait(ctx, ownLeases(ctx))
	if cause != nil {
		t.cancelRunning(ErrClosed)
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = t.wait(moment, nil)
	}
	e.ticker.close()
	e.stopActors()
	e.confirmer.close()
	close(e.stopped)
	if r := t.receipt(); !r.Quiesced {
		return &NotQuiescedError{Receipt: r, Cause: fmt.Errorf("closing: %w", cause)}
	}
	return nil
}

// shutdown is the message by which a principal stops admitting.
type shutdown struct{ tracker *tracker }

func (s *shutdown) drop() { s.tracker.applied() }

func (s *shutdown) handle(p *principal, _ moment) {
	defer s.tracker.applied()
	p.shut = policy.ReasonClosed
	for l := p.leases; l != nil; l = l.older {
		l.watchers = append(l.watchers, s.tracker)
		s.tracker.runs(l)
	}
}

// cancelRunning cancels what is waited for.
func (t *tracker) cancelRunning(cause error) {
	t.mu.Lock()
	left := make([]*Lease, 0, len(t.running))
	for l := range t.running {
		left = append(left, l)
	}
	t.mu.Unlock()
	for _, l := range left {
		l.cancel(cause)
	}
}
