package actors

import (
	"time"
)

// The state of a mailbox: flags, of which none is set when it is idle, and above them a
// count of turns, by which others see that turns go by.
const (
	running   uint32 = 1 << iota // somebody owns the turn
	scheduled                    // a goroutine is on its way to run what is queued
	starving                     // what is queued goes before new posters
	closed                       // for good: the mailbox has left the directory

	flags   = running | scheduled | starving | closed
	oneTurn = flags + 1
)

const (
	// overtakeLimit is how long a queued request can be overtaken by posters that find
	// the mailbox idle, as sync.Mutex bounds it.
	overtakeLimit = int64(time.Millisecond)
	// A poster tries for the turn a few times before it queues: how often adapts to what
	// came of it.
	leastSpins, mostSpins = 4, 24
	// backOff is how long a goroutine that was sent to run what is queued leaves the
	// mailbox to others that keep it busy with short turns. A queued request costs a
	// switch of goroutines, so many of them at once are cheaper than one now and then.
	backOff = 20 * time.Microsecond
	// fewTurns may go by without the mailbox being taken for busy.
	fewTurns = 3
	// Between two looks at the state: of a poster that spins, and of a goroutine that was
	// sent to run what is queued.
	spinSteps, pauseSteps = 60, 600
)

var processStart = time.Now()

// monotonic returns nanoseconds on the monotonic clock, never 0.
func monotonic() int64 { return int64(time.Since(processStart)) + 1 }

// acquire takes the turn if the mailbox is idle and owes nobody precedence.
func (p *principal) acquire() bool {
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
		_ = pause(spinSteps)
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

// takeControl takes in all control messages. Each meets a moment that was read after it
// was posted: a revoked certificate is in the set that its message is judged by.
func (p *principal) takeControl(at *moment) {
	for !p.control.empty() {
		n := p.control.take()
		p.engine.now(at)
		for n != nil {
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

// finish ends a turn. Control messages that came meanwhile are taken in; requests that are
// queued go to a goroutine: the caller has run its own and works off nobody else's.
func (p *principal) finish() {
	for {
		if !p.control.empty() {
			p.takeControlNow()
		}
		s := p.state.Load()
		next := (s + oneTurn) &^ running
		errand := false
		switch {
		case s&starving != 0:
			go p.runOwned()
			return
		case p.requests.empty() && p.backlog == nil, s&scheduled != 0:
		default:
			next |= scheduled
			errand = true
		}
		if !p.state.CompareAndSwap(s, next) {
			continue
		}
		if errand {
			go p.work()
		} else if !p.control.empty() || (s&scheduled == 0 && !p.requests.empty()) {
			p.resume()
		}
		return
	}
}

// takeControlNow takes in control messages in a turn whose moment has passed.
func (p *principal) takeControlNow() {
	var at moment
	p.begin(&at)
}

// resume takes care of what came in between the last look of a turn and its end.
func (p *principal) resume() {
	if !p.control.empty() && p.acquire() {
		p.finish()
		return
	}
	p.schedule()
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

// arrive takes the turn at the end of an errand. seen is the state when the errand last
// looked: if turns went by since, others keep the mailbox busy, and the errand backs off;
// when a queued request starves, what is queued is run before anybody else. A long turn is
// left to whoever runs it: who finishes sends another goroutine.
func (p *principal) arrive(seen *uint32) bool {
	for {
		s := p.state.Load()
		busy := *seen != 0 && (s/oneTurn-*seen/oneTurn)&(^flags/oneTurn) > fewTurns
		starves := busy && p.starved()
		waited := *seen != 0
		*seen = s&^flags | running
		switch {
		case starves && s&running != 0:
			if p.state.CompareAndSwap(s, (s|starving)&^scheduled) {
				return false
			}
		case s&running == 0 && (!busy || starves):
			next := (s | running) &^ scheduled
			if starves {
				next |= starving
			}
			if p.state.CompareAndSwap(s, next) {
				return true
			}
		case busy:
			time.Sleep(backOff)
		case !waited:
			_ = pause(pauseSteps)
		default:
			if p.state.CompareAndSwap(s, s&^scheduled) {
				return false
			}
		}
	}
}

func (p *principal) starved() bool {
	since := p.waiting.Load()
	return since != 0 && monotonic()-since > overtakeLimit
}

// pause takes a nanosecond or two for each step, without touching memory that others use.
//
//go:noinline
func pause(steps int) (x uint64) {
	x = 1
	for range steps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// work is an errand's goroutine: it runs queued requests one by one, each in a turn of
// its own between which other posters may come in.
func (p *principal) work() {
	var seen uint32
	for p.arrive(&seen) {
		var at moment
		p.begin(&at)
		c := p.pop()
		if c == nil {
			p.clear(starving)
			p.finish()
			return
		}
		if !p.runCall(c, &at) || !p.goOn(&seen) {
			return
		}
	}
}

// goOn ends the turn of work and keeps its errand if anything is queued still.
func (p *principal) goOn(seen *uint32) bool {
	for {
		s := p.state.Load()
		if s&starving != 0 || (p.backlog == nil && p.requests.empty()) {
			p.finish()
			return false
		}
		next := (s + oneTurn) | scheduled
		*seen = next&^flags | running
		if p.state.CompareAndSwap(s, next&^running) {
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
// go to a goroutine of their own. It is what the pool of the delivery runs. If somebody
// owns the turn, that one takes them in before it ends.
func (p *principal) workControl() {
	for {
		s := p.state.Load()
		if s&(running|closed) != 0 {
			return
		}
		if p.state.CompareAndSwap(s, s|running) {
			break
		}
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
	err := ErrGoexit
	// Reply and hand-over are deferred, which runtime.Goexit runs too.
	defer func() {
		c.answer(err)
		if !on {
			go p.runOwned()
		}
	}()
	switch {
	case c.fn != nil:
		err = p.run(c.ctx, &c.req, c.fn, at, false)
	case c.lease != nil:
		err = p.admitTurn(c.lease, at)
	case c.batch != nil:
		p.decideBatch(c.batch, at)
		err = nil
	default:
		c.decision = p.decideTurn(&c.req, at)
		err = nil
	}
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
	switch s := p.state.Load(); {
	case s&closed != 0:
		p.sweep()
	case s&running == 0:
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
