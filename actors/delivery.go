package actors

import (
	"context"
	"sync"
	"sync/atomic"
)

// # How an update takes effect
//
// A principal's own state is its record: its exact grants. It is pushed. Shared state is the
// table (roles and pattern grants), the set of revoked certificates and the time. It is pulled.
// The delivery goroutine takes one outcome after the other and does, in this order:
//
//  1. add the revoked certificates to the set;
//  2. post the new records, each with the table of its revision and the earlier revisions that
//     are not swept, to the mailboxes that are in the directory;
//  3. register the update's tracker;
//  4. publish the table;
//  5. queue a sweep, if the outcome changed shared state;
//  6. answer the caller, which waits for the tracker.
//
// A turn does, in this order ([principal.begin]): it loads the table and then the other shared
// state, empties the control lane, and repeats both until it finds the lane empty after the load;
// if the table has another shape than what the principal holds was compiled for, it compiles
// again, shows the result, and starts over. Then it decides.
//
// A sweep ([sweeper.sweep]) serves all revisions that are published when it begins. For each
// principal it loads the state of the mailbox and then its leases. A principal with a turn in
// progress or with leases, which a revision concerns, gets a message with the revisions that
// concern it. The trackers of these revisions wait for the message.
//
// # Why G1 and G4 hold
//
// If a turn loads the table of revision R, every record of R and of earlier revisions was posted
// before (2 before 4). So the turn finds it in the lane, or has handled it before. A record of a
// later revision brings its own table, which the turn uses until the published one is as new.
// So a turn decides by a record and a table of one revision, and by one that is at least as new
// as the table that was published when the turn began.
//
// An activation enters the directory and then reads the record. A record that was delivered
// before it entered is in the log's answer, because the log keeps an outcome before it delivers
// it. A record that is delivered later is posted to it. If what it reads is not delivered, it
// waits for that revision, and for no other.
//
// # Why G2 holds
//
// Take an operation that revision R forbids and that was admitted before R.
//
//   - If R changed the principal's record, a message was posted. The tracker waits for it. The
//     turn that handles it follows the turn that admitted the operation, because the latter
//     decided without the record. So it finds the lease and revokes it, or the function has ended.
//   - If R changed shared state, the turn that admitted the operation loaded an older table than
//     R's, so it loaded it before R was published, and the sweep came later (4 before 5). When
//     the sweep loaded the state of the mailbox, that turn was in progress, or it had ended. If
//     it was in progress, the principal gets a message. If it had ended, its lease was in
//     the list, and the sweep loads the list after the state. So the sweep finds it, or it has
//     been released.
//
// The messages judge leases in the order of the revisions, so that an update which gives a
// permission back does not reprieve what ran when it was taken: a sweep's message has its
// revisions in order, and the message of a record has the shared revisions before it. A revision
// judges only what was admitted before it. So nothing that is allowed is disturbed.
//
// [revision.concerns] looks at what the principal shows. That was compiled for a shape. A form
// that is older than the table before R, or newer than R, proves nothing, and the principal gets
// the message. A turn that compiles shows the form and then loads the table again: if the sweep
// saw the older form, the turn sees the table that the sweep serves. What is shown includes
// expired grants, because a lease can outlive its grant until the expiry is handled.
//
// # Why G7 holds
//
// Delivery does nothing for the principals that hold a changed role; the sweep has a goroutine of
// its own and visits only what runs. An update of named principals does not wait for a sweep.
// Nothing waits for a principal that an update does not concern, or that is opening. The control
// turns of a principal whose leases have conditions leave the pool.
//
// [TestModelOfDelivery] checks all of this in every interleaving of two updates, and finds each
// of a list of flaws. docs/delivery.md says which test finds which.

// delivery is how far the log has delivered. Activations wait on it.
type delivery struct {
	waiting atomic.Int32
	mu      sync.Mutex
	signal  chan struct{}

	turn  sync.Mutex // held while a group is delivered
	ended bool       // outcomes no longer take effect
}

// end makes later outcomes have no effect. It waits for the current group.
func (d *delivery) end() {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.ended = true
}

// reach waits until the published table has that revision or a later one.
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

// reached wakes the callers of reach. It is called after a table is published.
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
