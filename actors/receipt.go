package actors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Receipt is the result of an update.
type Receipt struct {
	// Revision is the update's own.
	Revision uint64
	// Quiesced reports that no operation is running that this update or an earlier one
	// forbids, of the principals that this update concerns. Once true it stays true.
	Quiesced bool
	// Ended lists the operations that lost their authority and that the update waited for,
	// at most [MaxListed]. EndedCount counts all.
	Ended      []Ended
	EndedCount int
	// Running lists the operations that have not ended, at most [MaxListed]. RunningCount counts all.
	Running      []LeaseInfo
	RunningCount int
	// Waiting lists the principals with a turn that has not ended, and that have not handled the
	// update therefore, at most [MaxListed]. WaitingCount counts all.
	Waiting      []policy.Principal
	WaitingCount int
	// Connections counts the connections that were closed, or told to close after their
	// requests, because their credential ended: see [Options].
	Connections int
	// StillGrantedBy lists grants that still give a principal a role that the update revoked
	// from it: pattern grants, and grants of a role that inherits it.
	StillGrantedBy []policy.Grant
	// StillGrantedCount counts them. A server lists them only to callers that may read the
	// policy.
	StillGrantedCount int
	// Unchanged reports that the update changed nothing.
	Unchanged bool
	// Missing lists the engines sharing the log that have not confirmed the update as
	// quiesced; it is nil unless this engine has.
	Missing []string
	// Restarted reports that the update was applied before this engine started, so what it
	// ended is not known.
	Restarted bool
	// Settling reports that operations which an earlier process admitted may still run: see
	// [Options.QuiesceAfter].
	Settling bool
}

// MaxListed bounds the operations that a receipt lists.
const MaxListed = 1000

// Values of [Ended.How].
const (
	// HowFinished means that the lease was released before its context was canceled.
	HowFinished = "finished"
	// HowCanceled means that the context was canceled before the release.
	HowCanceled = "canceled"
	// HowReleased means that a remote client said that its operation had ended.
	HowReleased = "released"
	// HowExpired means that the time of a remote client's lease had passed.
	HowExpired = "expired"
)

// Ended is an operation that an update waited for.
type Ended struct {
	LeaseInfo
	// How is [HowFinished] or [HowCanceled], or what [Lease.ReleaseAs] was called with.
	How string
	// After is the time from the delivery of the update to the release.
	After time.Duration
}

// tracker follows an update until it is quiesced. It counts the principals that have not
// handled the update, and the revoked leases that still run.
type tracker struct {
	revision  uint64
	delivered time.Time
	still     []policy.Grant
	unchanged bool
	// near holds the principals that got a message, if they are few. The caller of the update
	// handles their messages itself. So it does not wait for a goroutine of the pool on a busy
	// machine.
	near []*principal

	mu       sync.Mutex
	pending  int                // principals, and one for the authority until it has posted all messages
	turns    map[*principal]int // of the principals among pending, how often each is
	running  map[*Lease]LeaseInfo
	ended    []Ended
	count    int
	closed   int           // connections
	settling *settling     // what the update waits for, if it is counted in pending
	signal   chan struct{} // closed at the next event; nil if nothing waits
	changed  func()        // called at every event, under mu; may be nil

	observer *Engine       // to tell when the update is quiesced; nil for none
	observed AppliedUpdate // what the observer is told
}

func newTracker(revision uint64) *tracker {
	return &tracker{revision: revision, delivered: time.Now(), pending: 1}
}

// few bounds the principals whose messages the caller of an update handles.
const few = 4

// note adds to near. It is called before anything waits for the tracker.
func (t *tracker) note(p *principal) {
	if len(t.near) < few {
		t.near = append(t.near, p)
	}
}

// expect counts a principal that has to handle the update.
func (t *tracker) expect() {
	t.mu.Lock()
	t.pending++
	t.mu.Unlock()
}

// applied is called when a principal has handled the update, or cannot have leases.
func (t *tracker) applied() {
	t.mu.Lock()
	t.pending--
	t.wake()
	t.unlock()
}

// expectTurn counts a principal that has to handle the update in a turn.
func (t *tracker) expectTurn(p *principal) {
	t.mu.Lock()
	t.pending++
	if t.turns == nil {
		t.turns = map[*principal]int{}
	}
	t.turns[p]++
	t.mu.Unlock()
}

