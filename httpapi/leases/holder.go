package leases

import (
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// holder is what the server knows of one caller: its leases, its sessions, and the IDs that have
// ended. Its mutex comes before those of its leases.
type holder struct {
	server *Server
	who    policy.Principal

	mu       sync.Mutex
	gone     bool // removed from the server; look it up again
	leases   map[id]*lease
	bytes    int // of the bodies of its leases
	sessions map[string]*session
	past     []generation // oldest first
	count    int          // of the IDs in past
}

// generation is a set of IDs that ended in one period of time.
type generation struct {
	until time.Time // the last may have ended then
	ids   map[id]struct{}
}

// period is how long a generation is filled.
const period = 15 * time.Second

// holderOf returns the holder of a principal, locked.
func (s *Server) holderOf(who policy.Principal) *holder {
	for {
		value, ok := s.holders.Load(who)
		if !ok {
			value, _ = s.holders.LoadOrStore(who, &holder{server: s, who: who, leases: map[id]*lease{}, sessions: map[string]*session{}})
		}
		h := value.(*holder)
		h.mu.Lock()
		if !h.gone {
			return h
		}
		h.mu.Unlock()
	}
}

// remembers reports whether the ID has ended. The caller holds mu.
func (h *holder) remembers(x id) bool {
	for i := range h.past {
		if _, ok := h.past[i].ids[x]; ok {
			return true
		}
	}
	return false
}

// remember remembers that the ID has ended. The caller holds mu.
func (h *holder) remember(x id) {
	now := time.Now()
	h.expireIDs(now)
	if n := len(h.past); n == 0 || h.past[n-1].until.Before(now) {
		h.past = append(h.past, generation{until: now.Add(period), ids: map[id]struct{}{}})
	}
	ids := h.past[len(h.past)-1].ids
	before := len(ids)
	ids[x] = struct{}{}
	h.count += len(ids) - before
}

// expireIDs forgets the IDs that ended more than the longest TTL ago. The caller holds mu.
func (h *holder) expireIDs(now time.Time) {
	for len(h.past) > 0 && h.past[0].until.Add(h.server.maxTTL).Before(now) {
		h.count -= len(h.past[0].ids)
		h.past = h.past[1:]
	}
}

// hasRoomFor reports whether the holder may have another lease of that size. An ID that ends is
// always remembered: each lease has its place among the remembered ones. The caller holds mu.
func (h *holder) hasRoomFor(size int) bool {
	return h.mayRemember() && len(h.leases) < h.server.perHolder && h.bytes+size <= maxBytes
}

// mayRemember reports whether the holder may have another ID that has ended, besides those of its
// leases. The caller holds mu.
func (h *holder) mayRemember() bool {
	h.expireIDs(time.Now())
	return len(h.leases)+h.count < maxRemembered
}

// add adds a lease that is being acquired. The caller holds mu.
func (h *holder) add(l *lease) {
	h.leases[l.id] = l
	h.bytes += l.size
	l.session.leases[l.id] = l
}

// forget removes a lease that has ended, and remembers its ID.
func (h *holder) forget(l *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remember(l.id)
	h.remove(l)
}

// drop removes a lease that the engine did not admit. Its ID may be used again.
func (h *holder) drop(l *lease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(l)
}

func (h *holder) remove(l *lease) {
	if h.leases[l.id] != l {
		return
	}
	delete(h.leases, l.id)
	h.bytes -= l.size
	delete(l.session.leases, l.id)
	h.server.byID.CompareAndDelete(l.id, l)
	h.leaveSession(l.session)
	h.server.left()
}

// join returns the session of that name, nil if the holder, or the server, has too many. The
// caller holds mu.
func (h *holder) join(name string) *session {
	if s := h.sessions[name]; s != nil {
		return s
	}
	if len(h.sessions) >= maxSessions || !h.server.enterSession() {
		return nil
	}
	s := &session{holder: h, name: name, leases: map[id]*lease{}}
	h.sessions[name] = s
	return s
}

// mayIdle reports whether another session may begin without a lease. The caller holds mu.
func (h *holder) mayIdle(name string) bool {
	if h.sessions[name] != nil {
		return true
	}
	idle := 0
	for _, s := range h.sessions {
		if len(s.leases) == 0 {
			idle++
		}
	}
	return idle < maxIdle
}

// leaveSession removes a session without leases and without a stream. The caller holds mu.
func (h *holder) leaveSession(s *session) {
	if len(s.leases) == 0 && s.stream == nil && h.sessions[s.name] == s {
		delete(h.sessions, s.name)
		h.server.leaveSession()
	}
}

// tidy forgets what is over, and the holder itself if nothing is left.
func (h *holder) tidy() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expireIDs(time.Now())
	if len(h.leases) == 0 && len(h.sessions) == 0 && len(h.past) == 0 {
		h.gone = true
		h.server.holders.CompareAndDelete(h.who, h)
	}
}
