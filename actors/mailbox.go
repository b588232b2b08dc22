package actors

import (
	"sync/atomic"
	"time"
)

// mailbox decides which goroutine runs a principal's next turn. It holds two lanes: control
// messages, which are never refused, and requests.
//
// # States
//
// The state is a set of flags, none of which is set when the mailbox is idle, and a count of
// turns above them. All transitions are compare-and-swaps of the one word:
//
//	from                event                          to                  then
//	idle                a poster acquires              running             the poster runs its turn
//	idle                a request is queued            scheduled           an errand goroutine starts
//	scheduled           a poster acquires              running+scheduled   the poster runs its turn
//	scheduled           the errand arrives             running             the errand runs the oldest request
//	running             the turn ends, lanes empty     idle
//	running             the turn ends, requests wait   scheduled           an errand goroutine starts
//	running             the turn ends, one starves     running+starving    another goroutine owns the turn
//	                                                                       and drains the queue
//	running             an errand ends its turn        scheduled           the errand continues
//	running+scheduled   the turn ends                  scheduled           the errand is on its way
//	running+scheduled   the errand finds a long turn   running             the end of the turn starts another
//	running+scheduled   a request starves              running+starving    the errand leaves
//	running+starving    the turn ends                  running+starving    another goroutine owns the turn
//	                                                                       and drains the queue
//	running+starving    the queue is empty             running             and the turn ends
//	running             the principal leaves           running+closed      final
//
// # Invariants
//
//  1. The goroutine that sets running owns the turn. Only the owner uses taken, backlog and the state
//     of the principal, and only the owner clears running, in [mailbox.end].
//  2. A queued request always has a goroutine to run it: the owner of the turn, or an errand
//     that the flag scheduled stands for. A poster pushes before it looks at the state, and
//     end looks at the lanes after it clears running, so one of them sees the other.
//  3. The same holds for control messages and the owner. A poster that finds no owner gives
//     the mailbox to the control pool.
//  4. A poster that acquires an idle mailbox can overtake a queued request for at most
//     overtakeLimit. Then the queue is drained before any other poster gets a turn.
type mailbox struct {
	state    atomic.Uint32
	spins    atomic.Uint32
	control  controlLane
	taken    *node // taken from the control lane and not handled; the owner's
	requests requestLane
	backlog  *call        // taken from the request lane; the owner's
	waiting  atomic.Int64 // when the oldest request was queued, on the monotonic clock; 0 for none
}

const (
	running   uint32 = 1 << iota // a goroutine owns the turn
	scheduled                    // an errand goroutine is on its way
	starving                     // queued requests go before new posters
	closed                       // final: the mailbox has left the directory

	flags   = running | scheduled | starving | closed
	oneTurn = flags + 1
)

const (
	// overtakeLimit bounds how long posters can overtake a queued request. sync.Mutex has
	// the same limit.
	overtakeLimit = int64(time.Millisecond)
	// A poster tries to acquire a busy mailbox a few times before it queues. The number
	// adapts to the result.
	leastSpins, mostSpins = 4, 24
	// backOff is how long an errand waits while others keep the mailbox busy with short
	// turns. A queued request costs a switch of goroutines, so running many at once is
	// cheaper than one now and then.
	backOff = 20 * time.Microsecond
	// A mailbox is busy when more than fewTurns went by between two looks of an errand.
	fewTurns = 3
	// spinSteps and pauseSteps are the pauses between two looks at the state, of a poster
	// that spins and of an errand.
	spinSteps, pauseSteps = 60, 600
)

var processStart = time.Now()

// monotonic returns nanoseconds on the monotonic clock, never 0.
func monotonic() int64 { return int64(time.Since(processStart)) + 1 }

// acquire takes the turn if the mailbox is idle or scheduled.
func (m *mailbox) acquire() bool {
	s := m.state.Load()
	return s&(running|starving|closed) == 0 && m.state.CompareAndSwap(s, s|running)
}

// spin tries to acquire for a short while. It tries less often where turns are long.
func (m *mailbox) spin() bool {
	tries := m.spins.Load()
	for i := uint32(0); i < tries; i++ {
		s := m.state.Load()
		if s&(starving|closed) != 0 {
			return false
		}
		if s&running == 0 && m.state.CompareAndSwap(s, s|running) {
			if tries < mostSpins {
				m.spins.Store(min(tries*2, mostSpins))
			}
			return true
		}
		_ = pause(spinSteps)
	}
	if tries > leastSpins {
		m.spins.Store(max(tries*7/8, leastSpins))
	}
	return false
}

// pause takes a nanosecond or two per step, without touching shared memory.
//
//go:noinline
func pause(steps int) (x uint64) {
	x = 1
	for range steps {
		x = x*6364136223846793005 + 1442695040888963407
	}
	return x
}

