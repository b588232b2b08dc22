package actors_test

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
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
				if result := porcupine.CheckOperations(historyModel, h.events); !result || h.monotonicErr() != nil {
					t.Logf("caught in history %d", seed+1)
					return
				}
			}
			t.Fatal("100 histories of a design that is known to be wrong were all found legal")
		})
	}
}

// TestHistoriesInTestdata checks written histories, legal and illegal ones.
// Each line is the event's interval on the logical clock and the event itself.
func TestHistoriesInTestdata(t *testing.T) {
	datadriven.RunTest(t, "testdata/histories/cases.txt", func(t *testing.T, d *datadriven.TestData) string {
		var ops []porcupine.Operation
		for line := range strings.Lines(d.Input) {
			ops = append(ops, parseEvent(t, line))
		}
		if porcupine.CheckOperations(historyModel, ops) {
			return "legal"
		}
		return "illegal"
	})
}

// parseEvent reads lines such as "1 4 begin c0 a1", "5 9 apply r2 a0 a2", "5 9 quiesce r2".
func parseEvent(t *testing.T, line string) porcupine.Operation {
	t.Helper()
	fields := strings.Fields(line)
	var op porcupine.Operation
	_, err := fmt.Sscan(fields[0]+" "+fields[1], &op.Call, &op.Return)
	require.NoError(t, err, line)
	e := event{kind: -1}
	for i, name := range eventNames {
		if name == fields[2] {
			e.kind = eventKind(i)
		}
	}
	require.GreaterOrEqual(t, int(e.kind), 0, line)
	for _, f := range fields[3:] {
		var n int
		_, err := fmt.Sscan(f[1:], &n)
		require.NoError(t, err, line)
		switch f[0] {
		case 'c':
			e.client = n
		case 'r':
			e.revision = uint64(n)
		case 'a':
			e.action, e.allowed[n] = n, true
		}
	}
	op.Input, op.ClientId = e, e.client
	return op
}
