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
// owner of the turn has taken and not run, and abandoned ones.
type requestLane struct {
	top   atomic.Pointer[call]
	count atomic.Int32
}

// push returns false if the lane has most requests. It reserves a place before it pushes.
func (l *requestLane) push(c *call, most int32) bool {
	if l.count.Add(1) > most {
		l.count.Add(-1)
		return false
	}
	for {
		c.next = l.top.Load()
		if l.top.CompareAndSwap(c.next, c) {
			return true
		}
	}
}

func (l *requestLane) empty() bool { return l.top.Load() == nil }

func (l *requestLane) take() *call {
	var first *call
	for c := l.top.Swap(nil); c != nil; {
		c.next, first, c = first, c, c.next
	}
	return first
}
