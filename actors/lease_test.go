package actors_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

func admit(t testing.TB, e *actors.Engine, req actors.Request) *actors.Lease {
	t.Helper()
	l, err := e.Admit(context.Background(), req)
	require.NoError(t, err)
	return l
}

// releaseWhenDone is what an operation does that obeys its context.
func releaseWhenDone(l *actors.Lease) {
	go func() { <-l.Context().Done(); l.Release() }()
}

func TestLeaseContext(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	type key struct{}
	parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, "v"))
	l, err := e.Admit(parent, writeAs(alice))
	require.NoError(t, err)
	ctx := l.Context()
	require.Equal(t, "v", ctx.Value(key{}))
	require.NoError(t, ctx.Err())
	derived, stop := context.WithCancel(ctx)
	defer stop()
	revision, ok := actors.RevisionOf(derived)
	require.True(t, ok)
	require.Equal(t, l.Decision().Revision, revision)
	cancel(context.Canceled)
	<-ctx.Done()
	<-derived.Done()
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.NotErrorIs(t, ctx.Err(), actors.ErrRevoked)
	l.Release()
	l.Release()

	released := admit(t, e, writeAs(alice))
	released.Release()
	<-released.Context().Done()
	require.ErrorIs(t, released.Context().Err(), context.Canceled)
}

func TestG2_RevocationCancelsAndWaits(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	l, other := admit(t, e, writeAs(alice)), admit(t, e, writeAs(bob))
	defer other.Release()
	child, stop := context.WithCancel(l.Context())
	defer stop()
	ended := make(chan struct{})
	go func() {
		<-child.Done()
		close(ended)
		l.Release()
	}()
	r, err := e.Update(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
	select {
	case <-ended:
	default:
		t.Fatal("the update returned while the operation ran")
	}
	require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
	require.ErrorIs(t, l.Context().Err(), context.Canceled)
	require.ErrorIs(t, context.Cause(child), actors.ErrRevoked)
	require.NoError(t, other.Context().Err(), "an operation of another principal was disturbed")
	require.True(t, r.Quiesced)
	require.Len(t, r.Ended, 1)
	require.Equal(t, l.ID(), r.Ended[0].ID)
	require.Equal(t, actors.HowCanceled, r.Ended[0].How)
	require.Equal(t, r.Revision, r.Ended[0].Revoked)

	again, err := e.Receipt(t.Context(), r.Revision)
	require.NoError(t, err)
	require.Equal(t, r, again)
	_, err = e.Receipt(t.Context(), r.Revision+1)
	require.ErrorIs(t, err, actors.ErrUnknownRevision)
}

func TestG2_OperationsThatAreStillAllowedContinue(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
		policy.PutRole(roleOf(t, "second", permission(policy.Allow, "orders:*", "orders/1")), ""),
		policy.GrantRole(policy.Grant{Principal: alice, Role: "second"}),
	}})
	require.NoError(t, err)
	l := admit(t, e, writeAs(alice))
	defer l.Release()
	r, err := e.Update(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
	require.Empty(t, r.Ended)
	require.NoError(t, l.Context().Err())
}

