package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Lease is the record of an admitted operation that runs outside its principal's turn. The
// operation runs under [Lease.Context] and ends with [Lease.Release]. Until then, an update
// that forbids it is not quiesced. A Lease is safe for concurrent use.
type Lease struct {
	p      *principal
	parent context.Context
	req    Request
	id     atomic.Uint64
	node   node // for its release

	// The following fields are the decision that admitted it.
	verdict policy.Verdict
	table   *policy.Table
	record  *policy.Record
	since   int64 // in nanoseconds of Unix time

	observation *observation // nil without an observer

	// The following fields belong to the turns of the principal.
	older     leaseLink
	newer     *Lease
	revokedAt atomic.Uint64 // written by turns, and read by anyone
	cancelAt  int64         // on the monotonic clock; 0 for not yet
	inGrace   bool          // revoked with a grace, so that the end of its credential still matters
	watchers  *watcher

	// The following fields are the context.
	mu       sync.Mutex
	cause    error
	done     *doneState
	canceled bool // before it was released
	freed    bool
	rare     *rare // nil for most leases
}

// rare is what few leases have: the ones that lost their authority, and the ones of remote clients.
// After [Lease.free] only turns change it.
type rare struct {
	endedAs   string // by ReleaseAs; empty for HowFinished or HowCanceled
	lostUntil int64  // when its context is canceled, on the monotonic clock; 0 while it has its authority
	onLoss    func(time.Duration)
}

// rarely returns rare, and makes it on first use. The caller holds mu.
func (l *Lease) rarely() *rare {
	if l.rare == nil {
		l.rare = &rare{}
	}
	return l.rare
}

// watcher is one of the trackers that wait for a lease's release.
type watcher struct {
	tracker *tracker
	next    *watcher
}

// watch makes a tracker wait for the release.
func (l *Lease) watch(t *tracker) { l.watchers = &watcher{t, l.watchers} }

// isWatched reports whether the tracker waits for the release.
func (l *Lease) isWatched(t *tracker) bool {
	for w := l.watchers; w != nil; w = w.next {
		if w.tracker == t {
			return true
		}
	}
	return false
}

// leaseLink links to a lease. Turns write it, and [principal.walkLeases] reads it.
type leaseLink struct{ atomic.Pointer[Lease] }

// ID returns the lease's number, unique in its engine.
func (l *Lease) ID() uint64 {
	if id := l.id.Load(); id != 0 {
		return id
	}
	l.id.CompareAndSwap(0, l.p.engine.leaseIDs.Add(1))
	return l.id.Load()
}

// Decision returns the decision that admitted the operation.
func (l *Lease) Decision() (d policy.Decision) {
	q := policy.Query{Principal: l.req.Principal, Action: l.req.Action, Resource: l.req.Resource, Properties: l.req.Properties}
	l.table.FillDecision(&d, l.verdict, &q)
	d.AttachRecord(l.record, l.since)
	return d
}

// revision returns the revision that admitted it.
func (l *Lease) revision() uint64 { return l.table.Revision() }

// Since returns when the operation was admitted, to the second.
func (l *Lease) Since() time.Time { return time.Unix(0, l.since) }

// Principal returns the principal of the request, at less cost than [Lease.Request].
func (l *Lease) Principal() policy.Principal { return l.req.Principal }

// Request returns the request that was admitted.
func (l *Lease) Request() Request { return l.req }

// Context returns the context of the operation. It has the values and the deadline of the
// context that Admit was called with. It is done when that context is done, when the lease is
// released, when its authority is revoked (error and cause are [ErrRevoked]) or when the
// engine is closed ([ErrClosed]).
func (l *Lease) Context() context.Context { return (*leaseContext)(l) }

// Release ends the operation. The caller promises that no part of it is still running. Release
// may be called from anywhere, including a turn of the same principal. It does not block.
// Further calls do nothing.
func (l *Lease) Release() { l.ReleaseAs("") }

// ReleaseAs is [Lease.Release] for an operation that runs elsewhere. A receipt then says how it
// ended, for example [HowReleased] or [HowExpired].
func (l *Lease) ReleaseAs(how string) {
	if !l.free(how) {
		return
	}
	p := l.p
	if !p.acquire() {
		l.node.message = (*leaseRelease)(l)
		p.tell(&l.node)
		return
	}
	defer p.finish()
	(*leaseRelease)(l).handle(p, moment{})
}

// free marks the lease as released and ends its context. It reports whether this is the first
// call.
func (l *Lease) free(how string) bool {
	l.mu.Lock()
	if l.freed {
		l.mu.Unlock()
		return false
	}
	l.freed = true
	if how != "" {
		l.rarely().endedAs = how
	}
	if l.rare != nil {
		l.rare.onLoss = nil
	}
	var done *doneState
	if l.cause == nil {
		l.cause, done = context.Canceled, l.done
	}
	l.mu.Unlock()
	if done != nil {
		done.finish(context.Canceled)
	}
	return true
}

func (l *Lease) isFreed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.freed
}

// cancel ends the lease's context with a cause. The first cause counts.
func (l *Lease) cancel(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	if cause != context.Canceled {
		l.canceled = true
	}
	done := l.done
	l.mu.Unlock()
	if done != nil {
		done.finish(cause)
	}
}

