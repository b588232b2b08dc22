package leases

import (
	"sync"
	"time"

	"github.com/interlock-authz/interlock/httpapi/client"
)

// session is a process of a client: its leases, and its event stream. The mutex of its holder
// guards it.
type session struct {
	holder *holder
	name   string
	leases map[id]*lease
	stream *stream // nil for none
}

// tell tells the session's stream that a lease was revoked or has expired.
func (s *session) tell(l *lease) {
	s.holder.mu.Lock()
	stream := s.stream
	s.holder.mu.Unlock()
	if stream != nil {
		stream.add(l)
	}
}

// open makes a stream the session's, and ends the one before. It returns the leases of the
// session. The caller holds the holder's mutex.
func (s *session) open(st *stream) []*lease {
	if s.stream != nil {
		close(s.stream.replaced)
	}
	s.stream = st
	all := make([]*lease, 0, len(s.leases))
	for _, l := range s.leases {
		all = append(all, l)
	}
	return all
}

// shut removes a stream that has ended.
func (s *session) shut(st *stream) {
	s.holder.mu.Lock()
	defer s.holder.mu.Unlock()
	if s.stream == st {
		s.stream = nil
		s.holder.leaveSession(s)
	}
}

// stream is what a session's event stream has to send. It holds the leases that have changed, and
// not their changes, so a client that does not read costs at most an entry for each of its
// leases.
type stream struct {
	wake     chan struct{} // of capacity 1
	replaced chan struct{} // closed when another stream took its place

	mu      sync.Mutex
	changed []*lease
	waits   map[id]bool
}

func newStream() *stream {
	return &stream{wake: make(chan struct{}, 1), replaced: make(chan struct{}), waits: map[id]bool{}}
}

func (s *stream) add(l *lease) {
	s.mu.Lock()
	if !s.waits[l.id] {
		s.waits[l.id] = true
		s.changed = append(s.changed, l)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns the leases that have changed.
func (s *stream) take() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed
	s.changed = nil
	clear(s.waits)
	return changed
}

// event describes a lease as it is now. It returns false for one that is being acquired.
func (l *lease) event() (client.LeaseEvent, bool) {
	s, _, grace := l.look()
	e := client.LeaseEvent{Lease: l.id.String()}
	switch s {
	case live:
		e.State = client.LeaseLive
	case revoked:
		e.State, e.Grace = client.LeaseRevoked, seconds(grace)
	case ended:
		e.State = client.LeaseEnded
	default:
		return e, false
	}
	return e, true
}

// seconds rounds down: a client must not wait longer than the server does.
func seconds(d time.Duration) float64 { return d.Truncate(time.Millisecond).Seconds() }
