package actors

import (
	"math"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// perform deals with leases that have lost their authority: it cancels them after their graces,
// and tells the tracker of an update to wait for them. t is nil if no update took it.
func (p *principal) perform(fx *effects, t *tracker) {
	if fx == nil {
		return
	}
	if t != nil {
		for _, l := range fx.running {
			if !l.isWatched(t) && t.runs(l) {
				l.watch(t)
			}
		}
	}
	if len(fx.canceled) == 0 {
		return
	}
	now := monotonic()
	for _, c := range fx.canceled {
		// The shortest of several graces counts.
		if end := now + int64(c.grace); c.lease.cancelAt == 0 || end < c.lease.cancelAt {
			c.lease.cancelAt = end
			c.lease.lose(now, end)
		}
	}
	p.cancelDue(now)
}

// cancelDue cancels the leases whose grace is over, and sets a timer for the next one.
func (p *principal) cancelDue(now int64) {
	next := int64(math.MaxInt64)
	for l := p.leases.Load(); l != nil; l = l.older.Load() {
		switch {
		case l.cancelAt == 0:
		case l.cancelAt <= now:
			l.cancel(ErrRevoked)
		default:
			next = min(next, l.cancelAt)
		}
	}
	if next < math.MaxInt64 && (p.graceAt <= now || next < p.graceAt) {
		p.graceAt = next
		time.AfterFunc(time.Duration(next-now), func() { p.tell(&node{message: graceOver{}}) })
	}
}

// graceOver says that the grace of a lease may be over.
type graceOver struct{}

func (graceOver) drop() {}

func (graceOver) handle(p *principal, _ moment) { p.cancelDue(monotonic()) }

// watchTime asks the ticker to visit when time will change something, unless an earlier
// visit is due.
func (p *principal) watchTime() {
	due := p.due()
	if due == 0 || (p.dueAt != 0 && p.dueAt <= due) {
		return
	}
	p.dueAt = due
	if p.visits == nil {
		p.visits = &visited{}
		p.visits.p.Store(p)
	}
	p.engine.ticker.watch(p.visits, due)
}

// timeUp is the ticker's message: something may have expired.
type timeUp struct{}

func (timeUp) drop() {}

func (timeUp) handle(p *principal, at moment) {
	p.dueAt = 0
	if at.table.Shape() == p.held.Shape() { // otherwise the turn compiles anew, and asks for a visit
		p.perform(p.expire(&at), nil)
	}
}

// recordChange is the message by which an update gives a principal its record. It is posted
// before the table of its revision is published.
type recordChange struct {
	acknowledgment
	revision *revision
	record   *policy.Record
	// earlier are the published revisions whose sweeps may not have come by. The principal
	// judges by them first, so that it judges in the order of the revisions.
	earlier []*revision
}

func (c *recordChange) drop() { c.acknowledge() }

func (c *recordChange) handle(p *principal, at moment) {
	defer c.acknowledge()
	p.guarded([]*revision{c.revision}, func() {
		for _, r := range c.earlier {
			if r.concerns(p) {
				p.perform(p.applyShared(&at, r), r.tracker)
			}
		}
		p.perform(p.applyRecord(&at, c.revision, c.record), c.revision.tracker)
		p.show(&at, c.revision.table)
	})
}

// sharedChange is the message of a sweep: the revisions that concern a principal which runs
// something, in order.
type sharedChange struct {
	of        *principal
	revisions []*revision
	given     bool
}

func (c *sharedChange) drop() { c.acknowledge() }

func (c *sharedChange) acknowledge() {
	if !c.given {
		c.given = true
		for _, r := range c.revisions {
			r.tracker.turned(c.of)
		}
	}
}

func (c *sharedChange) handle(p *principal, at moment) {
	defer c.acknowledge()
	p.guarded(c.revisions, func() {
		for _, r := range c.revisions {
			p.perform(p.applyShared(&at, r), r.tracker)
		}
	})
}

// guarded runs what handles a message of revisions. If it panics or ends its goroutine, the
// principal is denied, and the revisions wait for all of its leases.
func (p *principal) guarded(revisions []*revision, handle func()) {
	handled := false
	defer func() {
		if handled {
			return
		}
		p.fault(recover())
		fx := &effects{}
		for l := p.leases.Load(); l != nil; l = l.older.Load() {
			fx.running = append(fx.running, l)
		}
		for _, r := range revisions {
			p.perform(fx, r.tracker)
		}
	}()
	handle()
	handled = true
}

// inspect is the message that runs a function in the principal's turn.
type inspect struct {
	look func(p *principal, at moment)
	done func()
}

func (i *inspect) drop() { i.done() }

func (i *inspect) handle(p *principal, at moment) {
	defer i.done()
	i.look(p, at)
}
