package actors

import (
	"context"

	"github.com/interlock-authz/interlock/actors/policy"
)

// This file runs the turns of a principal around its mailbox. The goroutine that owns a turn
// begins it, serves one request or none, and finishes it.

// begin starts a turn that the caller owns. It reads the moment, empties the control lane, and
// repeats both until the lane is empty after the moment was read. Then it compiles what the
// principal holds if the table has another shape. delivery.go says why.
func (p *principal) begin(at *moment) {
	for {
		p.engine.now(at)
		if p.taken != nil || !p.control.empty() {
			p.handleControl(at)
			continue
		}
		if p.ahead != nil {
			p.useAhead(at)
		}
		if p.held == nil || p.held.Shape() == at.table.Shape() {
			return
		}
		p.compile(at)
	}
}

// useAhead makes the turn use the table of the record while the published one is older.
func (p *principal) useAhead(at *moment) {
	if p.ahead.Revision() > at.table.Revision() {
		at.table = p.ahead
	} else {
		p.ahead = nil
	}
}

// handleControl handles all control messages, with a moment that was read after each was
// posted. If one ends the goroutine, the next turn goes on with those behind it.
func (p *principal) handleControl(at *moment) {
	for {
		if p.taken == nil {
			if p.control.empty() {
				break
			}
			p.taken = p.control.take()
			p.engine.now(at)
		}
		n := p.taken
		p.taken, n.next = n.next, nil
		p.handle(n.message, at)
	}
	p.watchTime()
}

// handle handles one control message. A panic in it is a fault of the engine itself.
func (p *principal) handle(m message, at *moment) {
	defer func() {
		if v := recover(); v != nil {
			p.fault(v)
		}
	}()
	m.handle(p, *at)
}

// finish ends a turn of a poster or of the control pool.
func (p *principal) finish() { p.finishErrand(nil) }

// finishErrand ends a turn. It reports whether the errand e has to continue. The caller has
// run its own request, and leaves queued ones to another goroutine.
func (p *principal) finishErrand(e *errand) (more bool) {
	for {
		switch p.end(e) {
		case turnEnded:
			return false
		case startErrand:
			go p.work()
			return false
		case keepErrand:
			return true
		case ownsControl:
			var at moment
			p.beginErrand(&at)
		case ownsQueue:
			go p.drain()
			return false
		}
	}
}

// beginErrand is begin for a goroutine of the engine. If a control message ends the goroutine,
// another one ends the turn.
func (p *principal) beginErrand(at *moment) {
	begun := false
	defer func() {
		if !begun {
			go p.finish()
		}
	}()
	p.begin(at)
	begun = true
}

// work runs queued requests, one a turn, so that posters can acquire the mailbox in between.
func (p *principal) work() {
	e := &errand{}
	for p.arrive(e) {
		var at moment
		p.beginErrand(&at)
		if c := p.pop(); c == nil {
			p.drained()
		} else if !p.runCall(c, &at) {
			return
		}
		if !p.finishErrand(e) {
			return
		}
	}
}

// drain runs all queued requests without letting posters in between, because one of them
// starved. It owns the turn already.
func (p *principal) drain() {
	for {
		var at moment
		p.beginErrand(&at)
		c := p.pop()
		if c == nil {
			p.drained()
			p.finish()
			return
		}
		if !p.runCall(c, &at) {
			return
		}
	}
}

// workControl handles control messages only. The control pool runs it, so it leaves queued
// requests, whose functions can block, to a goroutine of their own.
func (p *principal) workControl(slow func()) {
	if !p.acquireControl() {
		return
	}
	defer p.finish()
	at := moment{slow: slow}
	p.begin(&at)
}

// pop claims the oldest queued request that was not abandoned, nil if there is none. The turn
// is the caller's.
func (p *principal) pop() *call {
	for {
		c := p.next()
		if c == nil {
			return nil
		}
		taken := c.take()
		p.requests.ran(!taken)
		if taken {
			return c
		}
		p.engine.calls.put(c)
	}
}

// runCall runs a queued request in a turn that the caller owns. It returns false if the
// function ended this goroutine; another one continues in its place.
func (p *principal) runCall(c *call, at *moment) (on bool) {
	err := ErrGoexit
	// Deferred, because runtime.Goexit runs deferred functions too.
	defer func() {
		c.answer(err)
		if !on {
			go p.drain()
		}
	}()
	p.engine.observeWait(&c.req, c.since)
	err = p.serve(c.ctx, &c.req, &c.operation, &c.decision, at)
	return true
}

// queue posts a request and waits for its answer.
func (p *principal) queue(ctx context.Context, req *Request, op *operation, decision *policy.Decision) error {
	c := p.engine.calls.get(ctx, req)
	c.operation = *op
	c.since = monotonic()
	if !p.requests.push(c, p.engine.most) {
		p.engine.calls.put(c)
		return p.engine.observeRefusal(ctx, req, op, ErrOverloaded)
	}
	since := c.since
	p.waiting.CompareAndSwap(0, since)
	p.runQueued()
	if err := c.wait(ctx); err != nil {
		p.engine.observeWait(req, since)
		if p.requests.abandon() {
			p.requests.compact()
			p.runQueued()
		}
		return err
	}
	err := c.err
	if decision != nil {
		*decision = c.decision
	}
	p.engine.calls.put(c)
	return err
}

// runQueued makes sure that a goroutine runs what was pushed to the request lane.
func (p *principal) runQueued() {
	switch {
	case p.schedule():
		go p.work()
	case p.isClosed():
		p.sweep()
	}
}

// tell posts a control message from outside a turn of this principal. The owner of the turn
// handles it, or the control pool if there is none.
func (p *principal) tell(n *node) {
	p.control.push(n)
	switch s := p.state.Load(); {
	case s&closed != 0:
		p.sweep()
	case s&running == 0:
		p.engine.pool.run(p)
	}
}

// sweep answers everything in the lanes of a closed mailbox. Any goroutine may call it.
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
		p.dismiss(c)
		c = next
	}
}

// dismiss answers a request of a closed mailbox, whose poster then looks for the new one.
func (p *principal) dismiss(c *call) {
	taken := c.take()
	p.requests.ran(!taken)
	if taken {
		c.answer(errMoved)
	} else {
		p.engine.calls.put(c)
	}
}
