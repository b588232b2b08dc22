package actors_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/policy"
)

// A wide history has many principals with few callers each, updates that run at the same time
// (also of one principal), changes of inheritance and of pattern grants, repeated revocations,
// principals that leave memory during updates, and operations that outlast several updates.
// What each update leads to follows from the order of the revisions.

const (
	widePrincipals = 10
	wideOps        = 12
)

// wideWorld is the policy of a wide history. Principals of even numbers hold the shared role
// directly, the others through a role that inherits it at times.
type wideWorld struct {
	held     [widePrincipals][3]bool // the roles of historyRoles
	shared   bool                    // the shared role allows action 2
	inherits bool                    // the heir inherits the shared role
	denied   bool                    // a pattern grant denies action 0 to all
}

func (w *wideWorld) allowed(p int) (a [historytest.Actions]bool) {
	h := w.held[p]
	a[0] = (h[0] || h[2]) && !h[1] && !w.denied
	a[1] = h[0] && !h[2]
	a[2] = w.shared && (p%2 == 0 || w.inherits) && !h[2]
	return a
}

// wideUpdate is an update that was acknowledged.
type wideUpdate struct {
	call, ret int64
	revision  uint64
	concerns  func(w *wideWorld, p int) bool // given the world before
	apply     func(*wideWorld)
}

// wide records a history of engines on one log.
type wide struct {
	*history
	t       testing.TB
	engines []*actors.Engine
	prefix  string

	mu      sync.Mutex
	updates []wideUpdate
}

func newWide(t testing.TB, engines []*actors.Engine, n int) *wide {
	w := &wide{history: &history{}, t: t, engines: engines, prefix: fmt.Sprintf("w%d", n)}
	changes := []policy.Change{
		policy.PutRole(w.role("shared", nil), ""), policy.PutRole(w.role("heir", nil), ""),
		policy.PutRole(w.role("deny", nil, permission(policy.Deny, "do:a0", "**")), ""),
	}
	for p := range widePrincipals {
		role := []string{"shared", "heir"}[p%2]
		changes = append(changes, policy.GrantRole(policy.Grant{Principal: w.principal(p), Role: w.prefix + role}))
	}
	_, err := engines[0].Update(t.Context(), actors.Update{Changes: changes})
	require.NoError(t, err)
	return w
}

func (w *wide) principal(p int) policy.Principal {
	return policy.MustPrincipal(fmt.Sprintf("test:%s/%d", w.prefix, p))
}

func (w *wide) role(name string, inherits []string, permissions ...policy.Permission) *policy.Role {
	r, err := policy.NewRole(w.prefix+name, inherits, permissions)
	require.NoError(w.t, err)
	return r
}

// run lets the clients work at random.
func (w *wide) run(seed uint64) {
	var clients sync.WaitGroup
	for c := range historytest.Clients {
		rng := rand.New(rand.NewPCG(seed, uint64(c)))
		clients.Go(func() {
			for range wideOps {
				e := rng.IntN(len(w.engines))
				s := w.subject(e)
				p, a := rng.IntN(widePrincipals), rng.IntN(historytest.Actions)
				switch n := rng.IntN(20); {
				case n < 5:
					w.use(c, e, p, a, func(c, p, a int) { w.recordExecute(s, c, p, a, rng.IntN(2) == 0) })
				case n < 13:
					w.use(c, e, p, a, func(c, p, a int) { w.recordAdmit(s, c, p, a, rng.IntN(12)) })
				case n < 19:
					w.update(rng, e, p)
				default:
					actors.PassivateAll(w.engines[e])
				}
			}
		})
	}
	clients.Wait()
	w.replay()
}

// use records a use of a principal on one engine as that of a principal of its own.
func (w *wide) use(c, engine, p, a int, record func(c, p, a int)) {
	record(c, p+engine*widePrincipals, a)
}

// subject is one engine of a wide history.
func (w *wide) subject(engine int) subject {
	return &engineSubject{t: w.t.(*testing.T), engine: w.engines[engine], request: func(p, action int) actors.Request {
		return actors.Request{Principal: w.principal(p % widePrincipals), Action: fmt.Sprintf("do:a%d", action), Resource: "thing"}
	}}
}

