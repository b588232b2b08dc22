package actors

import (
	"time"
)

// The states of a mailbox. It is idle when none of them is set.
const (
	running   uint32 = 1 << iota // somebody owns the turn
	scheduled                    // a goroutine is on its way to run what is queued
	starving                     // what is queued goes before new posters
	closed                       // for good: the mailbox has left the directory
)

const (
	// overtakeLimit is how long a queued request can be overtaken by posters that find
	// the mailbox idle, as sync.Mutex bounds it.
	overtakeLimit = int64(time.Millisecond)
	// spins bounds the tries for the turn before a poster queues. A turn takes about
	// 100 ns, so does a hundred tries; a queued request costs a switch of goroutines.
	leastSpins, mostSpins = 8, 512
)

var processStart = time.Now()

// monotonic returns nanoseconds on the monotonic clock, never 0.
func monotonic() int64 { return int64(time.Since(processStart)) + 1 }

// acquire takes the turn if the mailbox is idle and owes nobody precedence.
func (p *principal) acquire() bool {
	if p.state.CompareAndSwap(0, running) {
		return true
	}
	s := p.state.Load()
	return s&(running|starving|closed) == 0 && p.state.CompareAndSwap(s, s|running)
}

// spin tries for the turn for a short while. How often adapts to what came of it before:
// where turns are long it is no use.
func (p *principal) spin() bool {
	tries := p.spins.Load()
	for i := uint32(0); i < tries; i++ {
		s := p.state.Load()
		if s&(starving|closed) != 0 {
			return false
		}
		if s&running == 0 && p.state.CompareAndSwap(s, s|running) {
			if tries < mostSpins {
				p.spins.Store(min(tries*2, mostSpins))
			}
			return true
		}
	}
	if tries > leastSpins {
		p.spins.Store(max(tries*7/8, leastSpins))
	}
	return false
}

// begin starts a turn that the caller owns: it reads the moment first and takes in all
// control messages then, so that what is decided in the turn is up to date with the
// published table it names.
func (p *principal) begin(at *moment) {
	p.engine.now(at)
	if !p.control.empty() {
		p.takeControl(at)
	}
}

func (p *principal) takeControl(at *moment) {
	for !p.control.empty() {
		for n := p.control.take(); n != nil; {
			next := n.next
			n.next = nil
			p.handle(n.message, at)
			n = next
		}
	}
	p.watchTime()
}

// handle takes in one control message. A panic in there is a fault of the engine's own:
// the principal denies from then on, and its leases lose their authority.
func (p *principal) handle(m message, at *moment) {
	defer func() {
		if v := recover(); v != nil {
			p.fault(v)
		}
	}()
	m.handle(p, *at)
}

// finish ends a turn. What is queued goes to a goroutine: the caller has run its own
// message and works off nobody else's.
func (p *principal) finish() {
	for {
		s := p.state.Load()
		switch {
		case s&starving != 0:
			go p.runOwned()
			return
		case p.control.empty() && p.requests.empty() && p.backlog == nil:
			if !p.state.CompareAndSwap(s, s&^running) {
				continue
			}
			if !p.control.empty() || !p.requests.empty() {
				p.schedule()
			}
			return
		case s&scheduled != 0:
			if p.state.CompareAndSwap(s, s&^running) {
				return
			}
		default:
			if p.state.CompareAndSwap(s, (s|scheduled)&^running) {
				go p.work()
				return
			}
		}
	}
}

// claimErrand marks the mailbox as scheduled. False means that nobody needs to be sent:
// who owns the turn, or is on the way, sees what is queued.
func (p *principal) claimErrand() bool {
	for {
		s := p.state.Load()
		if s&(running|scheduled|closed) != 0 {
			if s&closed != 0 {
				p.sweep()
			}
			return false
		}
		if p.state.CompareAndSwap(s, s|scheduled) {
			return true
		}
	}
}

func (p *principal) schedule() {
	if p.claimErrand() {
		go p.work()
	}
}

// arrive takes the turn at the end of an errand. When others keep it for so long that a
// queued request starves, the next to finish hands it over; otherwise it is left to them,
// and whoever finishes sends another goroutine.
func (p *principal) arrive() bool {
	for i := 0; ; i++ {
		s := p.state.Load()
		if s&running == 0 {
			if p.state.CompareAndSwap(s, (s|running)&^scheduled) {
				return true
			}
			continue
		}
		if i < mostSpins {
			continue
		}
		next := s &^ scheduled
		if since := p.waiting.Load(); since != 0 && monotonic()-since > overtakeLimit {
			next |= starving
		}
		if p.state.CompareAndSwap(s, next) {
			return false
		}
	}
}

