package observe

import (
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// leases counts leases by the time at which they were admitted, which the engine tells to the
// second. So the oldest one is found without visiting leases or principals. It takes no lock.
type leases struct {
	newest             atomic.Pointer[second]
	finished, canceled Histogram
	pushes             atomic.Uint32 // since the last pruning
}

// second counts the leases in flight that were admitted at one time. The seconds of a stripe are
// linked, newest first.
type second struct {
	at    int64
	n     atomic.Int64
	older atomic.Pointer[second]
}

const (
	// pruneAfter is the number of new seconds after which those without leases are unlinked.
	pruneAfter = 64
	// settled is the age after which no caller that has found a second as the newest can still be
	// about to count its lease there.
	settled = int64(time.Minute)
)

// begin counts a lease and returns its second.
func (l *leases) begin(at int64) *second {
	for {
		s := l.newest.Load()
		if s != nil && s.at >= at {
			s.n.Add(1)
			return s
		}
		next := &second{at: at}
		next.n.Store(1)
		next.older.Store(s)
		if l.newest.CompareAndSwap(s, next) {
			l.prune(at)
			return next
		}
	}
}

// end counts the end of a lease that began in a second.
func (l *leases) end(began *second, after time.Duration, how string) {
	began.n.Add(-1)
	if how == actors.HowCanceled {
		l.canceled.Add(after)
	} else {
		l.finished.Add(after)
	}
}

// prune unlinks the seconds without leases, now and then. Only the caller that sets pushes to 0
// changes links.
func (l *leases) prune(now int64) {
	if l.pushes.Add(1) != pruneAfter {
		return
	}
	for s := l.newest.Load(); s != nil; {
		older := s.older.Load()
		for older != nil && older.n.Load() == 0 && older.at < now-settled {
			older = older.older.Load()
		}
		s.older.Store(older)
		s = older
	}
	l.pushes.Store(0)
}

// running returns the number of leases, and when the oldest was admitted, 0 if there is none.
func (l *leases) running() (n, oldest int64) {
	for s := l.newest.Load(); s != nil; s = s.older.Load() {
		if here := s.n.Load(); here > 0 {
			n += here
			oldest = s.at
		}
	}
	return n, oldest
}