// update makes one update at random, while others do the same.
func (w *wide) update(rng *rand.Rand, engine, p int) {
	var change policy.Change
	all := func(*wideWorld, int) bool { return true }
	u := wideUpdate{concerns: all}
	on := rng.IntN(2) == 0
	switch rng.IntN(6) {
	case 0:
		role := w.role("shared", nil)
		if on {
			role = w.role("shared", nil, permission(policy.Allow, "do:a2", "thing"))
		}
		change, u.apply = policy.PutRole(role, ""), func(s *wideWorld) { s.shared = on }
		u.concerns = func(s *wideWorld, p int) bool { return p%2 == 0 || s.inherits }
	case 1:
		var inherits []string
		if on {
			inherits = []string{w.prefix + "shared"}
		}
		change, u.apply = policy.PutRole(w.role("heir", inherits), ""), func(s *wideWorld) { s.inherits = on }
		u.concerns = func(_ *wideWorld, p int) bool { return p%2 == 1 }
	case 2:
		pattern, err := policy.ParsePrincipalPattern("test:" + w.prefix + "/*")
		require.NoError(w.t, err)
		g := policy.Grant{Principals: pattern, Role: w.prefix + "deny"}
		change, u.apply = policy.RevokeRole(g), func(s *wideWorld) { s.denied = on }
		if on {
			change = policy.GrantRole(g)
		}
	default:
		role := rng.IntN(3)
		g := policy.Grant{Principal: w.principal(p), Role: historyRoles[role]}
		u.concerns = func(_ *wideWorld, q int) bool { return q == p }
		u.apply = func(s *wideWorld) { s.held[p][role] = on }
		change = policy.RevokeRole(g)
		if on {
			change = policy.GrantRole(g)
		}
	}
	u.call = w.Now()
	r, err := w.engines[engine].Update(context.Background(), actors.Update{Changes: []policy.Change{change}})
	u.ret, u.revision = w.Now(), r.Revision
	if err != nil {
		w.t.Errorf("update: %v", err)
		return
	}
	w.Ack(u.ret, r.Revision)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.updates = append(w.updates, u)
}

// replay turns the updates into events, in the order of their revisions.
func (w *wide) replay() {
	slices.SortFunc(w.updates, func(a, b wideUpdate) int { return int(int64(a.revision) - int64(b.revision)) })
	world := &wideWorld{}
	for _, u := range w.updates {
		before := *world
		u.apply(world)
		for p := range widePrincipals {
			if !u.concerns(&before, p) {
				continue
			}
			for e := range w.engines {
				copied := p + e*widePrincipals
				w.Add(historytest.Event{Kind: historytest.Apply, Principal: copied, Revision: u.revision, Allowed: world.allowed(p)}, u.call, u.ret)
				w.Add(historytest.Event{Kind: historytest.Quiesce, Principal: copied, Revision: u.revision}, u.call, u.ret)
			}
		}
	}
}

// illegal describes what is wrong with the history. It returns "" for a legal one.
func (w *wide) illegal(t *testing.T) string {
	if !w.Check(t) {
		return "it is illegal:\n" + w.Dump()
	}
	if err := w.MonotonicErr(); err != nil {
		return err.Error()
	}
	return ""
}

// wideHistories returns the number of seeds. make test runs 100 with the race detector and
// 1,000 without it.
func wideHistories() int {
	switch {
	case actors.Soak():
		return 10_000
	case actors.WithRaceDetector:
		return 100
	}
	return 1000
}

// TestG1G2G4_WideHistories records and checks wide histories of one engine.
func TestG1G2G4_WideHistories(t *testing.T) {
	const each = 100
	for batch := range wideHistories() / each {
		t.Run(fmt.Sprintf("seeds %d-%d", batch*each, (batch+1)*each-1), func(t *testing.T) {
			t.Parallel()
			e := newHistoryEngine(t, actors.Options{})
			for i := range each {
				w := newWide(t, []*actors.Engine{e}, i)
				w.run(uint64(batch*each + i))
				if why := w.illegal(t); why != "" {
					t.Fatalf("history of seed %d: %s", batch*each+i, why)
				}
			}
		})
	}
}

// TestG1G2G4_WideHistoriesOfTwoEngines does the same for two engines that share a log.
func TestG1G2G4_WideHistoriesOfTwoEngines(t *testing.T) {
	engines := newSharedEngines(t, historyRolesOf(t)...)
	for i := range wideHistories() / 10 {
		w := newWide(t, engines[:], i)
		w.run(uint64(i))
		if why := w.illegal(t); why != "" {
			t.Fatalf("history of seed %d: %s", i, why)
		}
	}
}
