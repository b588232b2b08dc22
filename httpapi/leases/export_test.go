package leases

import "github.com/interlock-authz/interlock/actors"

// ForgetIDs makes the server forget which IDs have ended.
func (s *Server) ForgetIDs() {
	s.holders.Range(func(_, value any) bool {
		h := value.(*holder)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.past, h.count = nil, 0
		return true
	})
}

// ReleaseAdmissions releases the leases of the engine, and keeps the remote ones.
func (s *Server) ReleaseAdmissions() {
	s.byID.Range(func(_, value any) bool {
		l := value.(*lease)
		l.mu.Lock()
		a := l.admitted
		l.mu.Unlock()
		a.release(actors.HowReleased)
		return true
	})
}
