package canary_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/policy"
)

// TestCanaryFindsNothingUnderLoad runs two canaries on an engine with a log on disk, while clients
// call the engine and administrators change roles, grants and pattern grants. A violation is a
// false alarm, or a bug of the engine. INTERLOCK_SOAK=1 selects the long form of one hour;
// CANARY_SOAK sets another time.
func TestCanaryFindsNothingUnderLoad(t *testing.T) {
	lasts, every := 3*time.Second, 20*time.Millisecond
	if os.Getenv("INTERLOCK_SOAK") == "1" {
		lasts, every = time.Hour, 100*time.Millisecond
	}
	if text := os.Getenv("CANARY_SOAK"); text != "" {
		var err error
		lasts, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	log, err := journal.Open(filepath.Join(t.TempDir(), "store"), journal.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	e := newEngine(t, actors.Options{Log: log})
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	l := newLoad(t, e)
	var running sync.WaitGroup
	defer running.Wait()
	for range 4 {
		running.Go(func() { l.call(ctx) })
	}
	running.Go(func() { l.change(ctx) })

	names := []string{"one", "two"}
	canaries, texts := make([]*canary.Canary, len(names)), make([]*lines, len(names))
	for i, name := range names {
		texts[i] = &lines{}
		canaries[i], err = canary.New(canary.Options{
			Engine: e, Name: name, Interval: every, Logger: slog.New(slog.NewTextHandler(texts[i], nil)),
		})
		require.NoError(t, err)
		running.Go(func() { canaries[i].Run(ctx) })
	}
	running.Wait()
	for i, c := range canaries {
		n := c.Counts()
		t.Logf("canary %s: %d rounds: %d passed, %d failed, %d violated; %d violations, %d SLO misses; mean latency %s, buckets %v",
			names[i], n.Rounds(), n.Passed, n.Failed, n.Violated, n.Violations, n.Misses,
			n.Latency.Sum/time.Duration(max(n.Latency.Count(), 1)), n.Latency.Counts)
		require.NoError(t, c.Violation(), texts[i].String())
		require.Zero(t, n.Failed, texts[i].String())
		require.Greater(t, n.Passed, uint64(10))
	}
	t.Logf("load: %d calls, %d updates, revision %d", l.calls.Load(), l.updates.Load(), e.Revision())
}

// load calls an engine for principals of its own and changes what they may do.
type load struct {
	t              *testing.T
	engine         *actors.Engine
	roles          [2]*policy.Role
	pattern        policy.PrincipalPattern
	calls, updates atomic.Uint64
}

func newLoad(t *testing.T, e *actors.Engine) *load {
	l := &load{t: t, engine: e}
	for i, resources := range []string{"orders/**", "orders/1"} {
		r, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"orders:*"}, Resources: []string{resources}}}}.Role("writer")
		require.NoError(t, err)
		l.roles[i] = r
	}
	var err error
	l.pattern, err = policy.ParsePrincipalPattern("user:*")
	require.NoError(t, err)
	update(t, e, policy.PutRole(l.roles[0], ""))
	return l
}

func someone() policy.Principal { return policy.MustPrincipal(fmt.Sprintf("user:%d", rand.N(32))) }

// call calls the engine in every mode, a thousand times a second or less.
func (l *load) call(ctx context.Context) {
	for ctx.Err() == nil {
		for range 8 {
			l.calls.Add(1)
			req := actors.Request{Principal: someone(), Action: "orders:write", Resource: "orders/2"}
			switch rand.N(3) {
			case 0:
				_ = l.engine.Execute(ctx, req, func(context.Context) error { return nil })
			case 1:
				_, _ = l.engine.Decide(ctx, req)
			default:
				if lease, err := l.engine.Admit(ctx, req); err == nil {
					pass(time.Duration(rand.N(int64(time.Millisecond))))
					lease.Release()
				}
			}
		}
		pass(time.Duration(rand.N(int64(2 * time.Millisecond))))
	}
}

// change changes the policy.
func (l *load) change(ctx context.Context) {
	for ctx.Err() == nil {
		g := policy.Grant{Principal: someone(), Role: "writer"}
		changes := []policy.Change{policy.GrantRole(g)}
		switch rand.N(8) {
		case 0:
			changes = []policy.Change{policy.PutRole(l.roles[rand.N(2)], "")}
		case 1:
			changes = []policy.Change{policy.GrantRole(policy.Grant{Principals: l.pattern, Role: "writer"})}
		case 2:
			changes = []policy.Change{policy.RevokeRole(policy.Grant{Principals: l.pattern, Role: "writer"})}
		case 3, 4, 5:
			changes = []policy.Change{policy.RevokeRole(g)}
		}
		if _, err := l.engine.Update(ctx, actors.Update{Changes: changes}); err != nil && ctx.Err() == nil {
			l.t.Errorf("an update of the load: %v", err)
		}
		l.updates.Add(1)
		pass(time.Duration(rand.N(int64(20 * time.Millisecond))))
	}
}
