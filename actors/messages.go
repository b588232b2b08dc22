package actors

import (
	"time"
)

// perform carries out the effects of a turn. It cancels revoked leases after the grace, and
// tells the tracker of an update which leases it has to wait for.
func (p *principal) perform(fx *effects, grace time.Duration, t *tracker) {
	if t != nil {
		for _, l := range fx.running {
			if n := len(l.watchers); n == 0 || l.watchers[n-1] != t {
				l.watchers = append(l.watchers, t)
				t.runs(l)
			}
		}
	}
	if len(fx.running) == 0 {
		return
	}
	now := time.Now()
	var last time.Time
	for _, l := range fx.running {
		fresh := l.cancelAt.IsZero()
		if t == nil && !fresh {
			continue // expiry does not shorten the grace of an update
		}
		if end := graceEnd(l, now, grace); fresh || end.Before(l.cancelAt) {
			l.cancelAt, last = end, end
		}
		if !l.cancelAt.After(now) {
			l.cancel(ErrRevoked)
		}
	}
	if last.After(now) {
		time.AfterFunc(last.Sub(now), func() { p.tell(&node{message: graceOver{}}) })
	}
}

// graceOver cancels the leases whose grace has ended.
type graceOver struct{}

func (graceOver) drop() {}

func (graceOver) handle(p *principal, _ moment) {
	now := time.Now()
	for l := p.leases; l != nil; l = l.older {
		if l.revokedAt != 0 && !l.cancelAt.After(now) {
			l.cancel(ErrRevoked)
		}
	}
}

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
	defer func() { p.view.Store(p.held) }()
	p.perform(p.apply(&at, &change{}), 0, nil)
}

// deliveredChange is the message by which an update reaches a principal that it concerns.
type deliveredChange struct {
	acknowledgement
	change change
	grace  time.Duration
}

func (d *deliveredChange) drop() { d.acknowledge() }

func (d *deliveredChange) handle(p *principal, at moment) {
	defer d.acknowledge()
	applied := false
	defer func() {
		if !applied {
			p.fault(recover())
			p.perform(p.unreleased(), 0, d.tracker)
		}
	}()
	p.perform(p.apply(&at, &d.change), d.grace, d.tracker)
	p.view.Store(p.held)
	p.appliedTo.Store(max(d.change.revision, p.appliedTo.Load()))
	applied = true
}

// unreleased returns all leases as revoked ones, for a principal whose turn failed.
func (p *principal) unreleased() *effects {
	fx := &effects{}
	for l := p.leases; l != nil; l = l.older {
		fx.running = append(fx.running, l)
	}
	return fx
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
