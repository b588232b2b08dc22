package demo

import (
	"net/http"
	"sync"
)

// store is form (b), the usual fix: an RWMutex makes each read of the permissions
// consistent, but the request continues with the values that it read.
type store struct {
	mu      sync.RWMutex
	allowed map[string]bool
}

func newStore() *store { return &store{allowed: map[string]bool{}} }

func (s *store) set(allowed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed[callerID] = allowed
	return nil
}

func (s *store) check(r *http.Request) bool {
	principal := principalOf(r)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.allowed[principal]
}

func (s *store) protect(next http.HandlerFunc) http.Handler { return behind(s.check, next) }

func (s *store) close() error { return nil }