// AfterRevoke calls f once, on a goroutine of its own, when the lease loses its authority, at
// once if it has lost it already. grace is the time that is left until the lease's context is
// canceled, if no later update shortens it; 0 for none. f is not called after the release. A
// lease has one such function: a second call of AfterRevoke replaces it.
func (l *Lease) AfterRevoke(f func(grace time.Duration)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.freed {
		return
	}
	r := l.rarely()
	if r.lostUntil != 0 {
		go f(time.Duration(max(r.lostUntil-monotonic(), 0)))
		return
	}
	r.onLoss = f
}

// lose notes that the authority is lost, and when the context is canceled. The first call tells
// the function of AfterRevoke.
func (l *Lease) lose(now, until int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rarely()
	first := r.lostUntil == 0
	if r.lostUntil = until; first && r.onLoss != nil {
		go r.onLoss(time.Duration(until - now))
	}
}

// leaseRelease is the message that removes a lease from its principal.
type leaseRelease Lease

func (*leaseRelease) drop() {}

func (r *leaseRelease) handle(p *principal, _ moment) {
	l := (*Lease)(r)
	p.release(l)
	for w := l.watchers; w != nil; w = w.next {
		w.tracker.released(l)
	}
	l.watchers = nil
	p.engine.observeRelease(l)
}

// leaseContext is a lease as the context of its operation.
type leaseContext Lease

type leaseKey struct{}

// Deadline implements [context.Context].
func (c *leaseContext) Deadline() (time.Time, bool) { return c.parent.Deadline() }

// Value implements [context.Context].
func (c *leaseContext) Value(key any) any {
	switch key.(type) {
	case leaseKey:
		return (*Lease)(c)
	case revisionKey:
		return (*Lease)(c).revision()
	}
	if key == causeKey && c.hasOwnCause() {
		return nil
	}
	return c.parent.Value(key)
}

// hasOwnCause reports whether the engine canceled the lease, and not its parent.
func (c *leaseContext) hasOwnCause() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause == ErrRevoked || c.cause == ErrClosed
}

// causeKey is the key by which context.Cause finds a context that knows its cause. For a lease
// that the engine canceled, that must not be its parent.
var causeKey = askedFor()

func askedFor() any {
	p := &probe{Context: context.Background()}
	_ = context.Cause(p)
	return p.key
}

type probe struct {
	context.Context
	key any
}

func (p *probe) Err() error { return context.Canceled }

func (p *probe) Value(key any) any { p.key = key; return nil }

// Err implements [context.Context].
func (c *leaseContext) Err() error {
	l := (*Lease)(c)
	l.mu.Lock()
	cause, done := l.cause, l.done
	l.mu.Unlock()
	if cause != nil {
		if done != nil {
			<-done.ch // cancel is about to close it
		}
		return cause
	}
	if err := c.parent.Err(); err != nil {
		l.cancel(err)
		return c.Err()
	}
	return nil
}

// Done implements [context.Context].
func (c *leaseContext) Done() <-chan struct{} { return (*Lease)(c).state().ch }

// AfterFunc spares derived contexts a goroutine.
func (c *leaseContext) AfterFunc(f func()) (stop func() bool) { return (*Lease)(c).AfterFunc(f) }

// AfterFunc calls f on a goroutine of its own when the lease's context is done, at once if it
// is done already. stop prevents the call, and reports whether it did. AfterFunc costs less
// than [context.AfterFunc].
func (l *Lease) AfterFunc(f func()) (stop func() bool) { return l.state().afterFunc(f) }

// state returns the channel, and makes it on first use.
func (l *Lease) state() *doneState {
	l.mu.Lock()
	s, cause := l.done, l.cause
	fresh := s == nil
	if fresh {
		s = &doneState{ch: make(chan struct{})}
		l.done = s
	}
	l.mu.Unlock()
	switch {
	case !fresh:
	case cause != nil:
		s.finish(cause)
	default:
		l.follow(s)
	}
	return s
}

// follow cancels the lease's context when its parent is done, until the lease ends.
func (l *Lease) follow(s *doneState) {
	if l.parent.Done() == nil {
		return
	}
	stop := context.AfterFunc(l.parent, func() { l.cancel(l.parent.Err()) })
	s.mu.Lock()
	s.stop = stop
	over := s.closed
	s.mu.Unlock()
	if over {
		stop()
	}
}

// LeaseInfo describes an operation in flight, or one that ended.
type LeaseInfo struct {
	ID        uint64
	Principal policy.Principal
	Action    string
	Resource  string
	// Revision is that of the decision that admitted it.
	Revision uint64
	// Since is when it was admitted, to the second.
	Since time.Time
	// Revoked is the revision that revoked its authority, 0 if none did.
	Revoked uint64
	// Credential is the SHA-256 fingerprint of the certificate, empty without one.
	Credential string
}

// info describes the lease. The turn is the caller's.
func (l *Lease) info() LeaseInfo {
	i := l.description()
	i.Revoked = l.revokedAt.Load()
	return i
}

// description is info without what turns change.
func (l *Lease) description() LeaseInfo {
	i := LeaseInfo{
		ID: l.ID(), Principal: l.req.Principal, Action: l.req.Action, Resource: l.req.Resource,
		Revision: l.revision(), Since: l.Since(),
	}
	if l.req.Credential != nil {
		i.Credential = l.req.Credential.Fingerprint()
	}
	return i
}
