package actors_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/oplog/oplogtest"
	"github.com/interlock-authz/interlock/actors/policy"
)

// This file tests what a server of remote leases needs of the engine.

// admitted starts an engine in which alice runs an operation.
func admitted(t *testing.T, o actors.Options, own *time.Duration) (*actors.Engine, *actors.Lease) {
	t.Helper()
	e := newEngine(t, o, roleOf(t, "writer", permission(policy.Allow, "orders:write", "**")))
	grant(t, e, alice, "writer")
	l, err := e.AdmitDetached(t.Context(), actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/1", Grace: own})
	require.NoError(t, err)
	return e, l
}

// revokeWith revokes alice's role on a goroutine of its own.
func revokeWith(t *testing.T, e *actors.Engine, grace *time.Duration) <-chan actors.Receipt {
	done := make(chan actors.Receipt, 1)
	go func() {
		u := revoke(alice, "writer")
		u.Grace = grace
		r, err := e.Update(context.Background(), u)
		require.NoError(t, err)
		done <- r
	}()
	synctest.Wait()
	return done
}

func TestALeaseTellsThatItLostItsAuthority(t *testing.T) {
	second, minute := time.Second, time.Minute
	tests := map[string]struct {
		own, update *time.Duration
		late        time.Duration // how long after the revocation the function is set
		want        time.Duration
	}{
		"at once":                   {nil, nil, 0, 0},
		"with the update's grace":   {nil, &minute, 0, time.Minute},
		"with its own grace":        {&second, nil, 0, time.Second},
		"with the shorter one":      {&minute, &second, 0, time.Second},
		"what is left of the grace": {nil, &minute, 20 * time.Second, 40 * time.Second},
		"after the grace":           {nil, &second, 20 * time.Second, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, l := admitted(t, actors.Options{}, tt.own)
				told := make(chan time.Duration, 10)
				if tt.late == 0 {
					l.AfterRevoke(func(grace time.Duration) { told <- grace })
				}
				done := revokeWith(t, e, tt.update)
				time.Sleep(tt.late)
				if tt.late > 0 {
					l.AfterRevoke(func(grace time.Duration) { told <- grace })
				}
				synctest.Wait()
				require.Len(t, told, 1)
				require.Equal(t, tt.want, <-told)
				time.Sleep(2 * time.Minute)
				require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
				require.Empty(t, told, "it is told once")
				l.Release()
				<-done
			})
		})
	}
}

func TestAReleasedLeaseTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, l := admitted(t, actors.Options{}, nil)
		told := make(chan time.Duration, 2)
		l.AfterRevoke(func(grace time.Duration) { told <- grace })
		l.Release()
		<-revokeWith(t, e, nil)
		l.AfterRevoke(func(grace time.Duration) { told <- grace })
		synctest.Wait()
		require.Empty(t, told)
	})
}

func TestAReceiptSaysHowARemoteOperationEnded(t *testing.T) {
	for _, how := range []string{actors.HowReleased, actors.HowExpired} {
		synctest.Test(t, func(t *testing.T) {
			e, l := admitted(t, actors.Options{}, nil)
			done := revokeWith(t, e, nil)
			require.Empty(t, done)
			l.ReleaseAs(how)
			r := <-done
			require.Len(t, r.Ended, 1)
			require.Equal(t, how, r.Ended[0].How)
		})
	}
}

// TestG2_NothingIsQuiescedWhileAnEngineSettles asks for a receipt of every kind of update before
// and after the time in which operations of an earlier process may run.
func TestG2_NothingIsQuiescedWhileAnEngineSettles(t *testing.T) {
	list := listed{"7": true}
	tests := map[string]func(ctx context.Context, e *actors.Engine) (actors.Receipt, error){
		"update": func(ctx context.Context, e *actors.Engine) (actors.Receipt, error) {
			return e.Update(ctx, actors.Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: alice, Role: "writer"})}})
		},
		"CRLs": func(ctx context.Context, e *actors.Engine) (actors.Receipt, error) {
			return e.UseRevocationLists(ctx, list)
		},
		"from before the start": func(ctx context.Context, e *actors.Engine) (actors.Receipt, error) {
			return e.Receipt(ctx, 1)
		},
	}
	for name, ask := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, err := oplog.NewMemoryWith([]*policy.Role{roleOf(t, "writer", permission(policy.Allow, "orders:write", "**"))}, nil)
				require.NoError(t, err)
				e := newEngine(t, actors.Options{Log: log, QuiesceAfter: time.Minute})
				start := time.Now()
				short, cancel := context.WithTimeout(t.Context(), time.Minute-time.Millisecond)
				defer cancel()
				r, err := ask(short, e)
				require.ErrorIs(t, err, actors.ErrNotQuiesced)
				require.False(t, r.Quiesced)
				require.True(t, r.Settling)
				r, err = ask(t.Context(), e)
				require.NoError(t, err)
				require.True(t, r.Quiesced)
				require.False(t, r.Settling)
				require.Equal(t, time.Minute, time.Since(start))
			})
		})
	}
}

// TestG2_AnEngineThatSettlesConfirmsNothing starts one of two engines on a log after a crash. Updates
// of the other one wait for it, also the one from before its start.
func TestG2_AnEngineThatSettlesConfirmsNothing(t *testing.T) {
	for name, early := range map[string]bool{"an update from before": true, "a new update": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shared, err := oplogtest.NewShared([]*policy.Role{roleOf(t, "writer", permission(policy.Allow, "orders:write", "**"))}, nil)
				require.NoError(t, err)
				start := func(name string, settles time.Duration) *actors.Engine {
					member := shared.Join(name)
					t.Cleanup(func() { require.NoError(t, member.Close()) })
					return newEngine(t, actors.Options{Log: member, QuiesceAfter: settles})
				}
				left := start("left", 0)
				if early {
					grant(t, left, alice, "writer")
				}
				start("right", time.Minute)
				began := time.Now()
				if early {
					_, err = left.Receipt(t.Context(), left.Revision())
					require.NoError(t, err)
				} else {
					grant(t, left, alice, "writer")
				}
				require.Equal(t, time.Minute, time.Since(began))
			})
		})
	}
}

// TestAReleaseThatIsNotHandledTellsNothing releases while the turn is busy, and after a revocation
// was posted.
func TestAReleaseThatIsNotHandledTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, l := admitted(t, actors.Options{}, nil)
		told := make(chan time.Duration, 1)
		l.AfterRevoke(func(grace time.Duration) { told <- grace })
		free := occupy(t, e, alice)
		done := revokeWith(t, e, nil)
		l.Release()
		free()
		<-done
		synctest.Wait()
		require.Empty(t, told)
	})
}

func TestANegativeQuiesceAfterIsRejected(t *testing.T) {
	_, err := actors.New(actors.Options{QuiesceAfter: -1})
	require.ErrorIs(t, err, policy.ErrInvalid)
}

// TestReleaseAndAfterRevokeRace calls both at once, as a server of remote leases does when a release
// overtakes an acquisition. The race detector watches.
func TestReleaseAndAfterRevokeRace(t *testing.T) {
	e := newEngine(t, actors.Options{Observer: &witness{}}, roleOf(t, "writer", permission(policy.Allow, "orders:write", "**")))
	grant(t, e, alice, "writer")
	for range 1000 {
		l, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		var both sync.WaitGroup
		both.Go(l.Release)
		both.Go(func() { l.AfterRevoke(func(time.Duration) {}) })
		both.Wait()
	}
}
