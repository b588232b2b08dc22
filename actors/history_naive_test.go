package actors_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/interlock-authz/interlock/actors/historytest"
)

// lookThenAct is the usual remedy: permissions in a store behind an RWMutex, read once
// for each request, acted upon after.
type lookThenAct struct {
	mu       sync.RWMutex
	w        world
	revision uint64
}

func (s *lookThenAct) look(p, action int) (bool, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.w.allowed(p)[action], s.revision
}

func (s *lookThenAct) execute(p, action int, begin, end func()) (bool, uint64) {
	allowed, revision := s.look(p, action)
	if allowed {
		runtime.Gosched()
		begin()
		end()
	}
	return allowed, revision
}

func (s *lookThenAct) admit(p, action int) (func(func()), uint64) {
	allowed, revision := s.look(p, action)
	if !allowed {
		return nil, revision
	}
	return func(end func()) { end() }, revision
}

func (s *lookThenAct) grant(p, role int, held bool) uint64 {
	return s.change(func() { s.w.held[p][role] = held })
}

func (s *lookThenAct) put(allows bool) uint64 { return s.change(func() { s.w.shared = allows }) }

func (s *lookThenAct) change(f func()) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	s.revision++
	return s.revision
}

// heldLock keeps the read lock over check and use in Execute, so that G1 holds there; its
// admitted operations run on outside, and a revocation does not wait for them.
type heldLock struct{ lookThenAct }

func (s *heldLock) execute(p, action int, begin, end func()) (bool, uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.w.allowed(p)[action] {
		begin()
		end()
		return true, s.revision
	}
	return false, s.revision
}

// staleCache decides by what it saw the last time for a while: what it answers after an
// acknowledgment can be older than that.
type staleCache struct {
	heldLock
	cached map[[2]int]cachedDecision
}

type cachedDecision struct {
	allowed  bool
	revision uint64
	uses     int
}

func (s *staleCache) execute(p, action int, begin, end func()) (bool, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]int{p, action}
	c, ok := s.cached[key]
	if !ok || c.uses > 3 {
		c = cachedDecision{allowed: s.w.allowed(p)[action], revision: s.revision}
	}
	c.uses++
	s.cached[key] = c
	if c.allowed {
		begin()
		end()
	}
	return c.allowed, c.revision
}

// TestCheckerCatchesNaiveDesigns proves the checker: each of these breaks a promise that
// the engine keeps, and has to be caught within 100 histories.
func TestCheckerCatchesNaiveDesigns(t *testing.T) {
	naive := func() lookThenAct {
		return lookThenAct{w: world{held: make([][3]bool, historyPrincipals)}}
	}
	designs := map[string]func() subject{
		"look up under an RWMutex, act after it": func() subject { s := naive(); return &s },
		"revoke without waiting":                 func() subject { return &heldLock{naive()} },
		"a cache of decisions": func() subject {
			return &staleCache{heldLock{naive()}, map[[2]int]cachedDecision{}}
		},
	}
	for name, design := range designs {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(100) {
				h := record(design(), seed)
				if result := porcupine.CheckOperations(historytest.Model, h.Operations()); !result || h.MonotonicErr() != nil {
					t.Logf("caught in history %d", seed+1)
					return
				}
			}
			t.Fatal("100 histories of a design that is known to be wrong were all found legal")
		})
	}
}
