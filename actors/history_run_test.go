package actors_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/policy"
)

// subject is a design that a history is recorded of: the engine, or a naive one.
type subject interface {
	// execute runs begin and end as the use if the principal may do the action; it
	// reports whether it might, and the revision it was decided at.
	execute(p, action int, begin, end func()) (allowed bool, revision uint64)
	// admit is the same in two steps; release is nil if it was denied.
	admit(p, action int) (release func(end func()), revision uint64)
	// grant sets whether the principal holds a role; put sets whether the shared role
	// allows action 2. Each returns its revision when it is acknowledged.
	grant(p, role int, held bool) uint64
	put(allows bool) uint64
}

// world is what the roles mean: role 0 allows actions 0 and 1, role 1 denies action 0,
// role 2 allows action 0 and denies the others; everybody holds the shared role, which
// allows action 2 at times.
type world struct {
	mu     sync.Mutex // serializes updates, so that the recorder knows what each leads to
	held   [][3]bool
	shared bool
}

func (w *world) allowed(p int) (a [historytest.Actions]bool) {
	h := w.held[p]
	a[0] = (h[0] || h[2]) && !h[1]
	a[1] = h[0] && !h[2]
	a[2] = w.shared && !h[2]
	return a
}

const (
	historyPrincipals = 3
	historyOps        = 30
)

// history is a history of a subject.
type history struct{ historytest.History }

// record lets clients work on the subject at random and returns the history.
func record(s subject, seed uint64) *history { return recordOn(s, seed, 1) }

// recordOn does the same for a subject of several engines. Each principal appears once for
// each engine, as p, p+historyPrincipals and so on, because G1 holds for each engine: while
// an update is under way, one engine may decide by it and another may not yet.
func recordOn(s subject, seed uint64, engines int) *history {
	h := &history{}
	w := &world{held: make([][3]bool, historyPrincipals)}
	var clients sync.WaitGroup
	for c := range historytest.Clients {
		rng := rand.New(rand.NewPCG(seed, uint64(c)))
		clients.Go(func() {
			for range historyOps {
				p, a := rng.IntN(historyPrincipals*engines), rng.IntN(historytest.Actions)
				switch n := rng.IntN(10); {
				case n < 4:
					h.recordExecute(s, c, p, a, rng.IntN(3) == 0)
				case n < 8:
					h.recordAdmit(s, c, p, a, rng.IntN(4))
				default:
					h.recordUpdate(s, w, rng, p%historyPrincipals, engines)
				}
			}
		})
	}
	clients.Wait()
	return h
}

func (h *history) recordExecute(s subject, c, p, a int, linger bool) {
	call := h.Now()
	allowed, revision := s.execute(p, a,
		func() { h.Instant(historytest.Event{Kind: historytest.Begin, Principal: p, Client: c, Action: a}) },
		func() {
			if linger {
				runtime.Gosched()
			}
			h.Instant(historytest.Event{Kind: historytest.End, Principal: p, Client: c, Action: a})
		})
	if revision != 0 {
		h.Decision(call, revision)
	}
	if !allowed {
		h.Add(historytest.Event{Kind: historytest.Denied, Principal: p, Client: c, Action: a}, call, h.Now())
	}
}

func (h *history) recordAdmit(s subject, c, p, a, linger int) {
	call := h.Now()
	release, revision := s.admit(p, a)
	ret := h.Now()
	h.Decision(call, revision)
	if release == nil {
		h.Add(historytest.Event{Kind: historytest.Denied, Principal: p, Client: c, Action: a}, call, ret)
		return
	}
	h.Add(historytest.Event{Kind: historytest.Begin, Principal: p, Client: c, Action: a}, call, ret)
	for range linger {
		runtime.Gosched()
	}
	release(func() { h.Instant(historytest.Event{Kind: historytest.End, Principal: p, Client: c, Action: a}) })
}

// recordUpdate changes one principal's grants or the shared role. Updates are serialized
// among each other by the world's lock; whether they are at once is not what is tested.
func (h *history) recordUpdate(s subject, w *world, rng *rand.Rand, p, engines int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	call := h.Now()
	var revision uint64
	concerned := []int{p}
	if rng.IntN(4) == 0 {
		w.shared = !w.shared
		revision = s.put(w.shared)
		concerned = nil
		for q := range historyPrincipals {
			concerned = append(concerned, q)
		}
	} else {
		role := rng.IntN(3)
		w.held[p][role] = !w.held[p][role]
		revision = s.grant(p, role, w.held[p][role])
	}
	ret := h.Now()
	h.Ack(ret, revision)
	for _, q := range concerned {
		for e := range engines {
			copied := q + e*historyPrincipals
			h.Add(historytest.Event{Kind: historytest.Apply, Principal: copied, Revision: revision, Allowed: w.allowed(q)}, call, ret)
			h.Add(historytest.Event{Kind: historytest.Quiesce, Principal: copied, Revision: revision}, call, ret)
		}
	}
}

