package journal

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// group is a group of proposals on its way: checked and put into a batch, applied, synced,
// delivered.
type group struct {
	proposals  []*oplog.Proposal
	outcomes   []oplog.Outcome // of those that are in the batch, or refused
	unreadable map[int]error   // why some cannot be checked
	tip        *tip            // the batch, until it is applied
	batch      *pebble.Batch   // nil if it changes nothing
	reaches    small           // the state that it leads to
	taken      bool            // the store may have it
}

// making is the group that is being made. Whoever holds mu writes to the store.
type making struct {
	mu      sync.Mutex
	next    *group
	tip     tip // of next
	syncing atomic.Bool
}

// Propose implements [oplog.Log].
func (j *Journal) Propose(p *oplog.Proposal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cause != nil {
		return j.cause
	}
	j.queue = append(j.queue, p)
	if j.making.syncing.Load() {
		nudge(j.ahead)
	} else {
		nudge(j.arrived)
	}
	return nil
}

// nudge tells whoever waits on the channel to look what there is to do.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write keeps one group after the other: it applies it, waits for the sync, notes in the
// head file that the store reaches so far, and delivers.
func (j *Journal) write() {
	defer j.survive()
	stopping := j.stopping
	for {
		select {
		case done := <-j.trim:
			done <- j.trimSome()
		default:
		}
		more, err := j.keep()
		if err != nil {
			j.fail(err)
			return
		}
		if more {
			continue
		}
		if stopping == nil {
			return
		}
		select {
		case <-j.arrived:
		case done := <-j.trim:
			done <- j.trimSome()
		case <-j.failed:
			return
		case <-stopping:
			stopping = nil
		}
	}
}

// prepareAhead gets the next group ready while one is being synced.
func (j *Journal) prepareAhead() {
	defer j.survive()
	for {
		select {
		case <-j.ahead:
		case <-j.failed:
			return
		case <-j.stopping:
			return
		}
		m := &j.making
		m.mu.Lock()
		m.next = j.take(m.next)
		forgotten := m.next != nil && !m.syncing.Load()
		m.mu.Unlock()
		if forgotten { // the writer has found nothing and waits
			nudge(j.arrived)
		}
	}
}

// survive ends the journal if the store panicked: it does when a write has failed.
func (j *Journal) survive() {
	if v := recover(); v != nil {
		j.fail(fmt.Errorf("the store panicked: %v", v))
	}
}

// keep keeps what there is as one group, and delivers it. It reports whether there was
// anything.
func (j *Journal) keep() (more bool, err error) {
	m := &j.making
	m.mu.Lock()
	g := j.take(m.next)
	m.next = nil
	if g == nil {
		m.mu.Unlock()
		return false, nil
	}
	m.syncing.Store(true)
	err = j.apply(g)
	m.mu.Unlock()
	if err != nil {
		return false, err
	}
	if err := j.settle(g); err != nil {
		return false, err
	}
	m.syncing.Store(false)
	if !j.deliver(g) {
		return false, nil
	}
	// Who was answered may ask for more at once: that comes into the next group if it is
	// let go first.
	runtime.Gosched()
	return true, nil
}

// take adds what has arrived to the group that is being made; the first makes one.
func (j *Journal) take(g *group) *group {
	if g = j.gather(g); g != nil {
		j.prepare(g)
	}
	return g
}

// gather adds what is queued, and still wanted.
func (j *Journal) gather(g *group) *group {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.queue {
		if !p.Claim() {
			continue
		}
		if g == nil {
			g = &group{}
			j.groups = append(j.groups, g)
		}
		g.proposals = append(g.proposals, p)
	}
	clear(j.queue)
	j.queue = j.queue[:0]
	return g
}

// prepare puts what is new of a group into its batch. A proposal that cannot be checked,
// because of a record that cannot be read, is refused, and leaves nothing in the batch: it
// is made anew.
func (j *Journal) prepare(g *group) {
	if g.tip == nil {
		j.beginBatch(g)
	}
	for len(g.outcomes) < len(g.proposals) {
		n := len(g.outcomes)
		p := g.proposals[n]
		if err := g.unreadable[n]; err != nil {
			g.outcomes = append(g.outcomes, p.Refused(err, g.tip.revision))
			continue
		}
		o := g.tip.apply(p)
		if g.tip.err == nil {
			g.outcomes = append(g.outcomes, o)
			continue
		}
		if g.unreadable == nil {
			g.unreadable = map[int]error{}
		}
		g.unreadable[n] = fmt.Errorf("%w: it was not applied: %w", oplog.ErrUnavailable, j.report(g.tip.err))
		_ = g.tip.batch.Close() // nothing of it is used
		j.beginBatch(g)
	}
}

func (j *Journal) beginBatch(g *group) {
	g.tip, g.outcomes = &j.making.tip, nil
	g.tip.reset(j.db, *j.tip.Load(), j.recent.records, j.options.clock().UTC())
}

// apply applies a group, without waiting for the sync.
func (j *Journal) apply(g *group) error {
	t := g.tip
	j.mu.Lock()
	g.taken, g.tip = true, nil
	failed := j.failedLocked()
	j.mu.Unlock()
	if failed {
		return nil // it has been answered
	}
	g.reaches = t.small
	if t.batch.Empty() {
		return t.batch.Close()
	}
	g.batch = t.batch
	if err := j.db.ApplyNoSyncWait(g.batch, pebble.Sync); err != nil {
		return err
	}
	j.tip.Store(&g.reaches)
	j.recent.take(t.records)
	return nil
}

func (j *Journal) settle(g *group) error {
	if g.batch == nil {
		return nil
	}
	if err := g.batch.SyncWait(); err != nil {
		return err
	}
	return errors.Join(j.head.reach(g.reaches.revision, g.reaches.head), g.batch.Close())
}

// deliver delivers the first group, unless everything was answered already.
func (j *Journal) deliver(g *group) bool {
	j.delivering.Lock()
	defer j.delivering.Unlock()
	j.mu.Lock()
	failed := j.failedLocked()
	if !failed {
		j.groups = j.groups[1:]
	}
	j.mu.Unlock()
	if !failed {
		j.events.Deliver(g.outcomes)
	}
	return !failed
}

// fail ends the journal: everything that was handed over is answered, and nothing is
// written or read any more.
func (j *Journal) fail(cause error) {
	j.mu.Lock()
	if j.failedLocked() {
		j.mu.Unlock()
		return
	}
	j.files.down.Store(true)
	j.cause = fmt.Errorf("%w: %w", oplog.ErrUnavailable, cause)
	close(j.failed)
	groups, queue := j.groups, j.queue
	j.groups, j.queue = nil, nil
	var answers [][]oplog.Outcome
	for _, g := range groups {
		err := j.cause
		if g.taken {
			err = fmt.Errorf("%w: %w", oplog.ErrOutcomeUnknown, cause)
		}
		answers = append(answers, refusals(g.proposals, err))
	}
	answers = append(answers, refusals(queue, j.cause))
	j.mu.Unlock()
	j.delivering.Lock()
	defer j.delivering.Unlock()
	for _, outcomes := range answers {
		j.events.Deliver(outcomes)
	}
	j.events.Failed(j.cause)
}

func refusals(proposals []*oplog.Proposal, err error) []oplog.Outcome {
	outcomes := make([]oplog.Outcome, len(proposals))
	for i, p := range proposals {
		outcomes[i] = p.Refused(err, 0)
	}
	return outcomes
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
