package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors"
)

// group is a group of proposals on its way: handed over, applied, synced, delivered.
type group struct {
	proposals []*actors.Proposal
	outcomes  []actors.Outcome
	batch     *pebble.Batch // nil if it changes nothing
	tip       small         // the state that it leads to
	taken     bool          // the store may have it
}

// Propose implements [actors.Log].
func (j *Journal) Propose(proposals []*actors.Proposal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cause != nil {
		return j.cause
	}
	j.groups = append(j.groups, &group{proposals: proposals})
	select {
	case j.arrived <- struct{}{}:
	default:
	}
	return nil
}

// write applies one group after the other. It is the only one who writes to the store.
func (j *Journal) write() {
	defer close(j.applied)
	defer func() {
		if v := recover(); v != nil { // of the store, when a write failed
			j.fail(fmt.Errorf("the writer panicked: %v", v))
		}
	}()
	for {
		if g := j.next(); g != nil {
			if err := j.apply(g); err != nil {
				j.fail(err)
				return
			}
			j.applied <- g
			continue
		}
		select {
		case <-j.arrived:
		case done := <-j.trim:
			done <- j.trimOnce()
		case <-j.failed:
			return
		case <-j.stopping:
			if j.next() == nil {
				return
			}
		}
	}
}

// next returns the first group that is not taken, nil if there is none.
func (j *Journal) next() *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, g := range j.groups {
		if !g.taken {
			return g
		}
	}
	return nil
}

// apply makes one batch of a group and applies it, without waiting for the sync.
func (j *Journal) apply(g *group) error {
	t := j.prepare(g)
	j.mu.Lock()
	g.taken = true
	failed := j.failedLocked()
	j.mu.Unlock()
	if failed {
		return nil // it has been answered
	}
	g.tip = t.small
	if t.batch.Empty() {
		return t.batch.Close()
	}
	g.batch = t.batch
	if err := j.db.ApplyNoSyncWait(g.batch, pebble.Sync); err != nil {
		return err
	}
	j.tip.Store(&g.tip)
	j.recent.take(t.records)
	return nil
}

// prepare makes a batch of a group. A proposal that cannot be checked, because of a record
// that cannot be read, is refused, and leaves nothing in the batch: it is made anew.
func (j *Journal) prepare(g *group) *tip {
	unreadable := make([]error, len(g.proposals))
	for {
		t := newTip(j.db, *j.tip.Load(), j.recent.records, j.options.clock().UTC())
		g.outcomes = make([]actors.Outcome, len(g.proposals))
		again := false
		for i, p := range g.proposals {
			if unreadable[i] != nil {
				g.outcomes[i] = actors.Outcome{Proposal: p, Err: unreadable[i], Revision: t.revision}
				continue
			}
			if g.outcomes[i] = t.apply(p); t.err != nil {
				unreadable[i] = fmt.Errorf("%w: it was not applied: %w", actors.ErrJournal, j.report(t.err))
				again = true
				break
			}
		}
		if !again {
			return t
		}
		_ = t.batch.Close() // nothing of it is used
	}
}

// complete waits for the sync of one group after the other, notes in the head file that
// the store reaches so far, and delivers.
func (j *Journal) complete() {
	for g := range j.applied {
		if err := j.settle(g); err != nil {
			j.fail(err)
			return
		}
		if !j.deliver(g) {
			return
		}
	}
}

func (j *Journal) settle(g *group) error {
	if g.batch == nil {
		return nil
	}
	if err := g.batch.SyncWait(); err != nil {
		return err
	}
	return errors.Join(j.head.reach(g.tip.revision, g.tip.head), g.batch.Close())
}

// deliver delivers the first group, unless everything was answered already.
func (j *Journal) deliver(g *group) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failedLocked() {
		return false
	}
	j.groups = j.groups[1:]
	j.events.Deliver(g.outcomes)
	return true
}

// fail ends the journal: everything that was handed over is answered, and nothing is
// written or read any more.
func (j *Journal) fail(cause error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failedLocked() {
		return
	}
	j.files.down.Store(true)
	j.cause = fmt.Errorf("%w: %w", actors.ErrJournal, cause)
	close(j.failed)
	for _, g := range j.groups {
		err := j.cause
		if g.taken {
			err = fmt.Errorf("%w: %w", actors.ErrOutcomeUnknown, cause)
		}
		outcomes := make([]actors.Outcome, len(g.proposals))
		for i, p := range g.proposals {
			outcomes[i] = actors.Outcome{Proposal: p, Err: err}
		}
		j.events.Deliver(outcomes)
	}
	j.groups = nil
	j.events.Failed(j.cause)
}

func (j *Journal) failedLocked() bool {
	select {
	case <-j.failed:
		return true
	default:
		return false
	}
}

// syncHead makes the head file outlast a loss of power, once a second.
func (j *Journal) syncHead() {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			if err := j.head.sync(); err != nil {
				j.fail(err)
				return
			}
		case <-j.stopping:
			return
		case <-j.failed:
			return
		}
	}
}