// work is an errand's goroutine: it runs queued requests one by one, each in a turn of
// its own between which other posters may come in.
func (p *principal) work() {
	for p.arrive() {
		var at moment
		p.begin(&at)
		c := p.pop()
		if c == nil {
			p.finish()
			return
		}
		if !p.runCall(c, &at) {
			return
		}
		if !p.goOn() {
			return
		}
	}
}

// goOn ends the turn of work and keeps its errand if anything is queued still.
func (p *principal) goOn() bool {
	for {
		s := p.state.Load()
		if s&starving != 0 || (p.backlog == nil && p.requests.empty()) {
			p.finish()
			return false
		}
		if p.state.CompareAndSwap(s, (s|scheduled)&^running) {
			return true
		}
	}
}

// runOwned works off what is queued without letting anybody in between: somebody starved.
// It owns the turn already.
func (p *principal) runOwned() {
	for {
		var at moment
		p.begin(&at)
		c := p.pop()
		if c == nil {
			p.clear(starving)
			p.finish()
			return
		}
		if !p.runCall(c, &at) {
			return
		}
	}
}

// workControl takes in control messages only; queued requests, whose functions may block,
// go to a goroutine of their own. It is what the pool of the delivery runs.
func (p *principal) workControl() {
	if !p.arrive() {
		return
	}
	var at moment
	p.begin(&at)
	p.finish()
}

func (p *principal) clear(bits uint32) {
	for {
		s := p.state.Load()
		if p.state.CompareAndSwap(s, s&^bits) {
			return
		}
	}
}

// pop returns the oldest queued request that nobody abandoned, taken, or nil. The turn is
// the caller's.
func (p *principal) pop() *call {
	for {
		if p.backlog == nil {
			p.backlog = p.requests.take()
			if p.backlog == nil {
				p.waiting.Store(0)
				if !p.requests.empty() {
					p.waiting.CompareAndSwap(0, monotonic())
				}
				return nil
			}
		}
		c := p.backlog
		p.backlog = c.next
		c.next = nil
		p.requests.count.Add(-1)
		p.waiting.Store(c.since)
		if c.take() {
			return c
		}
		p.engine.calls.put(c)
	}
}

// runCall runs a queued request in a turn that the caller owns. False means that the
// function ended this goroutine and another one goes on in its place.
func (p *principal) runCall(c *call, at *moment) (on bool) {
	switch {
	case c.fn != nil:
		return p.runQueued(c, at)
	case c.lease != nil:
		c.answer(p.admitTurn(c.lease, at))
	case c.batch != nil:
		p.decideBatch(*c.batch, at)
		c.answer(nil)
	default:
		p.decideSafely(&c.decision, &c.req, at)
		c.answer(nil)
	}
	return true
}

// runQueued runs a queued function. Reply and hand-over stand in a deferred function,
// which runtime.Goexit runs too.
func (p *principal) runQueued(c *call, at *moment) (on bool) {
	err := error(ErrGoexit)
	defer func() {
		c.answer(err)
		if !on {
			go p.runOwned()
		}
	}()
	err = p.run(c.ctx, &c.req, c.fn, at, false)
	return true
}

// post queues a request and waits for its answer. errMoved sends the caller back to the
// directory. Unless it returns an error, the call is answered and belongs to the caller.
func (p *principal) post(c *call) error {
	c.since = monotonic()
	if !p.requests.push(c, p.engine.most) {
		p.engine.calls.put(c)
		return ErrOverloaded
	}
	p.waiting.CompareAndSwap(0, c.since)
	p.schedule()
	return c.wait(c.ctx)
}

// tell posts a control message from outside a turn of this principal; the pool takes it
// in if nobody owns the turn.
func (p *principal) tell(n *node) {
	p.control.push(n)
	if p.claimErrand() {
		p.engine.pool.run(p)
	}
}

// sweep answers what lies in the lanes of a closed mailbox. Any goroutine may do it: what
// each takes is its own.
func (p *principal) sweep() {
	for n := p.control.take(); n != nil; {
		next := n.next
		n.next = nil
		n.drop()
		n = next
	}
	for c := p.requests.take(); c != nil; {
		next := c.next
		c.next = nil
		p.requests.count.Add(-1)
		if c.take() {
			c.answer(errMoved)
		} else {
			p.engine.calls.put(c)
		}
		c = next
	}
}