// TestG2_EveryKindOfUpdate revokes in all the ways that there are.
func TestG2_EveryKindOfUpdate(t *testing.T) {
	cert := actors.NewCredential([32]byte{7}, [32]byte{9}, "0a", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	byPrint, err := policy.ByFingerprint(cert.Fingerprint())
	require.NoError(t, err)
	bySerial, err := policy.BySerial("0A", "09"+"00000000000000000000000000000000000000000000000000000000000000")
	require.NoError(t, err)
	everybody, err := policy.ParsePrincipalPattern("spiffe://interlock.test/*")
	require.NoError(t, err)
	kinds := map[string][]policy.Change{
		"revoke":                    {policy.RevokeRole(policy.Grant{Principal: alice, Role: "writer"})},
		"grant of a deny":           {policy.GrantRole(policy.Grant{Principal: alice, Role: "frozen"})},
		"pattern grant of a deny":   {policy.GrantRole(policy.Grant{Principals: everybody, Role: "frozen"})},
		"role put":                  {policy.PutRole(roleOf(t, "writer"), "")},
		"certificate":               {policy.RevokeCertificate(byPrint, "")},
		"certificate by serial":     {policy.RevokeCertificate(bySerial, "")},
		"all of it, and a comeback": {policy.RevokeRole(policy.Grant{Principal: alice, Role: "writer"}), policy.PutRole(roleOf(t, "writer"), "")},
	}
	for name, changes := range kinds {
		t.Run(name, func(t *testing.T) {
			e := ordersEngine(t, actors.Options{})
			req := writeAs(alice)
			req.Credential = cert
			l := admit(t, e, req)
			releaseWhenDone(l)
			r, err := e.Update(t.Context(), actors.Update{Changes: changes})
			require.NoError(t, err)
			require.Equal(t, 1, r.EndedCount)
			require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
			require.ErrorIs(t, e.Execute(t.Context(), req, nothing), actors.ErrDenied)
		})
	}
}

func TestG2_NotQuiesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		l := admit(t, e, writeAs(alice))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := e.Update(ctx, revoke(alice, "writer"))
		var not *actors.NotQuiescedError
		require.ErrorAs(t, err, &not)
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.False(t, r.Quiesced)
		require.Len(t, not.Receipt.Running, 1)
		require.Equal(t, l.ID(), not.Receipt.Running[0].ID)
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied, "it stands all the same")

		// Revoked is final, and a later update waits for what an earlier one revoked, even
		// if it grants.
		grantBack := make(chan error)
		go func() {
			_, err := e.Update(t.Context(), granting(alice, "writer"))
			grantBack <- err
		}()
		synctest.Wait()
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "the grant applies at once, without waiting for a drain")
		require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
		select {
		case err := <-grantBack:
			t.Fatalf("the grant returned %v while a revoked operation ran", err)
		default:
		}
		l.Release()
		require.NoError(t, <-grantBack)
		again, err := e.Receipt(t.Context(), r.Revision)
		require.NoError(t, err)
		require.True(t, again.Quiesced)
	})
}

func TestUpdateThatChangesNothingWaitsAsWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		l := admit(t, e, writeAs(alice))
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Update(short, revoke(alice, "writer"))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		repeat := make(chan actors.Receipt)
		go func() {
			r, err := e.Update(t.Context(), revoke(alice, "writer"))
			require.NoError(t, err)
			repeat <- r
		}()
		synctest.Wait()
		select {
		case <-repeat:
			t.Fatal("the repeated revocation did not wait")
		default:
		}
		l.Release()
		r := <-repeat
		require.True(t, r.Unchanged)
		require.Equal(t, 1, r.EndedCount)
	})
}

func TestUpdateUnderItsOwnLease(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	l := admit(t, e, writeAs(alice))
	defer l.Release()
	// With a grace the lease's context lives on, so that it is not what ends the wait.
	u := revoke(alice, "writer")
	u.Grace = new(time.Hour)
	_, err := e.Update(l.Context(), u)
	var not *actors.NotQuiescedError
	require.ErrorAs(t, err, &not)
	require.Equal(t, l.ID(), not.Receipt.Running[0].ID)
}

func TestReleaseInATurnOfTheSamePrincipal(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	l := admit(t, e, writeAs(alice))
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(context.Context) error {
		l.Release()
		return nil
	}))
	_, err := e.Update(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		quick, slow := admit(t, e, writeAs(alice)), admit(t, e, writeAs(alice))
		releaseWhenDone(slow)
		start := time.Now()
		done := make(chan actors.Receipt)
		u := revoke(alice, "writer")
		u.Grace = new(5 * time.Second)
		go func() {
			r, err := e.Update(t.Context(), u)
			require.NoError(t, err)
			done <- r
		}()
		synctest.Wait()
		require.NoError(t, quick.Context().Err(), "canceled before its grace was over")
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied, "grace is for what runs")
		time.Sleep(time.Second)
		quick.Release()
		r := <-done
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Equal(t, actors.HowFinished, r.Ended[0].How)
		require.Equal(t, time.Second, r.Ended[0].After)
		require.Equal(t, actors.HowCanceled, r.Ended[1].How)
		require.Equal(t, 5*time.Second, r.Ended[1].After)
	})
}

func TestOfSeveralGracesTheShortest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		l := admit(t, e, writeAs(alice))
		start := time.Now()
		update := func(grace time.Duration) {
			u := revoke(alice, "writer")
			u.Grace = new(grace)
			_, err := e.Update(t.Context(), u)
			require.NoError(t, err)
		}
		go update(time.Hour)
		synctest.Wait()
		go update(time.Minute)
		synctest.Wait()
		go update(2 * time.Hour)
		<-l.Context().Done()
		require.Equal(t, time.Minute, time.Since(start))
		require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
		l.Release()
		synctest.Wait()
	})
}

func TestExpiryOfAGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, actors.Options{}, roleOf(t, "writer", permission(policy.Allow, "orders:write", "**")))
		_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Expires: time.Now().Add(10 * time.Second)}),
		}})
		require.NoError(t, err)
		start := time.Now()
		l := admit(t, e, writeAs(alice))
		<-l.Context().Done()
		require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
		require.GreaterOrEqual(t, time.Since(start), 10*time.Second)
		require.LessOrEqual(t, time.Since(start), 11*time.Second)
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied)
		l.Release()
	})
}

func TestEndOfACredential(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		now := time.Now()
		short := writeAs(alice)
		short.Credential = actors.NewCredential([32]byte{1}, [32]byte{}, "1", now, now.Add(3*time.Second))
		long := writeAs(alice)
		long.Credential = actors.NewCredential([32]byte{2}, [32]byte{}, "2", now, now.Add(time.Hour))
		ends, stays := admit(t, e, short), admit(t, e, long)
		<-ends.Context().Done()
		require.ErrorIs(t, ends.Context().Err(), actors.ErrRevoked)
		require.LessOrEqual(t, time.Since(now), 4*time.Second)
		require.NoError(t, stays.Context().Err(), "another credential's lease was ended")
		require.ErrorIs(t, e.Execute(t.Context(), short, nothing), actors.ErrDenied)
		require.NoError(t, e.Execute(t.Context(), long, nothing))
		ends.Release()
		stays.Release()
	})
}

func TestLeasesInFlight(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	a1, a2, b := admit(t, e, writeAs(alice)), admit(t, e, writeAs(alice)), admit(t, e, writeAs(bob))
	all, err := e.Leases(t.Context(), policy.Principal{})
	require.NoError(t, err)
	require.Len(t, all, 3)
	hers, err := e.Leases(t.Context(), alice)
	require.NoError(t, err)
	require.ElementsMatch(t, []uint64{a1.ID(), a2.ID()}, []uint64{hers[0].ID, hers[1].ID})
	a1.Release()
	a2.Release()
	b.Release()
	all, err = e.Leases(t.Context(), policy.Principal{})
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := oplog.NewMemoryWith([]*policy.Role{roleOf(t, "writer", permission(policy.Allow, "orders:write", "**"))},
			[]policy.Grant{{Principal: alice, Role: "writer"}, {Principal: bob, Role: "writer"}})
		require.NoError(t, err)
		e, err := actors.New(actors.Options{Log: m})
		require.NoError(t, err)
		obeys, stubborn := admit(t, e, writeAs(alice)), admit(t, e, writeAs(bob))
		releaseWhenDone(obeys)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		closed := make(chan error)
		go func() { closed <- e.Close(ctx) }()
		synctest.Wait()
		require.NoError(t, obeys.Context().Err(), "canceled before the deadline")
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrClosed)
		_, err = e.Update(t.Context(), revoke(alice, "writer"))
		require.ErrorIs(t, err, actors.ErrClosed)
		err = <-closed
		var not *actors.NotQuiescedError
		require.ErrorAs(t, err, &not)
		require.ErrorIs(t, stubborn.Context().Err(), actors.ErrClosed)
		stubborn.Release()
		require.NoError(t, e.Close(t.Context()))
	})
}

// An update under a lease that it takes the authority of ends its own context. It stands
// all the same, and its caller is told so.
func TestUpdateThatEndsItsOwnContext(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	for range 3000 {
		l, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		r, err := e.Update(l.Context(), revoke(alice, "writer"))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.NotErrorIs(t, err, oplog.ErrOutcomeUnknown)
		require.NotZero(t, r.Revision)
		l.Release()
		grant(t, e, alice, "writer")
	}
}

// Repeated releases, which wait for the turn, lose no other release.
func TestRepeatedReleasesOfABusyPrincipal(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	var leases [3]*actors.Lease
	for i := range leases {
		l, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		leases[i] = l
	}
	free := occupy(t, e, alice)
	for _, i := range []int{0, 1, 2, 1} {
		leases[i].Release()
	}
	free()
	left, err := e.Leases(t.Context(), alice)
	require.NoError(t, err)
	require.Empty(t, left)
}
