package observe

import (
	"container/list"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Counters counts what an engine does. It costs a decision one atomic addition and allocates
// nothing. [Counters.Read] takes no lock that a decision waits for, and visits no principal. Make
// one with [NewCounters] for each engine. It is safe for concurrent use.
type Counters struct {
	Nothing
	stripes []stripe // the number is a power of two
	sweeps  Histogram
	updates updates
}

// places is the number of reasons, rounded up so that an index needs no check.
const places = 16

// stripe counts for some of the principals. Stripes share no cache line, and principals on different
// processors rarely share a stripe.
type stripe struct {
	decisions [places]atomic.Uint64
	waits     Histogram
	leases    leases
	_         [64]byte
}

// stripesPerProcessor is a compromise: a stripe takes about 800 bytes, and principals that are
// decided about at the same time share one with the probability of its reciprocal.
const stripesPerProcessor = 8

var _ actors.Observer = (*Counters)(nil)

// NewCounters returns counters that are 0.
func NewCounters() *Counters {
	n := 1 << bits.Len(uint(stripesPerProcessor*runtime.GOMAXPROCS(0)-1))
	c := &Counters{stripes: make([]stripe, n)}
	c.updates.waiting = map[uint64]*list.Element{}
	return c
}

func (c *Counters) stripe(who policy.Principal) *stripe {
	// The directory of the engine uses other bits of the hash.
	return &c.stripes[int(who.Hash()>>24)&(len(c.stripes)-1)]
}

// Decided implements [actors.Observer].
func (c *Counters) Decided(who policy.Principal, reason policy.Reason) bool {
	c.count(who, reason)
	return false
}

func (c *Counters) count(who policy.Principal, reason policy.Reason) {
	c.stripe(who).decisions[reason%places].Add(1)
}

// Waited implements [actors.Observer].
func (c *Counters) Waited(who policy.Principal, wait time.Duration) { c.stripe(who).waits.Add(wait) }

// Admitted implements [actors.Observer].
func (c *Counters) Admitted(l *actors.Lease) any {
	return c.stripe(l.Principal()).leases.begin(l.Since().UnixNano())
}

// Released implements [actors.Observer].
func (c *Counters) Released(l *actors.Lease, tag any, after time.Duration, how string) {
	if began, ok := tag.(*second); ok {
		c.stripe(l.Principal()).leases.end(began, after, how)
	}
}

// Swept implements [actors.Observer].
func (c *Counters) Swept(took time.Duration) { c.sweeps.Add(took) }

// Delivered implements [actors.Observer].
func (c *Counters) Delivered(u actors.AppliedUpdate) { c.updates.deliver(&u) }

// Quiesced implements [actors.Observer].
func (c *Counters) Quiesced(u actors.AppliedUpdate) { c.updates.quiesce(&u) }

// Counts are the values of [Counters]. Durations are those since the counters were made.
type Counts struct {
	// Decisions counts decisions by [policy.Reason].
	Decisions [places]uint64
	// Waits are the times that requests waited in the queue of their principal. Most requests do
	// not queue and are not counted here.
	Waits Durations

	// Leases counts the leases in flight. OldestLease is when the oldest was admitted, zero if
	// there is none.
	Leases      int64
	OldestLease time.Time
	// Finished and Canceled are the durations of the leases that have ended, by how.
	Finished, Canceled Durations

	// Delivery are the times from the call of Update to the delivery, of this engine's own updates.
	// Quiescence are those from the delivery until the update is quiesced. Both are by [Kind].
	Delivery, Quiescence [Kinds]Durations
	// Unquiesced counts the updates that are delivered and not quiesced. OldestUnquiesced is when the
	// first of them was delivered, zero if there is none.
	Unquiesced       int
	OldestUnquiesced time.Time
	// Sweeps are the durations of the sweeps.
	Sweeps Durations
}

// Read returns the counts. Those of different things may be of slightly different moments.
func (c *Counters) Read() Counts {
	var n Counts
	oldest := int64(0)
	for i := range c.stripes {
		s := &c.stripes[i]
		for reason := range s.decisions {
			n.Decisions[reason] += s.decisions[reason].Load()
		}
		s.waits.addTo(&n.Waits)
		s.leases.finished.addTo(&n.Finished)
		s.leases.canceled.addTo(&n.Canceled)
		running, began := s.leases.running()
		n.Leases += running
		if began != 0 && (oldest == 0 || began < oldest) {
			oldest = began
		}
	}
	if oldest != 0 {
		n.OldestLease = time.Unix(0, oldest)
	}
	c.sweeps.addTo(&n.Sweeps)
	c.updates.addTo(&n)
	return n
}

// Kind is the kind of an update.
type Kind int

// The kinds of updates.
const (
	Grants      Kind = iota // only grants roles, or takes revocations of certificates back
	Revocations             // may take a permission away; also an update whose changes are not known
	Kinds                   // the number of kinds
)

// String returns "grant" or "revocation".
func (k Kind) String() string {
	if k == Grants {
		return "grant"
	}
	return "revocation"
}

// KindOf returns the kind of an update.
func KindOf(u *actors.AppliedUpdate) Kind {
	if u.Changes == nil {
		return Revocations
	}
	for i := range u.Changes {
		if op := u.Changes[i].Op; op != policy.OpGrant && op != policy.OpUnrevokeCertificate {
			return Revocations
		}
	}
	return Grants
}

// updates counts updates. No decision waits for its lock.
type updates struct {
	delivery, quiescence [Kinds]Histogram

	mu      sync.Mutex
	order   list.List                // of the times of delivery of the updates that are not quiesced
	waiting map[uint64]*list.Element // by revision
}

func (c *updates) deliver(u *actors.AppliedUpdate) {
	if !u.Asked.IsZero() {
		c.delivery[KindOf(u)].Add(u.Delivered.Sub(u.Asked))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[u.Revision] = c.order.PushBack(u.Delivered)
}

func (c *updates) quiesce(u *actors.AppliedUpdate) {
	c.quiescence[KindOf(u)].Add(u.Quiesced.Sub(u.Delivered))
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.waiting[u.Revision]; e != nil {
		c.order.Remove(e)
		delete(c.waiting, u.Revision)
	}
}

func (c *updates) addTo(n *Counts) {
	for k := range c.delivery {
		c.delivery[k].addTo(&n.Delivery[k])
		c.quiescence[k].addTo(&n.Quiescence[k])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n.Unquiesced = c.order.Len()
	if first := c.order.Front(); first != nil {
		n.OldestUnquiesced = first.Value.(time.Time)
	}
}