// acquireControl takes the turn for control messages, which also go before starving
// requests. It fails if a goroutine owns the turn: that one handles them.
func (m *mailbox) acquireControl() bool {
	for {
		s := m.state.Load()
		if s&(running|closed) != 0 {
			return false
		}
		if m.state.CompareAndSwap(s, s|running) {
			return true
		}
	}
}

// ending is what the owner has to do after [mailbox.end].
type ending int

const (
	turnEnded   ending = iota // nothing: the turn is over
	startErrand               // start an errand goroutine: the turn is over
	keepErrand                // continue the errand: the turn is over
	ownsControl               // handle the control messages and end again: the turn goes on
	ownsQueue                 // let another goroutine drain the queue: the turn goes on
)

// end is the only way to end a turn. e is the errand that owns the turn; nil if a poster or
// the control pool does.
func (m *mailbox) end(e *errand) ending {
	for {
		if m.taken != nil || !m.control.empty() {
			return ownsControl
		}
		s := m.state.Load()
		if s&starving != 0 {
			return ownsQueue
		}
		next, result := (s+oneTurn)&^running, turnEnded
		if s&scheduled == 0 && m.queued() {
			if m.starves() {
				m.state.CompareAndSwap(s, s|starving)
				continue
			}
			next |= scheduled
			if result = startErrand; e != nil {
				result = keepErrand
				e.seen = next | running
			}
		}
		if !m.state.CompareAndSwap(s, next) {
			continue
		}
		if result != turnEnded {
			return result
		}
		// Invariants 2 and 3: what was posted before the swap was left to this owner.
		switch {
		case !m.control.empty() && m.acquire():
			return ownsControl
		case s&scheduled == 0 && !m.requests.empty() && m.schedule():
			return startErrand
		}
		return turnEnded
	}
}

// queued reports whether a request waits. The turn is the caller's.
func (m *mailbox) queued() bool { return m.backlog != nil || !m.requests.empty() }

// schedule sets scheduled. If it returns true, the caller starts an errand. Otherwise the
// owner of the turn or another errand runs what is queued, or the mailbox is closed.
func (m *mailbox) schedule() bool {
	for {
		s := m.state.Load()
		if s&(running|scheduled|closed) != 0 {
			return false
		}
		if m.state.CompareAndSwap(s, s|scheduled) {
			return true
		}
	}
}

// errand is a goroutine that runs queued requests, one a turn. seen is the state when it
// last looked, with the flag running set; 0 if it has not looked yet.
type errand struct{ seen uint32 }

// arrive takes the turn for an errand. It returns false if the errand is over: the owner of
// a long turn starts another one when the turn ends, and an owner that finds a starving
// request drains the queue.
func (m *mailbox) arrive(e *errand) bool {
	for {
		s := m.state.Load()
		first := e.seen == 0
		busy := !first && (s/oneTurn-e.seen/oneTurn)&(^flags/oneTurn) > fewTurns
		starves := busy && m.starves()
		e.seen = s&^flags | running
		switch {
		case starves && s&running != 0:
			if m.state.CompareAndSwap(s, (s|starving)&^scheduled) {
				return false
			}
		case s&running == 0 && (!busy || starves):
			next := (s | running) &^ scheduled
			if starves {
				next |= starving
			}
			if m.state.CompareAndSwap(s, next) {
				return true
			}
		case busy:
			time.Sleep(backOff)
		case first:
			_ = pause(pauseSteps)
		default:
			if m.state.CompareAndSwap(s, s&^scheduled) {
				return false
			}
		}
	}
}

func (m *mailbox) starves() bool {
	since := m.waiting.Load()
	return since != 0 && monotonic()-since > overtakeLimit
}

// drained clears starving. The turn is the caller's.
func (m *mailbox) drained() {
	for {
		s := m.state.Load()
		if m.state.CompareAndSwap(s, s&^starving) {
			return
		}
	}
}

// close makes the mailbox final. The turn is the caller's.
func (m *mailbox) close() { m.state.Store(running | closed) }

// isRunning reports whether a goroutine owns a turn.
func (m *mailbox) isRunning() bool { return m.state.Load()&running != 0 }

func (m *mailbox) isClosed() bool { return m.state.Load()&closed != 0 }

// next takes the oldest request from the queue, nil if there is none. The turn is the
// caller's. The request may be abandoned: see [call.take].
func (m *mailbox) next() *call {
	if m.backlog == nil {
		m.backlog = m.requests.take()
	}
	c := m.backlog
	if c != nil {
		m.backlog, c.next = c.next, nil
	}
	if m.backlog != nil {
		m.waiting.Store(m.backlog.since)
		return c
	}
	m.waiting.Store(0)
	if !m.requests.empty() { // a poster that set waiting before may have been overwritten
		m.waiting.CompareAndSwap(0, monotonic())
	}
	return c
}
