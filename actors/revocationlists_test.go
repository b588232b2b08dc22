package actors_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// listed are lists that revoke these serial numbers.
type listed map[string]bool

// Revoked implements [actors.RevocationLists].
func (l listed) Revoked(_, serial string) bool { return l[serial] }

func credentialNumber(serial string) *actors.Credential {
	return actors.NewCredential([32]byte{1, serial[0]}, [32]byte{9}, serial, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
}

// TestG2_ListsEndWhatTheyRevoke: when lists are in use, nothing runs any more that came by a
// certificate which they revoke, and nothing will; others of the same principal go on.
func TestG2_ListsEndWhatTheyRevoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := policy.MustPrincipal("user:alice")
		e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
		grant(t, e, who, "reader")
		ask := func(serial string) actors.Request {
			return actors.Request{Principal: who, Credential: credentialNumber(serial), Action: "orders:read", Resource: "orders/1"}
		}
		lost, err := e.Admit(t.Context(), ask("a"))
		require.NoError(t, err)
		good, err := e.Admit(t.Context(), ask("b"))
		require.NoError(t, err)
		defer good.Release()

		type result struct {
			receipt actors.Receipt
			err     error
		}
		used := make(chan result, 1)
		go func() {
			r, err := e.UseRevocationLists(t.Context(), listed{"a": true})
			used <- result{r, err}
		}()
		synctest.Wait()
		require.ErrorIs(t, lost.Context().Err(), actors.ErrRevoked)
		require.NoError(t, good.Context().Err())
		select {
		case <-used:
			t.Fatal("it does not wait for the operation")
		default:
		}
		lost.Release()
		got := <-used
		require.NoError(t, got.err)
		require.True(t, got.receipt.Quiesced)
		require.Len(t, got.receipt.Ended, 1)

		_, err = e.Admit(t.Context(), ask("a"))
		var denied *actors.DeniedError
		require.True(t, errors.As(err, &denied), "%v", err)
		require.Equal(t, policy.ReasonCredentialRevoked, denied.Decision.Reason)
		require.NoError(t, e.Execute(t.Context(), ask("b"), func(context.Context) error { return nil }))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := e.UseRevocationLists(ctx, listed{"a": true, "b": true})
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.Equal(t, 1, r.RunningCount)
	})
}

// TestCredentials_ACRLBetweenArrivalAndTurn: the turn reads the lists, not who comes
// before it.
//
// SECURITY, line 6.
func TestCredentials_ACRLBetweenArrivalAndTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := policy.MustPrincipal("user:alice")
		e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
		grant(t, e, who, "reader")
		req := actors.Request{Principal: who, Credential: credentialNumber("a"), Action: "orders:read", Resource: "orders/1"}
		require.NoError(t, e.Execute(t.Context(), req, func(context.Context) error { return nil }), "it was good before")

		hold, entered := make(chan struct{}), make(chan struct{})
		first := req
		first.Credential = nil
		go func() {
			_ = e.Execute(context.Background(), first, func(context.Context) error { close(entered); <-hold; return nil })
		}()
		<-entered
		queued := make(chan error, 1)
		go func() {
			queued <- e.Execute(context.Background(), req, func(context.Context) error { t.Error("it ran"); return nil })
		}()
		synctest.Wait()
		used := make(chan error, 1)
		go func() { _, err := e.UseRevocationLists(context.Background(), listed{"a": true}); used <- err }()
		synctest.Wait()
		close(hold)
		require.NoError(t, <-used)
		var denied *actors.DeniedError
		require.True(t, errors.As(<-queued, &denied))
		require.Equal(t, policy.ReasonCredentialRevoked, denied.Decision.Reason)
	})
}

// TestCRLsAndUpdatesBothRevoke: a CRL does not undo an update's revocation, nor the reverse.
func TestCRLsAndUpdatesBothRevoke(t *testing.T) {
	who := policy.MustPrincipal("user:alice")
	e := newEngine(t, actors.Options{}, roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*")))
	grant(t, e, who, "reader")
	byHand := credentialNumber("b")
	_, err := e.UseRevocationLists(t.Context(), listed{"a": true})
	require.NoError(t, err)
	_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(byHand.IDs()[0], "lost")}})
	require.NoError(t, err)
	requireRevoked := func(serials ...string) {
		for _, serial := range serials {
			d, err := e.Decide(t.Context(), actors.Request{Principal: who, Credential: credentialNumber(serial), Action: "orders:read", Resource: "orders/1"})
			require.NoError(t, err)
			require.Equal(t, policy.ReasonCredentialRevoked, d.Reason, serial)
		}
	}
	requireRevoked("a", "b")
	_, err = e.UseRevocationLists(t.Context(), listed{"a": true, "c": true})
	require.NoError(t, err)
	requireRevoked("a", "b", "c")
}

// heldDelivery is a log whose deliveries wait.
type heldDelivery struct {
	*oplog.Memory
	hold atomic.Pointer[chan struct{}]
}

// Open implements [oplog.Log].
func (l *heldDelivery) Open(events oplog.Events) (oplog.InitialState, error) {
	deliver := events.Deliver
	events.Deliver = func(all []oplog.Outcome) {
		hold := l.hold.Load()
		if hold == nil {
			deliver(all)
			return
		}
		go func() {
			<-*hold
			deliver(all)
		}()
	}
	return l.Memory.Open(events)
}

// TestG2_ListsWaitForWhatTheLogHasTaken: its author may have come by a certificate that is
// revoked now, and it would take effect afterwards.
func TestG2_ListsWaitForWhatTheLogHasTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory, err := oplog.NewMemoryWith([]*policy.Role{roleOf(t, "reader", permission(policy.Allow, "orders:read", "orders/*"))}, nil)
		require.NoError(t, err)
		log := &heldDelivery{Memory: memory}
		e := newEngine(t, actors.Options{Log: log})
		held := make(chan struct{})
		log.hold.Store(&held)
		updated, used := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
				policy.GrantRole(policy.Grant{Principal: policy.MustPrincipal("user:bob"), Role: "reader"}),
			}})
			updated <- err
		}()
		synctest.Wait()
		go func() {
			_, err := e.UseRevocationLists(t.Context(), listed{"a": true})
			used <- err
		}()
		synctest.Wait()
		require.Empty(t, used, "the update is not delivered yet")
		close(held)
		require.NoError(t, <-updated)
		require.NoError(t, <-used)
	})
}
