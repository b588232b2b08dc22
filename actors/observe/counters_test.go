package observe_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/policy"
)

func TestCounters_CountEveryReasonApart(t *testing.T) {
	c := observe.NewCounters()
	var last policy.Reason
	for reason := policy.ReasonUnset; !strings.HasPrefix(reason.String(), "reason("); reason++ {
		last = reason
		for range int(reason) + 1 {
			require.False(t, c.Decided(alice, reason))
			require.False(t, c.Decided(bob, reason))
		}
	}
	n := c.Read()
	for reason := policy.ReasonUnset; reason <= last; reason++ {
		require.Equal(t, 2*(uint64(reason)+1), n.Decisions[reason], reason.String())
	}
}

func TestCounters_DecisionsOfManyCallers(t *testing.T) {
	c := observe.NewCounters()
	e := newEngine(t, c)
	const callers, each = 16, 500
	var all sync.WaitGroup
	for n := range callers {
		all.Go(func() {
			who := []policy.Principal{alice, bob}[n%2]
			for range each {
				require.NoError(t, e.Execute(t.Context(), write(who, "orders/1"), nothing))
				require.Error(t, e.Execute(t.Context(), write(who, "bills/1"), nothing))
				_ = c.Read()
			}
		})
	}
	all.Wait()
	n := c.Read()
	require.Equal(t, uint64(callers*each), n.Decisions[policy.ReasonAllowed])
	require.Equal(t, uint64(callers*each), n.Decisions[policy.ReasonNoPermission])
}

func TestCounters_AllocateNothing(t *testing.T) {
	c := observe.NewCounters()
	e := newEngine(t, observe.Join(c, newLog(t, observe.LogOptions{})))
	req, ctx := write(alice, "orders/1"), context.Background()
	f := func() error { return nil }
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = e.Do(ctx, req, f) }))
	require.Greater(t, c.Read().Decisions[policy.ReasonAllowed], uint64(1000))
}

func TestCounters_Leases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := observe.NewCounters()
		e := newEngine(t, c)
		start := time.Now()
		admit := func(who policy.Principal) *actors.Lease {
			l, err := e.Admit(t.Context(), write(who, "orders/1"))
			require.NoError(t, err)
			return l
		}
		require.Zero(t, c.Read().Leases)
		require.True(t, c.Read().OldestLease.IsZero())
		first := admit(alice)
		pass(10 * time.Second)
		second, third := admit(alice), admit(bob)
		pass(100 * time.Millisecond)
		n := c.Read()
		require.EqualValues(t, 3, n.Leases)
		require.WithinDuration(t, start, n.OldestLease, time.Second)
		first.Release()
		n = c.Read()
		require.EqualValues(t, 2, n.Leases)
		require.WithinDuration(t, start.Add(10*time.Second), n.OldestLease, time.Second)
		require.EqualValues(t, 1, n.Finished.Count())
		require.Equal(t, 10*time.Second+100*time.Millisecond, n.Finished.Sum)
		context.AfterFunc(second.Context(), second.Release)
		_, err := e.Update(t.Context(), revokeWriter(alice))
		require.NoError(t, err)
		n = c.Read()
		require.EqualValues(t, 1, n.Canceled.Count())
		require.EqualValues(t, 1, n.Finished.Count())
		third.Release()
		n = c.Read()
		require.Zero(t, n.Leases)
		require.True(t, n.OldestLease.IsZero())
	})
}

// The counters keep the time of a lease for as long as it runs, and forget the others.
func TestCounters_ForgetTheTimesOfEndedLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := observe.NewCounters()
		e := newEngine(t, c)
		kept, err := e.Admit(t.Context(), write(alice, "orders/1"))
		require.NoError(t, err)
		began := c.Read().OldestLease
		for range 1000 {
			l, err := e.Admit(t.Context(), write(alice, "orders/1"))
			require.NoError(t, err)
			pass(time.Second)
			l.Release()
		}
		require.Less(t, observe.Seconds(c), 200)
		require.Equal(t, began, c.Read().OldestLease)
		require.EqualValues(t, 1, c.Read().Leases)
		kept.Release()
	})
}

func TestCounters_Updates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := observe.NewCounters()
		e := newEngine(t, c)
		l, err := e.Admit(t.Context(), write(alice, "orders/1"))
		require.NoError(t, err)
		start := time.Now()
		var revoking sync.WaitGroup
		revoking.Go(func() {
			_, err := e.Update(t.Context(), revokeWriter(alice))
			require.NoError(t, err)
		})
		pass(3 * time.Second)
		n := c.Read()
		require.Equal(t, 1, n.Unquiesced)
		require.Equal(t, start, n.OldestUnquiesced)
		require.EqualValues(t, 1, n.Delivery[observe.Revocations].Count())
		require.Zero(t, n.Quiescence[observe.Revocations].Count())
		l.Release()
		revoking.Wait()
		_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: alice, Role: "writer"})}})
		require.NoError(t, err)
		role, err := policy.NewRole("writer", nil, nil)
		require.NoError(t, err)
		_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.PutRole(role, "")}})
		require.NoError(t, err)
		synctest.Wait()
		n = c.Read()
		require.Zero(t, n.Unquiesced)
		require.True(t, n.OldestUnquiesced.IsZero())
		require.EqualValues(t, 2, n.Quiescence[observe.Revocations].Count())
		require.Equal(t, 3*time.Second, n.Quiescence[observe.Revocations].Sum)
		require.EqualValues(t, 1, n.Quiescence[observe.Grants].Count())
		require.EqualValues(t, 1, n.Sweeps.Count())
	})
}

func TestCounters_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := observe.NewCounters()
		e := newEngine(t, c)
		var queued sync.WaitGroup
		require.NoError(t, e.Execute(t.Context(), write(alice, "orders/1"), func(context.Context) error {
			queued.Go(func() { require.NoError(t, e.Execute(t.Context(), write(alice, "orders/1"), nothing)) })
			pass(2 * time.Second)
			return nil
		}))
		queued.Wait()
		n := c.Read()
		require.EqualValues(t, 1, n.Waits.Count())
		require.Equal(t, 2*time.Second, n.Waits.Sum)
	})
}

func TestHistogram(t *testing.T) {
	var h observe.Histogram
	bounds := observe.Bounds()
	require.Equal(t, 50*time.Microsecond, bounds[0])
	require.Equal(t, time.Minute, bounds[len(bounds)-1])
	for i, b := range bounds {
		h.Add(b)
		d := h.Durations()
		require.EqualValues(t, 1, d.Counts[i], "a bound is in its bucket")
	}
	h.Add(time.Hour)
	h.Add(0)
	d := h.Durations()
	require.EqualValues(t, 1, d.Counts[len(bounds)])
	require.EqualValues(t, 2, d.Counts[0])
	require.EqualValues(t, len(bounds)+2, d.Count())
}

// pass lets virtual time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
