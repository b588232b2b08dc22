package actors

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// delivery is where activations wait for the delivery, and learn of deliveries that
// have begun.
type delivery struct {
	// begun is the revision whose delivery has begun: from then on every mailbox that is
	// registered gets it. Who registers later sees it here.
	begun   atomic.Uint64
	waiting atomic.Int32
	mu      sync.Mutex
	signal  chan struct{}

	turn  sync.Mutex // held while a group is carried out
	ended bool       // nothing takes effect any more
}

// end returns when nothing that the log delivers takes effect any more.
func (d *delivery) end() {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.ended = true
}

// reach returns when the published table has that revision or a later one.
func (d *delivery) reach(ctx context.Context, e *Engine, revision uint64) error {
	if e.Revision() >= revision {
		return nil
	}
	d.waiting.Add(1)
	defer d.waiting.Add(-1)
	for {
		d.mu.Lock()
		if d.signal == nil {
			d.signal = make(chan struct{})
		}
		signal := d.signal
		d.mu.Unlock()
		if e.Revision() >= revision {
			return nil
		}
		select {
		case <-signal:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.leaving:
			return ErrClosed
		case <-e.failure.happened:
			if e.Revision() >= revision {
				return nil
			}
			return ErrFault
		}
	}
}

// reached wakes who waits; it is called after publishing.
func (d *delivery) reached() {
	if d.waiting.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.signal != nil {
		close(d.signal)
		d.signal = nil
	}
}

// activate finds or makes the mailbox of a principal that has none. A principal without
// any grant is denied here, and costs no memory.
func (e *Engine) activate(ctx context.Context, req *Request, hash uint64) (*principal, error) {
	if e.shared.closing.Load() {
		return nil, ErrClosed
	}
	if e.Failure() != nil {
		return nil, ErrFault
	}
	who := req.Principal
	table := e.shared.published.Load()
	record, err := e.readRecord(who)
	if err != nil {
		return nil, ErrFault
	}
	if stranger(table, who, record) {
		var at moment
		e.now(&at)
		why := req.Credential.check(&at)
		if why == policy.ReasonAllowed {
			why = policy.ReasonUnknownPrincipal
		}
		d := policy.Denied(why, who, table.Revision(), at.now)
		return nil, &DeniedError{Decision: d, Principal: who, Action: req.Action, Resource: req.Resource}
	}
	p := &principal{engine: e, hash: hash, holder: holder{who: who, clock: time.Now}}
	p.state.Store(running)
	p.spins.Store(mostSpins)
	if other, inserted := e.directory.insert(p); !inserted {
		return other, nil
	}
	if err := e.spawn(p); err != nil {
		e.log.Error("a principal's actor cannot be started; it is denied", slog.String("principal", who.String()), slog.Any("error", err))
		p.leave()
		return nil, ErrFault
	}
	p.openUp(e.delivered)
	return p, nil
}

// readRecord reads what the log keeps of a principal. That it cannot is logged, unless it
// was said already that the log has failed.
func (e *Engine) readRecord(who policy.Principal) (*policy.Record, error) {
	record, err := e.journal.Record(who)
	if err != nil && e.Failure() == nil {
		e.log.Error("a principal's record cannot be read; it is denied", slog.String("principal", who.String()), slog.Any("error", err))
	}
	return record, err
}

// stranger reports whether the principal holds nothing at the table's revision. The
// record was read after the table was published; one that changed later tells nothing.
func stranger(t *policy.Table, who policy.Principal, r *policy.Record) bool {
	if r != nil && (len(r.Grants) > 0 || r.Revision > t.Revision()) {
		return false
	}
	return !t.HasPatternGrant(who)
}

// openUp completes an activation whose turn the caller owns. The mailbox is registered,
// so every change whose delivery begins from now on is in its lane or will be; what it
// reads has to be up to date with all that began before. If reached says that delivery has
// not come so far, the activation goes on in a goroutine of its own, for a caller may
// leave before.
func (p *principal) openUp(reached func(revision uint64) bool) {
	e := p.engine
	if !reached(e.delivery.begun.Load()) {
		go p.openUp(e.awaitDelivered)
		return
	}
	if e.shared.closing.Load() || e.Failure() != nil {
		p.leave() // the log may be closed soon, or its delivery never come
		return
	}
	record, err := e.readRecord(p.who)
	if err != nil {
		p.leave()
		return
	}
	// What was applied and not delivered yet must not be acted upon.
	if record != nil && !reached(record.Revision) {
		go p.openUp(e.awaitDelivered)
		return
	}
	if record != nil && !e.delivered(record.Revision) {
		p.leave() // nor will it ever be
		return
	}
	var at moment
	e.now(&at)
	p.record, p.table = record, at.table
	p.hold(&at)
	if !p.known {
		p.leave()
		return
	}
	// What it shows to the authority, and that it is open, comes last: it is told of every
	// change until then.
	p.handleControl(&at)
	p.view.Store(p.held)
	p.appliedTo.Store(p.table.Revision())
	p.open.Store(true)
	if e.shared.closing.Load() {
		p.shut = policy.ReasonClosed
	}
	p.finish()
}

func (e *Engine) delivered(revision uint64) bool { return e.Revision() >= revision }

// awaitDelivered waits for the delivery. It gives up when the engine closes, or its log has
// failed.
func (e *Engine) awaitDelivered(revision uint64) bool {
	_ = e.delivery.reach(context.Background(), e, revision)
	return true
}

// leave closes a mailbox whose turn the caller owns and that has no leases: it leaves the
// directory first, and sends whoever waits back there.
func (p *principal) leave() {
	p.engine.directory.remove(p)
	p.close()
	if p.visits != nil {
		p.visits.p.Store(nil)
	}
	for p.backlog != nil {
		c := p.backlog
		p.backlog, c.next = c.next, nil
		p.dismiss(c)
	}
	p.sweep()
	p.stopActor()
}

// passivateIdle closes the mailboxes that nobody has used for long.
// After a failure of the log nobody could come back.
func (e *Engine) passivateIdle() {
	if e.Failure() == nil {
		e.passivate(e.shared.time.Load() - int64(e.idle))
	}
}

// passivate closes the mailboxes that were last used at that time or before, in
// nanoseconds of Unix time, and that hold no lease and no request.
func (e *Engine) passivate(idleSince int64) {
	e.directory.each(func(p *principal) {
		if p.lastUsed.Load() > idleSince || p.inFlight.Load() > 0 || !p.open.Load() || !p.acquire() {
			return
		}
		var at moment
		p.begin(&at)
		if p.leases != nil || p.backlog != nil || !p.requests.empty() || p.lastUsed.Load() > idleSince {
			p.finish()
			return
		}
		p.leave()
	})
}
