package actors

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Options of an engine. The zero value is usable.
type Options struct {
	// Log orders and keeps the updates; nil for a new [oplog.Memory]. An [oplog.SharedLog]
	// has other engines on it.
	Log oplog.Log
	// MaxQueued bounds the requests that wait for one principal. The next one gets
	// [ErrOverloaded]. 0 means 4096.
	MaxQueued int
	// IdleAfter is how long a principal without leases and requests stays in memory. 0 means
	// five minutes.
	IdleAfter time.Duration
	// QuiesceAfter is how long after New no update is quiesced, also none from before, because
	// operations that an earlier process admitted may still run: those of remote clients, whose
	// leases last at most that long. 0 means that there are none.
	QuiesceAfter time.Duration
	// Connections closes connections when a certificate is revoked; nil for no connections.
	Connections Connections
	// Observer is told of decisions, leases and updates; nil for none.
	Observer Observer
	// Logger gets warnings and errors for operators; nil for slog.Default.
	Logger *slog.Logger
}

// Engine is an authorization engine. The package documentation lists its promises. It is
// safe for concurrent use. Make one with [New] and end it with [Engine.Close].
type Engine struct {
	shared      shared
	observer    Observer // nil for none
	directory   *directory
	intern      *interner
	pool        *controlPool
	ticker      *ticker
	sweeper     *sweeper
	journal     oplog.Log
	storeID     string
	callers     *callers
	confirmer   *confirmer // nil unless the log is shared
	most        int32
	idle        time.Duration
	connections Connections // nil for none
	log         *slog.Logger
	system      *actor.ActorSystem
	authority   *actor.PID
	spawners    sync.Pool
	calls       callPool
	names       atomic.Uint64
	leaseIDs    atomic.Uint64
	receipts    receipts
	settling    settling
	delivery    delivery
	canceling   atomic.Bool   // Close cancels the leases that remain
	leaving     chan struct{} // closed when the engine stops admitting
	stopped     chan struct{}
	failure     failure
	unobserved  sync.Once // logs the first panic of the observer
}

// shared is the state that every request reads and only updates write. It has cache lines of
// its own.
type shared struct {
	_         [64]byte
	published atomic.Pointer[policy.Table]
	revoked   atomic.Pointer[revocations]
	time      atomic.Int64
	closing   atomic.Bool
	_         [64]byte
}

