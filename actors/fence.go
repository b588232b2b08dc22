package actors

import (
	"context"
	"time"
)

// # How a fence works, and why nothing runs behind it
//
// A fence is a change of shared state: the published table is replaced by one of the same revision
// that denies everything ([policy.Table.Fenced]). It costs a decision nothing, because a fenced
// table is a table without permissions. fence and unfence take the lock of the delivery, so a
// fenced table is what each later delivery builds on. Its tables are fenced too, also those that
// come with a record (holder.ahead).
//
// Take an operation that was admitted before the fence. The turn that admitted it loaded a table
// that was not fenced. Either that was the published one, which it loaded before the fence was
// published, or the newer one of a record, which was published before the fence, because a delivery
// posts a record and publishes its table under the lock. So the argument of G2 for shared state
// holds (delivery.go): the sweep finds the turn in progress, or its lease. The fence judges all
// leases, also the ones of its own revision, and allows none. It ends the grace of leases that were
// revoked before. Its tracker waits for all of them.
//
// Take a turn that begins later, while the engine is fenced. It loads a fenced table. A turn that
// began before, and admits, is one that the sweep waits for. So when the engine calls ended, no
// operation from before runs, and none has started since. The log may then leave the other engines,
// or join them again, and unfence.
//
// An activation behind the fence reads nothing from the log. One that began before the fence
// completes, and its turn decides by the published table like every other.
//
// Ways in which this could break, and what finds them in fence_test.go:
//
//   - a lease that was admitted at the revision of the fence is skipped, as for an update;
//   - the record of a delivery during the fence comes before the sweep, and takes its place;
//   - a delivery during the fence publishes an open table, or posts one with a record;
//   - ended is called before a turn in progress, or a lease in grace, has ended;
//   - a lease that was admitted before the fence is alive after it.

// fence implements [oplog.Events].
func (e *Engine) fence(ended func()) {
	e.delivery.turn.Lock()
	defer e.delivery.turn.Unlock()
	before := e.shared.published.Load()
	r := &revision{
		number: before.Revision(), table: before.Fenced(), shape: before.Shape(), unknown: true, fence: true,
		grace: new(time.Duration), tracker: newTracker(before.Revision()),
	}
	r.tracker.expect() // the sweep
	e.settling.hold(r.tracker)
	e.shared.published.Store(r.table)
	e.sweeper.add(r)
	r.tracker.applied()
	go e.awaitFence(r.tracker, ended)
}

// awaitFence calls ended when a fence has ended all operations, unless the engine closes first.
func (e *Engine) awaitFence(t *tracker, ended func()) {
	e.log.Warn("fenced by the log: the engine denies everything, and its operations are canceled")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-e.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	if t.wait(ctx, nil) == nil {
		ended()
	}
}

// unfence implements [oplog.Events].
func (e *Engine) unfence() {
	e.delivery.turn.Lock()
	e.shared.published.Store(e.shared.published.Load().Unfenced())
	e.delivery.turn.Unlock()
	e.log.Info("the log has lifted its fence: the engine decides again")
}

// Fenced reports whether the log has fenced the engine: it denies everything with [ErrFenced].
func (e *Engine) Fenced() bool { return e.shared.published.Load().IsFenced() }