// engineSubject is the engine, with principals and a shared role of this history alone.
type engineSubject struct {
	t      *testing.T
	engine *actors.Engine
	prefix string
	// request is what a principal asks for when it does an action.
	request func(p, action int) actors.Request
}

func newEngineSubject(t *testing.T, e *actors.Engine, n int) *engineSubject {
	s := &engineSubject{t: t, engine: e, prefix: fmt.Sprintf("h%d", n)}
	s.request = func(p, action int) actors.Request {
		return actors.Request{Principal: s.principal(p), Action: fmt.Sprintf("do:a%d", action), Resource: "thing"}
	}
	changes := []policy.Change{policy.PutRole(s.sharedRole(false), "")}
	for p := range historyPrincipals {
		changes = append(changes, policy.GrantRole(policy.Grant{Principal: s.principal(p), Role: s.prefix + "-shared"}))
	}
	_, err := e.Update(t.Context(), actors.Update{Changes: changes})
	require.NoError(t, err)
	return s
}

func (s *engineSubject) principal(p int) policy.Principal {
	return policy.MustPrincipal(fmt.Sprintf("test:%s-%d", s.prefix, p))
}

func (s *engineSubject) sharedRole(allows bool) *policy.Role {
	if allows {
		return roleOf(s.t, s.prefix+"-shared", permission(policy.Allow, "do:a2", "thing"))
	}
	return roleOf(s.t, s.prefix+"-shared")
}

// execute uses Do, which tells no revision, for every second action.
func (s *engineSubject) execute(p, action int, begin, end func()) (bool, uint64) {
	var revision uint64
	if (p+action)%2 == 0 {
		err := s.engine.Do(context.Background(), s.request(p, action), func() error { begin(); end(); return nil })
		if err == nil {
			return true, 0
		}
		return false, s.deniedAt(err)
	}
	err := s.engine.Execute(context.Background(), s.request(p, action), func(ctx context.Context) error {
		begin()
		revision, _ = actors.RevisionOf(ctx)
		end()
		return nil
	})
	if err == nil {
		return true, revision
	}
	return false, s.deniedAt(err)
}

func (s *engineSubject) deniedAt(err error) uint64 {
	var denied *actors.DeniedError
	if !errors.As(err, &denied) {
		s.t.Errorf("neither allowed nor denied: %v", err)
		return 0
	}
	return denied.Decision.Revision
}

func (s *engineSubject) admit(p, action int) (func(func()), uint64) {
	l, err := s.engine.Admit(context.Background(), s.request(p, action))
	if err != nil {
		return nil, s.deniedAt(err)
	}
	return func(end func()) {
		end()
		l.Release()
	}, l.Decision().Revision
}

var historyRoles = []string{"both", "no-a0", "only-a0"}

func (s *engineSubject) grant(p, role int, held bool) uint64 {
	g := policy.Grant{Principal: s.principal(p), Role: historyRoles[role]}
	if held {
		return s.update(policy.GrantRole(g))
	}
	return s.update(policy.RevokeRole(g))
}

func (s *engineSubject) put(allows bool) uint64 {
	return s.update(policy.PutRole(s.sharedRole(allows), ""))
}

func (s *engineSubject) update(c policy.Change) uint64 {
	r, err := s.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{c}})
	if err != nil {
		s.t.Errorf("update: %v", err)
	}
	return r.Revision
}

func newHistoryEngine(t *testing.T, o actors.Options) *actors.Engine {
	return newEngine(t, o, historyRolesOf(t)...)
}

func historyRolesOf(t *testing.T) []*policy.Role {
	return []*policy.Role{
		roleOf(t, "both", permission(policy.Allow, "do:a0", "thing"), permission(policy.Allow, "do:a1", "**")),
		roleOf(t, "no-a0", permission(policy.Deny, "do:a0", "**")),
		roleOf(t, "only-a0", permission(policy.Allow, "do:*", "*"), permission(policy.Deny, "do:a1", "**"), permission(policy.Deny, "do:a2", "**")),
	}
}

// histories is how many seeds are tried.
func histories() int {
	if actors.Soak() {
		return 10_000
	}
	return 100
}

// TestG1G2G4_Histories records and checks histories of the engine: whatever the clients
// do, uses begin only when allowed, updates wait for what they forbid, and revisions
// never go back.
func TestG1G2G4_Histories(t *testing.T) {
	const each = 50
	for batch := range histories() / each {
		t.Run(fmt.Sprintf("seeds %d-%d", batch*each, (batch+1)*each-1), func(t *testing.T) {
			t.Parallel()
			e := newHistoryEngine(t, actors.Options{})
			for i := range each {
				seed := uint64(batch*each + i)
				h := record(newEngineSubject(t, e, i), seed)
				if !h.Check(t) {
					t.Fatalf("history of seed %d is illegal:\n%s", seed, h.Dump())
				}
				require.NoError(t, h.MonotonicErr(), "seed %d", seed)
			}
		})
	}
}
