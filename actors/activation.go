package actors

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// activate makes the mailbox of a principal, or returns one that another caller has made
// meanwhile. A principal without any grant is denied without one, so that it costs no memory.
func (e *Engine) activate(ctx context.Context, req *Request) (*principal, error) {
	if e.shared.closing.Load() {
		return nil, ErrClosed
	}
	if e.Failure() != nil {
		return nil, ErrFault
	}
	who := req.Principal
	table := e.shared.published.Load()
	if table.IsFenced() {
		return nil, ErrFenced // the log may be out of reach
	}
	record, err := e.readRecord(who)
	if err != nil {
		return nil, ErrFault
	}
	if withoutGrants(table, who, record) {
		var at moment
		e.now(&at)
		why := req.Credential.check(&at)
		if why == policy.ReasonAllowed {
			why = policy.ReasonUnknownPrincipal
		}
		d := policy.Denied(why, who, table.Revision(), at.now)
		return nil, &DeniedError{Decision: d, Principal: who, Action: req.Action, Resource: req.Resource}
	}
	p := &principal{engine: e, holder: holder{who: who, clock: time.Now}}
	p.state.Store(running)
	p.spins.Store(mostSpins)
	if other, inserted := e.directory.insert(p); !inserted {
		return other, nil
	}
	if err := e.spawn(p); err != nil {
		e.log.Error("starting the actor failed, principal denied", slog.String("principal", who.String()), slog.Any("error", err))
		p.leave()
		return nil, ErrFault
	}
	p.openUp(e.delivered)
	return p, ctx.Err()
}

// readRecord reads a principal's record from the log. It logs an error, unless the log has
// failed as a whole, which was logged then.
func (e *Engine) readRecord(who policy.Principal) (record *policy.Record, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
			e.log.Error("the log panicked, principal denied", slog.String("principal", who.String()), slog.Any("panic", v))
		}
	}()
	record, err = e.journal.Record(who)
	if err != nil && e.Failure() == nil {
		e.log.Error("reading the record failed, principal denied", slog.String("principal", who.String()), slog.Any("error", err))
	}
	return record, err
}

// withoutGrants reports whether the principal has no grant at the table's revision. The record
// was read after the table was published. A record that changed later proves nothing.
func withoutGrants(t *policy.Table, who policy.Principal, r *policy.Record) bool {
	if r != nil && (len(r.Grants) > 0 || r.Revision > t.Revision()) {
		return false
	}
	for range t.Patterns().Matching(who) {
		return false
	}
	return true
}

// openUp completes an activation whose turn the caller owns. The mailbox is registered, so it
// gets the records of all later deliveries; what it reads includes all earlier ones. If reached
// returns false for the record's revision, the activation continues on a goroutine of its own,
// because its caller may give up. It waits for no other revision.
func (p *principal) openUp(reached func(revision uint64) bool) {
	e := p.engine
	opened := false
	defer func() {
		if !opened { // a panic in the log, or an error
			p.leave()
		}
	}()
	if e.shared.closing.Load() || e.Failure() != nil {
		return // the log may be closed, or never deliver
	}
	record, err := e.readRecord(p.who)
	if err != nil {
		return
	}
	// A revision that is applied and not delivered must not take effect here.
	if record != nil && !reached(record.Revision) {
		opened = true
		go p.openUp(e.awaitDelivered)
		return
	}
	if record != nil && !e.delivered(record.Revision) {
		return // it will never be delivered
	}
	var at moment
	e.now(&at)
	p.record = record
	p.hold(&at, at.table)
	if !p.known {
		return
	}
	p.show(&at, at.table)
	opened = true
	p.open.Store(true) // from now on sweeps look at it
	if e.shared.closing.Load() {
		p.shut = policy.ReasonClosed
	}
	p.finish()
}

func (e *Engine) delivered(revision uint64) bool { return e.Revision() >= revision }

// awaitDelivered waits until a revision is delivered, the engine closes or its log fails. It
// returns true.
func (e *Engine) awaitDelivered(revision uint64) bool {
	_ = e.delivery.reach(context.Background(), e, revision)
	return true
}

// leave closes a mailbox without leases whose turn the caller owns. It leaves the directory
// first. Queued requests are sent back to the directory.
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

// passivateIdle closes the mailboxes that were idle for long. It does nothing after a failure
// of the log, because the principals could not be activated again.
func (e *Engine) passivateIdle() {
	if e.Failure() == nil {
		e.passivate(e.shared.time.Load() - int64(e.idle))
	}
}

// passivate closes the mailboxes without leases and requests that were last used at idleSince
// or before, in nanoseconds of Unix time.
func (e *Engine) passivate(idleSince int64) {
	e.directory.each(func(p *principal) {
		if p.lastUsed.Load() > idleSince || p.leases.Load() != nil || !p.open.Load() || !p.acquire() {
			return
		}
		var at moment
		p.begin(&at)
		if p.leases.Load() != nil || p.backlog != nil || !p.requests.empty() || p.lastUsed.Load() > idleSince {
			p.finish()
			return
		}
		p.leave()
	})
}
