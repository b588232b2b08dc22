package actors

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Update is a list of changes that is applied as a whole, as one revision, or not at all.
type Update struct {
	// Changes are applied in order.
	Changes []policy.Change
	// Author is recorded with the update. The zero Author is the server itself.
	Author oplog.Author
	// Key, if it is not zero, makes a repetition safe: if the update was applied before,
	// its receipt is returned, waited for as usual.
	Key oplog.IdempotencyKey
	// Grace is how long operations that lose their authority may continue before their
	// contexts are canceled. It can only shorten the grace that an operation has of its own
	// ([Request.Grace]). Nil leaves it to the operations: those without a grace are canceled at
	// once.
	Grace *time.Duration
	// Before and After are preconditions: see [oplog.Proposal]. A panic in one is an error
	// of the update.
	Before func(tip policy.View) error
	After  func(tip, next policy.View) error
}

// proposal returns the update for the log.
func (u *Update) proposal(id oplog.ProposalID) *oplog.Proposal {
	p := &oplog.Proposal{ID: id, Change: oplog.Change{Changes: u.Changes, Author: u.Author, Key: u.Key, Grace: u.Grace}}
	if before := u.Before; before != nil {
		p.Before = func(tip policy.View) error { return guarded(func() error { return before(tip) }) }
	}
	if after := u.After; after != nil {
		p.After = func(tip, next policy.View) error { return guarded(func() error { return after(tip, next) }) }
	}
	return p
}

// guarded runs a precondition on a goroutine of its own, so that a panic or Goexit in it is
// an error of its update and does not end the goroutine that orders updates.
func guarded(condition func() error) (err error) {
	err = ErrGoexit
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				err = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}()
		err = condition()
	}()
	<-done
	return err
}

// Update applies changes and waits until they are quiesced (G2): on this engine, and on all
// engines that share its log. It returns
//
//   - nil: the update is applied, and nothing runs that it forbids;
//   - a [*NotQuiescedError]: it is applied, and the operations that the error lists still
//     run. An update called under the context of a lease does not wait for that lease;
//   - an error that wraps [oplog.ErrOutcomeUnknown]: ctx ended while the log had the update,
//     or the log failed. Ask for the receipt, or repeat the update with its key;
//   - any other error: it was not applied. ctx.Err() if ctx ended before the log claimed it,
//     [ErrNested], [ErrClosed], [oplog.ErrUnavailable], or the error of a change or of a
//     precondition.
//
// The receipt is complete unless the update was not applied.
func (e *Engine) Update(ctx context.Context, u Update) (Receipt, error) {
	if err := e.admissible(ctx); err != nil {
		return Receipt{}, err
	}
	id, reply := e.callers.add()
	defer e.callers.take(id)
	p := u.proposal(id)
	e.system.Root.Send(e.authority, p)
	select {
	case a := <-reply:
		return a.settle(ctx, e)
	case <-ctx.Done():
		return e.abandon(ctx, p, reply, ctx.Err())
	case <-e.stopped:
		return e.abandon(ctx, p, reply, ErrClosed)
	}
}

// abandon ends the wait for an update's outcome. If the log has not claimed the proposal, the
// update is not applied.
func (e *Engine) abandon(ctx context.Context, p *oplog.Proposal, reply <-chan answer, cause error) (Receipt, error) {
	if p.Abandon() {
		return Receipt{}, cause
	}
	if e.callers.take(p.ID) == nil {
		// The outcome takes effect right now. Perhaps it is what ended ctx.
		select {
		case a := <-reply:
			return a.settle(ctx, e)
		case <-e.stopped:
		}
	}
	select {
	case a := <-reply:
		return a.settle(ctx, e)
	default:
		return Receipt{}, fmt.Errorf("%w: %w", oplog.ErrOutcomeUnknown, cause)
	}
}

// settle waits until the update is quiesced, if it was applied.
func (a answer) settle(ctx context.Context, e *Engine) (Receipt, error) {
	if a.err != nil {
		return Receipt{Revision: a.revision}, a.err
	}
	if a.tracker == nil {
		return e.Receipt(ctx, a.revision)
	}
	for _, p := range a.tracker.near {
		p.workControl(nil)
	}
	a.tracker.near = nil // receipts are kept, and must not keep principals
	return e.await(ctx, a.tracker)
}

// Receipt waits until the update with that revision is quiesced, or ctx is done, and returns
// its receipt as Update does. [ErrUnknownRevision] means that no update had the revision.
// The receipt of an update that was quiesced long ago does not list what it ended.
func (e *Engine) Receipt(ctx context.Context, revision uint64) (Receipt, error) {
	if e.nested(ctx) {
		return Receipt{}, ErrNested
	}
	t, known := e.receipts.find(revision)
	if !known {
		return Receipt{}, ErrUnknownRevision
	}
	if t == nil {
		if err := e.settling.wait(ctx); err != nil {
			r := Receipt{Revision: revision, Settling: true, Restarted: revision <= e.receipts.opened}
			return r, &NotQuiescedError{Receipt: r, Cause: err}
		}
		return e.awaitOthers(ctx, Receipt{Revision: revision, Quiesced: true, Restarted: revision <= e.receipts.opened})
	}
	return e.await(ctx, t)
}

// await waits until an update is quiesced on all engines.
func (e *Engine) await(ctx context.Context, t *tracker) (Receipt, error) {
	r, err := awaitOwn(ctx, t)
	if err != nil {
		return r, err
	}
	return e.awaitOthers(ctx, r)
}

// awaitOwn waits until an update is quiesced on this engine.
func awaitOwn(ctx context.Context, t *tracker) (Receipt, error) {
	cause := t.wait(ctx, ownLeases(ctx))
	r := t.receipt()
	if cause == nil || r.Quiesced {
		return r, nil
	}
	return r, &NotQuiescedError{Receipt: r, Cause: cause}
}

// awaitOthers waits until the engines that share the log have confirmed the update of a
// receipt that is quiesced on this engine.
func (e *Engine) awaitOthers(ctx context.Context, r Receipt) (Receipt, error) {
	if e.confirmer == nil {
		return r, nil
	}
	missing, err := e.confirmer.log.Await(ctx, r.Revision)
	if err == nil {
		return r, nil
	}
	r.Quiesced, r.Missing = false, missing
	return r, &NotQuiescedError{Receipt: r, Cause: err}
}

// answer is the result of an update for its caller. Without an error and a tracker, the
// update was applied before.
type answer struct {
	revision uint64
	err      error
	tracker  *tracker
}
