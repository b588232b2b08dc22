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

// group is a group of proposals. It is prepared in a batch, applied, synced and delivered.
type group struct {
	proposals  []*oplog.Proposal
	outcomes   []oplog.Outcome // of prepared proposals
	unreadable map[int]error   // by index, proposals that depend on an unreadable record
	tip        *tip            // the batch, until it is applied
	batch      *pebble.Batch   // nil if it changes nothing
	reaches    small           // the resulting state
	taken      bool            // the store may have the batch
}

// making is the group that is being prepared. Writing to the store requires mu.
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

// nudge wakes the reader of a channel.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// write keeps one group after the other: apply, wait for the sync, write the head file,
// deliver.
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

// prepareAhead prepares the next group during a sync.
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
		if forgotten { // the writer has missed it and waits
			nudge(j.arrived)
		}
	}
}

// survive ends the journal if Pebble panicked, which it does after a failed write.
func (j *Journal) survive() {
	if v := recover(); v != nil {
		j.fail(fmt.Errorf("the store panicked: %v", v))
	}
}

// keep keeps everything that is queued as one group and delivers it. It reports whether
// there was anything.
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
	began := time.Now()
	err = j.apply(g)
	m.mu.Unlock()
	if err != nil {
		return false, err
	}
	if err := j.settle(g); err != nil {
		return false, err
	}
	m.syncing.Store(false)
	if g.batch != nil && j.options.Committed != nil {
		j.options.Committed(time.Since(began))
	}
	if !j.deliver(g) {
		return false, nil
	}
	// Callers that were just answered may propose more. Yielding lets that join the next
	// group.
	runtime.Gosched()
	return true, nil
}

// take adds queued proposals to the group, and makes a group if there is none.
func (j *Journal) take(g *group) *group {
	if g = j.gather(g); g != nil {
		j.prepare(g)
	}
	return g
}

// gather adds queued proposals that are still wanted.
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

// prepare adds new proposals of a group to its batch. A proposal that depends on an
// unreadable record is refused, and the batch is built again without it.
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
		g.unreadable[n] = fmt.Errorf("%w: not applied: %w", oplog.ErrUnavailable, j.report(g.tip.err))
		_ = g.tip.batch.Close() // it is built again
		j.beginBatch(g)
	}
}

func (j *Journal) beginBatch(g *group) {
	g.tip, g.outcomes = &j.making.tip, nil
	g.tip.reset(j.db, *j.tip.Load(), j.recent.records, j.options.repeats, j.options.clock().UTC())
}

// apply applies a group without waiting for the sync.
func (j *Journal) apply(g *group) error {
	t := g.tip
	j.mu.Lock()
	g.taken, g.tip = true, nil
	failed := j.failedLocked()
	j.mu.Unlock()
	if failed {
		return nil // fail has answered it
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

// deliver delivers the first group, unless fail has answered it.
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

// fail ends the journal. It answers everything that was handed over. Nothing is written or
// read afterwards.
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

// syncHead syncs the head file once a second.
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
