package canary_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

func TestRoundsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{})
		c, log, stop := start(t, canary.Options{Engine: e})
		began := time.Now()
		pass(20 * interval)
		n := c.Counts()
		require.InDelta(t, 20, n.Passed, 1)
		require.Equal(t, n.Passed, n.Rounds())
		require.Equal(t, n.Passed, n.Latency.Count())
		require.True(t, n.LastSuccess.After(began.Add(18*interval)))
		require.NoError(t, c.Violation())
		require.Empty(t, log.String())
		stop()
		require.Equal(t, 2*n.Passed, e.Revision(), "two revisions for each round")
		require.NoError(t, e.View(t.Context(), func(v policy.View) {
			require.True(t, v.Role(policy.CanaryRole).IsCanary())
			require.Empty(t, v.Record(probe).Grants)
		}))
	})
}

func TestRoundsPassIfTheProbeHasLeftMemoryBetweenThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{IdleAfter: time.Second})
		c, log, _ := start(t, canary.Options{Engine: e, Interval: time.Minute})
		pass(90 * time.Second)
		require.Zero(t, e.Active())
		pass(10 * time.Minute)
		require.GreaterOrEqual(t, c.Counts().Passed, uint64(9))
		require.Empty(t, log.String())
	})
}

func TestTheFirstRoundStartsAfterARandomPartOfTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		delays := map[time.Duration]bool{}
		for range 8 {
			e := newEngine(t, actors.Options{})
			c, _, stop := start(t, canary.Options{Engine: e})
			began := time.Now()
			for c.Counts().Rounds() == 0 {
				require.Less(t, time.Since(began), 2*interval)
				pass(100 * time.Millisecond)
			}
			delays[time.Since(began)] = true
			stop()
		}
		require.Greater(t, len(delays), 2)
	})
}

func TestCanariesOnOneEngineDoNotDisturbEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{Log: newMemory(t)})
		var all []*canary.Canary
		for _, name := range []string{"one", "two", "three"} {
			c, log, _ := start(t, canary.Options{Engine: e, Name: name, Interval: 10 * time.Millisecond})
			defer func() { require.Empty(t, log.String()) }()
			all = append(all, c)
		}
		pass(time.Second)
		for _, c := range all {
			n := c.Counts()
			require.Greater(t, n.Passed, uint64(50))
			require.Equal(t, n.Passed, n.Rounds())
		}
	})
}

// Two canaries with one name take away each other's grants. That is a mistake, and no violation.
func TestCanariesOfOneNameFindNoViolation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{Log: newMemory(t)})
		one, log, _ := start(t, canary.Options{Engine: e, Interval: 3 * time.Millisecond})
		two, _, _ := start(t, canary.Options{Engine: e, Interval: 3 * time.Millisecond})
		pass(2 * time.Second)
		for _, c := range []*canary.Canary{one, two} {
			require.NoError(t, c.Violation())
			require.NotZero(t, c.Counts().Failed)
			require.Zero(t, c.Counts().Violations)
		}
		require.Contains(t, log.String(), "another update has changed what the probe may do")
	})
}

// meddling changes the policy when the canary has granted the role or has revoked it.
type meddling struct {
	*actors.Engine
	afterGrant, afterRevoke func()
}

func (m *meddling) Update(ctx context.Context, u actors.Update) (actors.Receipt, error) {
	r, err := m.Engine.Update(ctx, u)
	if err != nil || u.After == nil {
		return r, err
	}
	after := m.afterGrant
	if u.Changes[0].Op == policy.OpRevoke {
		after = m.afterRevoke
	}
	if after != nil {
		after()
	}
	return r, err
}