// New starts an engine on the policy that its log holds. Errors are those of [oplog.Log.Open]
// and, for an option that cannot work, [policy.ErrInvalid].
func New(o Options) (*Engine, error) {
	if o.Log == nil {
		o.Log = oplog.NewMemory()
	}
	if err := o.check(); err != nil {
		return nil, err
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
		most: int32(o.MaxQueued), idle: o.IdleAfter, connections: o.Connections, observer: o.Observer, log: o.Logger,
		receipts: receipts{kept: map[uint64]*tracker{}}, settling: settling{over: make(chan struct{})}, stopped: make(chan struct{}), leaving: make(chan struct{}),
		failure: failure{happened: make(chan struct{})},
	}
	if o.QuiesceAfter == 0 {
		e.settling.end()
	}
	e.ticker = newTicker(e)
	e.sweeper = &sweeper{engine: e}
	e.callers = newCallers()
	e.confirmer = newConfirmer(e)
	e.startActors()
	if err := e.open(); err != nil {
		e.stopActors()
		return nil, err
	}
	if o.QuiesceAfter > 0 {
		e.settling.begin(o.QuiesceAfter, e.confirmer.nudge)
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

// open opens the log and takes its state. Deliveries and fences of a shared log wait for that.
func (e *Engine) open() error {
	e.delivery.turn.Lock()
	defer e.delivery.turn.Unlock()
	initial, err := e.journal.Open(oplog.Events{Deliver: e.deliver, Failed: e.fail, Fence: e.fence, Unfence: e.unfence})
	if err != nil {
		return err
	}
	e.storeID = initial.StoreID
	e.shared.published.Store(initial.Table)
	e.receipts.newest, e.receipts.opened = initial.Table.Revision(), initial.Table.Revision()
	if len(initial.Revoked) > 0 {
		e.shared.revoked.Store((*revocations)(nil).with(initial.Revoked))
	}
	return nil
}

// check rejects a nil pointer in an interface, which would otherwise panic at its first use.
func (o *Options) check() error {
	for name, value := range map[string]any{"Log": o.Log, "Connections": o.Connections, "Observer": o.Observer} {
		if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.IsNil() {
			return fmt.Errorf("%w: actors.Options.%s is a nil %T", policy.ErrInvalid, name, value)
		}
	}
	if o.QuiesceAfter < 0 {
		return fmt.Errorf("%w: actors.Options.QuiesceAfter is negative", policy.ErrInvalid)
	}
	return nil
}

// now reads the moment. It reads the published table first: see [principal.begin].
func (e *Engine) now(at *moment) {
	at.table = e.shared.published.Load()
	at.revoked = e.shared.revoked.Load()
	at.now = e.shared.time.Load()
	at.intern = e.intern
}

// nested reports whether ctx is, or derives from, the context of a turn of this engine.
func (e *Engine) nested(ctx context.Context) bool {
	for t, ok := ctx.Value(turnKey{}).(*turnContext); ok; t, ok = t.parent.Value(turnKey{}).(*turnContext) {
		if t.engine == e {
			return true
		}
	}
	return false
}

// admissible returns the error of a call that cannot begin.
func (e *Engine) admissible(ctx context.Context) error {
	if e.nested(ctx) {
		return ErrNested
	}
	if e.shared.closing.Load() {
		return ErrClosed
	}
	return ctx.Err()
}

// Execute decides and, if the request is allowed, runs fn in the same turn. When Execute
// returns, fn has run exactly once or will never run (G1, G3). It returns
//
//   - the error of fn, if fn ran;
//   - a [*DeniedError] if the request is not allowed;
//   - ctx.Err() if ctx was done before the turn;
//   - [ErrOverloaded], at once, if too many requests wait for the principal;
//   - a [*PanicError] if fn panicked;
//   - [ErrGoexit] if fn ended its goroutine, unless that is the caller's own;
//   - [ErrNested], [ErrClosed] or [ErrFault];
//   - an error that wraps [policy.ErrInvalid] if fn is nil.
//
// Operations of one principal are serialized with each other and with its updates. So fn
// should be short and should not block; use [Engine.Admit] for longer operations. fn may run
// on another goroutine. An engine call with the context of fn, or one that derives from it,
// returns [ErrNested]. An engine call from fn with another context can wait for fn itself.
func (e *Engine) Execute(ctx context.Context, req Request, fn Func) error {
	if fn == nil {
		return fmt.Errorf("%w: Execute without a function", policy.ErrInvalid)
	}
	return e.do(ctx, &req, &operation{fn: fn}, nil)
}

// Do is [Engine.Execute] for a function that takes no context, and allocates nothing. ctx only
// bounds the wait for the turn. The engine cannot recognize a call of itself from fn: one about
// the same principal waits for fn, until its context is done.
func (e *Engine) Do(ctx context.Context, req Request, fn func() error) error {
	if fn == nil {
		return fmt.Errorf("%w: Do without a function", policy.ErrInvalid)
	}
	return e.do(ctx, &req, &operation{do: fn}, nil)
}

// Admit decides and, if the request is allowed, records a lease in the same turn. The
// operation then runs outside the turn, under [Lease.Context], concurrently with others of
// the same principal. The caller ends it with [Lease.Release], preferably deferred right
// after Admit. Errors are those of [Engine.Execute] before its function runs.
func (e *Engine) Admit(ctx context.Context, req Request) (*Lease, error) {
	return e.admit(ctx, ctx, req)
}

// AdmitDetached is [Engine.Admit] for an operation that may outlast ctx. The lease's context
// has the values of ctx but does not end with it. ctx only bounds the wait for the decision.
func (e *Engine) AdmitDetached(ctx context.Context, req Request) (*Lease, error) {
	return e.admit(ctx, context.WithoutCancel(ctx), req)
}

// admit waits under ctx for a lease whose context derives from parent.
func (e *Engine) admit(ctx, parent context.Context, req Request) (*Lease, error) {
	l := &Lease{parent: parent, req: req}
	if err := e.do(ctx, &l.req, &operation{lease: l}, nil); err != nil {
		return nil, err
	}
	return l, nil
}

// Decide answers the request. The answer can be stale when it is read; use [Engine.Execute]
// or [Engine.Admit] where the operation can be passed. A denial is not an error. Errors are
// those of [Engine.Execute] for requests that were not decided.
func (e *Engine) Decide(ctx context.Context, req Request) (policy.Decision, error) {
	var d policy.Decision
	if err := e.do(ctx, &req, &operation{}, &d); err != nil {
		return denialOf(err)
	}
	return d, nil
}

// DecideAll answers all requests, in one turn for each principal among them. The answers for
// one principal have the same revision; those for different principals may differ. If it
// returns an error, which are those of [Engine.Decide], it returns no answers.
func (e *Engine) DecideAll(ctx context.Context, reqs []Request) ([]policy.Decision, error) {
	if err := e.admissible(ctx); err != nil {
		for i := range reqs {
			_ = e.observeRefusal(ctx, &reqs[i], &operation{}, err)
		}
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
	err := e.do(ctx, items[0].req, &operation{batch: items}, nil)
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
func (e *Engine) do(ctx context.Context, req *Request, op *operation, decision *policy.Decision) error {
	if err := e.admissible(ctx); err != nil {
		return e.observeRefusal(ctx, req, op, err)
	}
	for {
		p := e.directory.get(req.Principal)
		if p == nil {
			var err error
			if p, err = e.activate(ctx, req); err != nil {
				return e.observeRefusal(ctx, req, op, err)
			}
		}
		if err := p.do(ctx, req, op, decision); err != errMoved {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// denialOf returns the decision of a denial, and every other error as it is.
func denialOf(err error) (policy.Decision, error) {
	if denied, ok := err.(*DeniedError); ok {
		return denied.Decision, nil
	}
	return policy.Decision{}, err
}

// Revision returns the published revision. Every later decision is made at it or later.
func (e *Engine) Revision() uint64 { return e.shared.published.Load().Revision() }

// Table returns the published roles and pattern grants.
func (e *Engine) Table() *policy.Table { return e.shared.published.Load() }

// StoreID identifies the store that the revisions belong to.
func (e *Engine) StoreID() string { return e.storeID }

// Active returns the number of principals in memory.
func (e *Engine) Active() int { return e.directory.len() }

// View calls look with the whole policy at one revision, and returns when that revision is
// published. Depending on the log, updates wait while look runs. look must not keep the view
// and must not call the engine. Errors are [ErrNested], those of the log, and those of
// [Engine.Await].
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

// Record returns the exact grants of a principal, nil if it never had one. It returns when
// their revision is published. Errors are those of [Engine.View].
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
