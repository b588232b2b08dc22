package actors

import "sync/atomic"

// message is a control message. A turn handles it before the next request. A closed mailbox
// drops it, which acknowledges it, because nothing of that principal is running. The moment
// is passed by value so that it stays off the heap.
type message interface {
	handle(p *principal, at moment)
	drop()
}

// node carries a control message through a lane.
type node struct {
	next *node
	message
}

// controlLane is a stack. Any goroutine pushes; the owner of the turn takes everything, in the
// order of the pushes.
type controlLane struct{ top atomic.Pointer[node] }

func (l *controlLane) push(n *node) {
	for {
		n.next = l.top.Load()
		if l.top.CompareAndSwap(n.next, n) {
			return
		}
	}
}

func (l *controlLane) empty() bool { return l.top.Load() == nil }

// take empties the lane and returns its first node, which links to the others.
func (l *controlLane) take() *node {
	var first *node
	for n := l.top.Swap(nil); n != nil; {
		n.next, first, n = first, n, n.next
	}
	return first
}

// requestLane is the same for requests, with a bound. Its count includes requests that the
// owner of the turn has taken and not run. It does not include abandoned ones, which stay
// linked until they are taken or compacted.
type requestLane struct {
	top       atomic.Pointer[call]
	count     atomic.Int32
	abandoned atomic.Int32
}

// push returns false if the lane has most requests. It reserves a place before it pushes.
func (l *requestLane) push(c *call, most int32) bool {
	if l.count.Add(1) > most {
		l.count.Add(-1)
		return false
	}
	l.link(c, c)
	return true
}

// link adds requests that are linked from first to last.
func (l *requestLane) link(first, last *call) {
	for {
		last.next = l.top.Load()
		if l.top.CompareAndSwap(last.next, first) {
			return
		}
	}
}

func (l *requestLane) empty() bool { return l.top.Load() == nil }

// take empties the lane and returns its first request, which links to the others.
func (l *requestLane) take() *call {
	var first *call
	for c := l.top.Swap(nil); c != nil; {
		c.next, first, c = first, c, c.next
	}
	return first
}

// fewAbandoned is how many abandoned requests a lane keeps at most before it is compacted.
const fewAbandoned = 64

// abandon gives back the place of a request that its poster has abandoned. It reports whether
// the lane has to be compacted.
func (l *requestLane) abandon() bool {
	left := l.count.Add(-1)
	return l.abandoned.Add(1) > max(fewAbandoned, left)
}

// compact drops the abandoned requests. Meanwhile others may push, and then come before what
// is left. The caller makes sure that a goroutine runs what is left.
func (l *requestLane) compact() {
	var first, last *call
	for c := l.top.Swap(nil); c != nil; {
		next := c.next
		c.next = nil
		switch {
		case c.isAbandoned():
			l.abandoned.Add(-1)
		case first == nil:
			first, last = c, c
		default:
			last.next, last = c, c
		}
		c = next
	}
	if first != nil {
		l.link(first, last)
	}
}

// ran gives back the place of a request that was taken, unless its poster has done so.
func (l *requestLane) ran(abandoned bool) {
	if abandoned {
		l.abandoned.Add(-1)
	} else {
		l.count.Add(-1)
	}
}