func TestUpdatesOfAdministratorsAreNoViolations(t *testing.T) {
	allow, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"**"}, Resources: []string{"**"}}}}.Role("all")
	require.NoError(t, err)
	other, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"x"}, Resources: []string{"**"}}}}.Role(policy.CanaryRole)
	require.NoError(t, err)
	pattern, err := policy.ParsePrincipalPattern(policy.CanaryKind + ":*")
	require.NoError(t, err)
	grant := policy.GrantRole(policy.Grant{Principal: probe, Role: policy.CanaryRole})
	revoke := policy.RevokeRole(policy.Grant{Principal: probe, Role: policy.CanaryRole})
	for name, test := range map[string]struct {
		grant, revoke []policy.Change
		failure       string
	}{
		"the grant is revoked":                 {grant: []policy.Change{revoke}, failure: "another update has changed"},
		"the role loses its permission":        {grant: []policy.Change{policy.PutRole(other, "")}, failure: "another update has changed"},
		"the role is granted again":            {revoke: []policy.Change{grant}, failure: "another update has changed"},
		"another role is granted by a pattern": {revoke: []policy.Change{policy.PutRole(allow, ""), policy.GrantRole(policy.Grant{Principals: pattern, Role: "all"})}, failure: "another update has changed"},
		"another grant stays":                  {grant: []policy.Change{policy.PutRole(allow, ""), policy.GrantRole(policy.Grant{Principals: pattern, Role: "all"})}, failure: "another grant of the policy still allows the probe"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEngine(t, actors.Options{Log: newMemory(t)})
				m := &meddling{Engine: e}
				apply := func(changes []policy.Change) func() {
					if changes == nil {
						return nil
					}
					return func() { update(t, e, changes...) }
				}
				m.afterGrant, m.afterRevoke = apply(test.grant), apply(test.revoke)
				c, log, stop := start(t, canary.Options{Engine: m})
				pass(5 * interval)
				stop()
				require.NoError(t, c.Violation(), log.String())
				require.GreaterOrEqual(t, c.Counts().Failed, uint64(4))
				require.Contains(t, log.String(), test.failure)
			})
		})
	}
}

// Without a history, the canary cannot tell a change by an administrator from a broken engine.
func TestWithoutAHistoryADoubtIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{})
		revoke := policy.RevokeRole(policy.Grant{Principal: probe, Role: policy.CanaryRole})
		c, log, stop := start(t, canary.Options{Engine: &meddling{Engine: e, afterGrant: func() { update(t, e, revoke) }}})
		pass(5 * interval)
		stop()
		require.NoError(t, c.Violation())
		require.GreaterOrEqual(t, c.Counts().Failed, uint64(4))
		require.Contains(t, log.String(), oplog.ErrNoHistory.Error())
	})
}

func TestTheCanaryRestoresItsRole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{})
		other, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{Actions: []string{"x"}, Resources: []string{"**"}}}}.Role(policy.CanaryRole)
		require.NoError(t, err)
		c, log, _ := start(t, canary.Options{Engine: e})
		for _, change := range []policy.Change{policy.DeleteRole(policy.CanaryRole, ""), policy.PutRole(other, "")} {
			pass(2 * interval)
			update(t, e, change)
			pass(2 * interval)
			require.True(t, e.Table().Role(policy.CanaryRole).IsCanary())
		}
		require.Equal(t, c.Counts().Passed, c.Counts().Rounds(), log.String())
	})
}

// slow delays what the log does with the canary's revocations.
type slow struct {
	*actors.Engine
	by time.Duration
}

func (s *slow) Update(ctx context.Context, u actors.Update) (actors.Receipt, error) {
	after := u.After
	u.After = func(tip, next policy.View) error {
		pass(s.by)
		return after(tip, next)
	}
	return s.Engine.Update(ctx, u)
}

func TestASlowRevocationMissesTheSLO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log, stop := start(t, canary.Options{Engine: &slow{newEngine(t, actors.Options{}), 1500 * time.Millisecond}})
		pass(5 * interval)
		stop()
		n := c.Counts()
		require.GreaterOrEqual(t, n.Passed, uint64(4))
		require.Equal(t, n.Passed, n.Misses)
		require.GreaterOrEqual(t, n.Latency.Sum, time.Duration(n.Passed)*1500*time.Millisecond)
		require.Contains(t, log.String(), "the revocation took longer than the SLO")
		require.NoError(t, c.Violation())
	})
}

func TestTimeoutsAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{})
		role := policy.NewCanaryRole()
		update(t, e, policy.PutRole(role, ""), policy.GrantRole(policy.Grant{Principal: probe, Role: role.Name()}))
		lease, err := e.Admit(t.Context(), actors.Request{Principal: probe, Action: policy.CanaryAction, Resource: policy.CanaryKind + "/x"})
		require.NoError(t, err)
		c, log, stop := start(t, canary.Options{Engine: e, Timeout: 5 * time.Second})
		pass(5 * interval)
		n := c.Counts()
		require.GreaterOrEqual(t, n.Failed, uint64(4))
		require.Equal(t, n.Failed, n.Rounds())
		require.Contains(t, log.String(), "not quiesced")
		lease.Release()
		pass(3 * interval)
		require.GreaterOrEqual(t, c.Counts().Passed, uint64(2))
		stop()
		require.NoError(t, c.Violation())
	})
}

func TestASettlingEngineIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, log, _ := start(t, canary.Options{Engine: newEngine(t, actors.Options{QuiesceAfter: time.Minute})})
		pass(time.Minute + 3*interval)
		n := c.Counts()
		require.NotZero(t, n.Failed)
		require.NotZero(t, n.Passed)
		require.NoError(t, c.Violation(), log.String())
	})
}

func TestAFailedLogAndAClosedEngineAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := oplog.NewMemory()
		e := newEngine(t, actors.Options{Log: log})
		c, text, _ := start(t, canary.Options{Engine: e})
		pass(3 * interval)
		require.NoError(t, log.Close())
		pass(3 * interval)
		require.Contains(t, text.String(), oplog.ErrUnavailable.Error())
		require.NoError(t, e.Close(t.Context()))
		pass(3 * interval)
		require.Contains(t, text.String(), actors.ErrClosed.Error())
		require.GreaterOrEqual(t, c.Counts().Failed, uint64(5))
		require.NoError(t, c.Violation())
	})
}

func TestAnOverloadedPrincipalIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{MaxQueued: 1})
		c, log, _ := start(t, canary.Options{Engine: e})
		pass(5 * interval)
		require.NotZero(t, c.Counts().Failed)
		require.Contains(t, log.String(), actors.ErrOverloaded.Error())
		require.NoError(t, c.Violation())
	})
}

func TestRunRevokesTheGrantWhenItIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{})
		granted := make(chan struct{})
		var once sync.Once
		m := &meddling{Engine: e, afterGrant: func() {
			once.Do(func() { close(granted) })
			pass(time.Second)
		}}
		c, log, stop := start(t, canary.Options{Engine: m})
		<-granted
		require.Len(t, recordOf(t, e).Grants, 1)
		stop()
		require.Empty(t, recordOf(t, e).Grants)
		require.Zero(t, c.Counts().Rounds(), "a canceled round has no result")
		require.Empty(t, log.String())
	})
}

func recordOf(t *testing.T, e *actors.Engine) *policy.Record {
	r, err := e.Record(t.Context(), probe)
	require.NoError(t, err)
	return r
}

func TestOptions(t *testing.T) {
	e := newEngine(t, actors.Options{})
	for _, o := range []canary.Options{
		{Interval: time.Second}, {Engine: e}, {Engine: e, Interval: -1}, {Engine: e, Interval: 1, SLO: -1},
		{Engine: e, Interval: 1, Timeout: -1},
	} {
		_, err := canary.New(o)
		require.ErrorIs(t, err, policy.ErrInvalid)
	}
	_, err := canary.New(canary.Options{Engine: e, Interval: 1, Name: "a\nb"})
	require.ErrorIs(t, err, policy.ErrMalformed)
	c, err := canary.New(canary.Options{Engine: e, Interval: time.Hour, Name: strings.Repeat("n", 5)})
	require.NoError(t, err)
	require.Equal(t, "interlock-canary:nnnnn", c.Principal().String())
	require.Equal(t, time.Hour, c.Interval())
	require.WithinDuration(t, time.Now(), c.Counts().LastSuccess, time.Minute)
	var v *canary.Violation
	require.False(t, errors.As(c.Violation(), &v))
}

// InterlockManyDenials is about callers. A canary alone must not raise it.
func TestTheCanaryIsMoreOftenAllowedThanDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := observe.NewCounters()
		c, _, stop := start(t, canary.Options{Engine: newEngine(t, actors.Options{Observer: counters})})
		pass(20 * interval)
		stop()
		n, denied := counters.Read(), uint64(0)
		for reason := policy.ReasonAllowed + 1; reason <= policy.ReasonFenced; reason++ {
			denied += n.Decisions[reason]
		}
		require.Greater(t, n.Decisions[policy.ReasonAllowed], denied)
		require.InDelta(t, 15, denied/c.Counts().Rounds(), 2, "docs/operations.md says how many there are")
	})
}