// turned is called when such a principal has handled the update, or cannot have leases.
func (t *tracker) turned(p *principal) {
	t.mu.Lock()
	if t.turns[p]--; t.turns[p] <= 0 {
		delete(t.turns, p)
	}
	t.pending--
	t.wake()
	t.unlock()
}

// acknowledgment is a principal's answer to a tracker, given once: when the message is
// handled or dropped, or when it is posted to a mailbox that is opening. Such a mailbox
// handles it before it records a lease.
type acknowledgment struct {
	tracker *tracker
	of      *principal
	given   atomic.Bool
}

func (a *acknowledgment) acknowledge() {
	if a.given.CompareAndSwap(false, true) {
		a.tracker.turned(a.of)
	}
}

// tellFor posts a message that a tracker waits for.
func (p *principal) tellFor(a *acknowledgment, m message) {
	a.of = p
	a.tracker.expectTurn(p)
	p.tell(&node{message: m})
	if !p.open.Load() {
		a.acknowledge()
	}
}

// runs adds a lease that the update has to wait for. It returns false if the update is
// quiesced already, and then does not add it.
func (t *tracker) runs(l *Lease) bool { return t.runsAs(l, l.info()) }

func (t *tracker) runsAs(l *Lease, info LeaseInfo) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over() {
		return false
	}
	if t.running == nil {
		t.running = map[*Lease]LeaseInfo{}
	}
	t.running[l] = info
	return true
}

// released is called when such a lease is released.
func (t *tracker) released(l *Lease) {
	how := l.how()
	t.mu.Lock()
	t.count++
	if len(t.ended) < MaxListed {
		t.ended = append(t.ended, Ended{LeaseInfo: t.running[l], How: how, After: time.Since(t.delivered)})
	}
	delete(t.running, l)
	t.wake()
	t.unlock()
}

// unlock releases mu after an event, and tells the observer if it was the last one: a tracker that is
// over has no more events.
func (t *tracker) unlock() {
	last := t.observer != nil && t.over()
	if last {
		t.observed.Quiesced, t.observed.Ended = time.Now(), t.count
	}
	t.mu.Unlock()
	if last {
		t.observer.observeQuiescence(t.observed)
	}
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

// receipt returns the receipt as of now.
func (t *tracker) receipt() Receipt {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Receipt{
		Revision: t.revision, Quiesced: t.over(),
		Ended: slices.Clone(t.ended), EndedCount: t.count, RunningCount: len(t.running), WaitingCount: len(t.turns),
		Connections: t.closed, StillGrantedBy: t.still, StillGrantedCount: len(t.still), Unchanged: t.unchanged,
		Settling: t.settling != nil && !t.settling.isOver(),
	}
	for _, info := range t.running {
		if len(r.Running) == MaxListed {
			break
		}
		r.Running = append(r.Running, info)
	}
	for p := range t.turns {
		if len(r.Waiting) == MaxListed {
			break
		}
		r.Waiting = append(r.Waiting, p.who)
	}
	slices.SortFunc(r.Waiting, func(a, b policy.Principal) int { return strings.Compare(a.String(), b.String()) })
	slices.SortFunc(r.Running, func(a, b LeaseInfo) int { return int(int64(a.ID - b.ID)) })
	return r
}

// over reports whether the update is quiesced. The caller holds mu.
func (t *tracker) over() bool { return t.pending == 0 && len(t.running) == 0 }

func (t *tracker) quiesced() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.over()
}

// errOwnLease is why an update that is called under a lease's context does not wait for it.
var errOwnLease = errors.New("the update waits for the lease under whose context it was called")

// wait returns nil when the update is quiesced, and otherwise why it stopped waiting.
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

// ownLeases returns the leases from whose contexts ctx derives.
func ownLeases(ctx context.Context) []*Lease {
	var own []*Lease
	for l, ok := ctx.Value(leaseKey{}).(*Lease); ok; l, ok = l.parent.Value(leaseKey{}).(*Lease) {
		own = append(own, l)
	}
	return own
}

// receipts keeps the trackers of updates that are not quiesced, and of the latest ones.
type receipts struct {
	mu     sync.Mutex
	kept   map[uint64]*tracker
	newest uint64
	opened uint64 // the revision that the engine started with
	sweep  int    // the number of trackers at which old ones are removed
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
