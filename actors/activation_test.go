package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

func TestDeniedPrincipalsStayInactive(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	for i := range 100 {
		err := e.Execute(t.Context(), writeAs(policy.MustPrincipal(fmt.Sprintf("user:stranger-%d", i))), nothing)
		require.ErrorIs(t, err, actors.ErrDenied)
	}
	require.Zero(t, e.Active())
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	require.Equal(t, 1, e.Active())
}

func TestPassivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{IdleAfter: time.Minute})
		l := admit(t, e, writeAs(alice))
		require.NoError(t, e.Execute(t.Context(), writeAs(bob), nothing))
		require.Equal(t, 2, e.Active())
		time.Sleep(2 * time.Minute)
		require.Equal(t, 1, e.Active(), "who has a lease stays, who is idle leaves")
		l.Release()
		time.Sleep(2 * time.Minute)
		require.Zero(t, e.Active())
		require.NoError(t, e.Execute(t.Context(), writeAs(bob), nothing), "and comes back")
	})
}

// What was applied and not delivered yet must not be acted upon: a principal that is
// granted a role waits for the delivery, and one that loses it keeps it until then.
func TestActivationWaitsForDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log})
		log.hold()
		granted := make(chan actors.Receipt, 1)
		go func() {
			r, err := e.Update(t.Context(), granting(alice, "writer"))
			require.NoError(t, err)
			granted <- r
		}()
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := e.Execute(short, writeAs(alice), nothing)
		require.ErrorIs(t, err, context.DeadlineExceeded, "an activation acted upon what was not acknowledged")
		allowed := make(chan uint64, 1)
		go func() {
			d, err := e.Decide(t.Context(), writeAs(alice))
			require.NoError(t, err)
			require.True(t, d.Allowed)
			allowed <- d.Revision
		}()
		synctest.Wait()
		log.letGo()
		r := <-granted
		require.GreaterOrEqual(t, <-allowed, r.Revision)
	})
}

// A principal whose record cannot be read is denied, and its waiters are woken.
func TestG6_FaultOfTheLogDenies(t *testing.T) {
	log := newGatedLog(t, writerRole(t))
	e := newEngine(t, actors.Options{Log: log})
	grant(t, e, alice, "writer")
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	grant(t, e, bob, "writer")
	log.fault = errors.New("a damaged record")
	err := e.Execute(t.Context(), writeAs(bob), nothing)
	require.ErrorIs(t, err, actors.ErrFault)
	require.ErrorIs(t, err, actors.ErrDenied)
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "active principals go on")
	log.fault = nil
	require.NoError(t, e.Execute(t.Context(), writeAs(bob), nothing))
}

// Role and grant change together, over and over, while the principal comes and goes: each
// revision allows exactly one of two actions, and a mix of two revisions would allow both
// or none.
func TestActivationNeverMixesRevisions(t *testing.T) {
	const rounds = 300
	e := newEngine(t, actors.Options{}, roleOf(t, "even"), roleOf(t, "odd"))
	roles := func(n int) []policy.Change {
		action := []string{"do:even", "do:odd"}
		name := []string{"even", "odd"}
		return []policy.Change{
			policy.PutRole(roleOf(t, name[n%2], permission(policy.Allow, action[n%2], "**")), ""),
			policy.PutRole(roleOf(t, name[(n+1)%2]), ""),
			policy.GrantRole(policy.Grant{Principal: alice, Role: name[n%2]}),
			policy.RevokeRole(policy.Grant{Principal: alice, Role: name[(n+1)%2]}),
		}
	}
	_, err := e.Update(t.Context(), actors.Update{Changes: roles(0)})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				decisions, err := e.DecideAll(context.Background(), []actors.Request{
					{Principal: alice, Action: "do:even", Resource: "x"}, {Principal: alice, Action: "do:odd", Resource: "x"},
				})
				if err != nil {
					t.Error(err)
					return
				}
				even, odd := decisions[0], decisions[1]
				if even.Allowed == odd.Allowed || even.Revision != odd.Revision || even.Allowed != (even.Revision%2 == 0) {
					t.Errorf("a mix of revisions: even %v at %d, odd %v at %d", even.Allowed, even.Revision, odd.Allowed, odd.Revision)
					return
				}
			}
		})
	}
	for n := 1; n <= rounds; n++ {
		_, err := e.Update(t.Context(), actors.Update{Changes: roles(n)})
		require.NoError(t, err)
		actors.PassivateAll(e)
	}
	stop()
	readers.Wait()
}

// Principals are activated and passivated concurrently: none is lost or active twice.
func TestConcurrentActivationAndPassivation(t *testing.T) {
	const principals = 300
	e := newEngine(t, actors.Options{}, writerRole(t))
	who := make([]policy.Principal, principals)
	for i := range who {
		who[i] = policy.MustPrincipal(fmt.Sprintf("user:u%d", i))
		grant(t, e, who[i], "writer")
	}
	counts := make([]int, principals)
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			for i := range 4 * principals {
				n := (i*7 + c*37) % principals
				err := e.Execute(context.Background(), writeAs(who[n]), func(context.Context) error {
					counts[n]++ // two mailboxes of one principal would be a race
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					actors.PassivateAll(e)
				}
			}
		})
	}
	callers.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	require.Equal(t, 8*4*principals, total)
}
