package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Receipt is what an update came to.
type Receipt struct {
	// Revision is the update's own.
	Revision uint64
	// Quiesced reports that no operation of the principals that the update concerns which
	// it, or an earlier update, forbids is running. Once true it stays so.
	Quiesced bool
	// Ended lists operations that had lost their authority and that the update waited
	// for, at most [MaxListed]; EndedCount counts them all.
	Ended      []Ended
	EndedCount int
	// Running lists those that have not ended, at most [MaxListed]; RunningCount counts
	// them all.
	Running      []LeaseInfo
	RunningCount int
	// Connections counts the connections that were closed, or told to close after what runs
	// on them, because their credential ended: see [Options].
	Connections int
	// StillGrantedBy lists grants by which a principal holds a role all the same that the
	// update took from it.
	StillGrantedBy []policy.Grant
	// Unchanged reports that the update changed nothing: what it asked for held before.
	Unchanged bool
	// Missing lists the engines sharing the log that have not confirmed the update as
	// quiesced; it is nil unless this engine has.
	Missing []string
	// Restarted reports that the update was applied before this engine started: of what it
	// ended nothing is known any more.
	Restarted bool
}

// MaxListed bounds the operations that a receipt lists one by one.
const MaxListed = 1000

// How an operation ended.
const (
	// HowFinished: its lease was released before its context was canceled.
	HowFinished = "finished"
	// HowCanceled: its context was canceled first.
	HowCanceled = "canceled"
)

// Ended is an operation that an update waited for.
type Ended struct {
	LeaseInfo
	// How is HowFinished or HowCanceled.
	How string
	// After is how long after the update's revision was delivered it was released.
	After time.Duration
}

// tracker follows an update until it is quiesced: principals that have not taken it in,
// and leases that have lost their authority and run still.
type tracker struct {
	revision  uint64
	delivered time.Time
	still     []policy.Grant
	unchanged bool
	// near are the principals that were told, if they are few. Who waits for the update
	// takes in their messages himself, and so does not wait, on a machine that is busy, for a
	// goroutine of the pool.
	near []*principal

	mu      sync.Mutex
	pending int // principals, and one for the authority until it has told them all
	running map[*Lease]LeaseInfo
	ended   []Ended
	count   int
	closed  int           // connections
	signal  chan struct{} // closed and replaced at every event, if anybody waits
	changed func()        // called at every event, under mu; nil for nobody
}

func newTracker(revision uint64) *tracker {
	return &tracker{revision: revision, delivered: time.Now(), pending: 1}
}

// few bounds the principals whose messages the caller of an update takes in.
const few = 4

// note is called before anybody waits.
func (t *tracker) note(p *principal) {
	if len(t.near) < few {
		t.near = append(t.near, p)
	}
}

// expect counts a principal that will take the update in.
func (t *tracker) expect() {
	t.mu.Lock()
	t.pending++
	t.mu.Unlock()
}

// applied is called when a principal has taken the update in, or holds no leases.
func (t *tracker) applied() {
	t.mu.Lock()
	t.pending--
	t.wake()
	t.mu.Unlock()
}

// acknowledgement is one principal's answer to a tracker, given once: when the message was
// taken in or dropped, or posted to a mailbox that opens, which takes it in before it
// records a lease.
type acknowledgement struct {
	tracker *tracker
	given   atomic.Bool
}

func (a *acknowledgement) acknowledge() {
	if a.given.CompareAndSwap(false, true) {
		a.tracker.applied()
	}
}

// tellFor posts a message that a tracker waits for.
func (p *principal) tellFor(a *acknowledgement, m message) {
	a.tracker.expect()
	p.tell(&node{message: m})
	if !p.open.Load() {
		a.acknowledge()
	}
}

// runs notes a lease that the update has to wait for.
func (t *tracker) runs(l *Lease) {
	t.mu.Lock()
	if t.running == nil {
		t.running = map[*Lease]LeaseInfo{}
	}
	t.running[l] = l.info()
	t.mu.Unlock()
}

// released is called when such a lease has ended.
func (t *tracker) released(l *Lease) {
	how := HowFinished
	l.mu.Lock()
	if l.canceled {
		how = HowCanceled
	}
	l.mu.Unlock()
	t.mu.Lock()
	t.count++
	if len(t.ended) < MaxListed {
		t.ended = append(t.ended, Ended{LeaseInfo: t.running[l], How: how, After: time.Since(t.delivered)})
	}
	delete(t.running, l)
	t.wake()
	t.mu.Unlock()
}

func (t *tracker) wake() {
	if t.signal != nil {
		close(t.signal)
		t.signal = nil
	}
	if t.changed != nil {
		t.changed()
	}
}

// receipt returns what is known now.
func (t *tracker) receipt() Receipt {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Receipt{
		Revision: t.revision, Quiesced: t.over(),
		Ended: slices.Clone(t.ended), EndedCount: t.count, RunningCount: len(t.running),
		Connections: t.closed, StillGrantedBy: t.still, Unchanged: t.unchanged,
	}
	for _, info := range t.running {
		if len(r.Running) == MaxListed {
			break
		}
		r.Running = append(r.Running, info)
	}
	slices.SortFunc(r.Running, func(a, b LeaseInfo) int { return int(int64(a.ID - b.ID)) })
	return r
}

// over reports whether the update is quiesced; mu is the caller's.
func (t *tracker) over() bool { return t.pending == 0 && len(t.running) == 0 }

func (t *tracker) quiesced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over()
}

// errOwnLease is why an update called under a lease's context does not wait for it.
var errOwnLease = errors.New("the update was called under the context of a lease that it has to wait for")

// wait returns nil when the update is quiesced; else why it stopped waiting.
func (t *tracker) wait(ctx context.Context, own []*Lease) error {
	for {
		t.mu.Lock()
		if t.over() {
			t.mu.Unlock()
			return nil
		}
		if t.pending == 0 && t.onlyOwn(own) {
			t.mu.Unlock()
			return errOwnLease
		}
		if t.signal == nil {
			t.signal = make(chan struct{})
		}
		signal := t.signal
		t.mu.Unlock()
		select {
		case <-signal:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *tracker) onlyOwn(own []*Lease) bool {
	if len(own) == 0 {
		return false
	}
	for l := range t.running {
		if !slices.Contains(own, l) {
			return false
		}
	}
	return true
}

// ownLeases returns the leases under whose contexts ctx stands.
func ownLeases(ctx context.Context) []*Lease {
	var own []*Lease
	for l, ok := ctx.Value(leaseKey{}).(*Lease); ok; l, ok = l.parent.Value(leaseKey{}).(*Lease) {
		own = append(own, l)
	}
	return own
}

// receipts remembers the trackers of updates: those not quiesced, and the latest.
type receipts struct {
	mu     sync.Mutex
	kept   map[uint64]*tracker
	newest uint64
	opened uint64 // the revision that the engine started with
	sweep  int    // how many are kept when those are forgotten that are quiesced and old
}

const keptReceipts = 4096

func (r *receipts) add(t *tracker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept[t.revision] = t
	r.newest = t.revision
	if len(r.kept) <= max(r.sweep, 2*keptReceipts) {
		return
	}
	for revision, old := range r.kept {
		if revision+keptReceipts <= r.newest && old.quiesced() {
			delete(r.kept, revision)
		}
	}
	r.sweep = 2 * len(r.kept)
}

// find returns the tracker of a revision; nil, true for one that was quiesced long ago.
func (r *receipts) find(revision uint64) (t *tracker, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.kept[revision], revision > 0 && revision <= r.newest
}
