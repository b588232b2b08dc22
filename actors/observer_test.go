package actors_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// witness records what an observer is told. The methods named in panics panic after that.
type witness struct {
	mu        sync.Mutex
	panics    map[string]bool
	reasons   []policy.Reason
	described []*actors.ObservedDecision
	contexts  []context.Context
	waits     []time.Duration
	admitted  int
	released  []release
	delivered []actors.AppliedUpdate
	quiesced  []actors.AppliedUpdate
	sweeps    int
}

type release struct {
	after time.Duration
	how   string
}

func (w *witness) note(method string, record func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	record()
	if w.panics[method] {
		panic("the observer's own: " + method)
	}
}

func (w *witness) Decided(_ policy.Principal, reason policy.Reason) bool {
	w.note("Decided", func() { w.reasons = append(w.reasons, reason) })
	return true
}

func (w *witness) Described(ctx context.Context, d *actors.ObservedDecision) {
	w.note("Described", func() { w.described, w.contexts = append(w.described, d), append(w.contexts, ctx) })
}

func (w *witness) Waited(_ policy.Principal, wait time.Duration) {
	w.note("Waited", func() { w.waits = append(w.waits, wait) })
}

func (w *witness) Admitted(l *actors.Lease) any {
	w.note("Admitted", func() { w.admitted++ })
	return l
}

func (w *witness) Released(l *actors.Lease, tag any, after time.Duration, how string) {
	w.note("Released", func() {
		if tag != l {
			how = "with the tag of another lease"
		}
		w.released = append(w.released, release{after, how})
	})
}

func (w *witness) Delivered(u actors.AppliedUpdate) {
	w.note("Delivered", func() { w.delivered = append(w.delivered, u) })
}

func (w *witness) Quiesced(u actors.AppliedUpdate) {
	w.note("Quiesced", func() { w.quiesced = append(w.quiesced, u) })
}

func (w *witness) Swept(time.Duration) { w.note("Swept", func() { w.sweeps++ }) }

// take returns the reasons since the last call.
func (w *witness) take() []policy.Reason {
	w.mu.Lock()
	defer w.mu.Unlock()
	reasons := w.reasons
	w.reasons = nil
	return reasons
}

func (w *witness) panicIn(methods ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.panics = map[string]bool{}
	for _, m := range methods {
		w.panics[m] = true
	}
}

// forms are the ways to ask about a request; each returns the error, or that of a denial.
func forms(t testing.TB, e *actors.Engine) map[string]func(ctx context.Context, req actors.Request, ran func()) error {
	denial := func(d policy.Decision, err error) error {
		if err == nil && !d.Allowed {
			err = actors.ErrDenied
			if d.Reason == policy.ReasonFault {
				err = actors.ErrFault
			}
		}
		return err
	}
	return map[string]func(context.Context, actors.Request, func()) error{
		"Execute": func(ctx context.Context, req actors.Request, ran func()) error {
			return e.Execute(ctx, req, func(context.Context) error { ran(); return nil })
		},
		"Do": func(ctx context.Context, req actors.Request, ran func()) error {
			return e.Do(ctx, req, func() error { ran(); return nil })
		},
		"Admit": func(ctx context.Context, req actors.Request, ran func()) error {
			l, err := e.Admit(ctx, req)
			if err == nil {
				ran()
				l.Release()
			}
			return err
		},
		"Decide": func(ctx context.Context, req actors.Request, ran func()) error {
			d, err := e.Decide(ctx, req)
			if d.Allowed {
				ran()
			}
			return denial(d, err)
		},
		"DecideAll": func(ctx context.Context, req actors.Request, ran func()) error {
			all, err := e.DecideAll(ctx, []actors.Request{req})
			if err != nil {
				return err
			}
			if all[0].Allowed {
				ran()
			}
			return denial(all[0], nil)
		},
	}
}

type formKey struct{}

// Every decision is observed once, with its own reason, in every form of a request.
func TestObserver_EveryReasonOnce(t *testing.T) {
	cond, err := policy.ParseCondition("resource.properties.amount < 10")
	require.NoError(t, err)
	limited := permission(policy.Allow, "orders:limited", "**")
	limited.When = cond
	w := &witness{}
	e := newEngine(t, actors.Options{Observer: w}, roleOf(t, "writer",
		permission(policy.Allow, "orders:write", "orders/**"), permission(policy.Deny, "orders:*", "orders/frozen"), limited))
	grant(t, e, alice, "writer")
	expired := actors.NewCredential([32]byte{1}, [32]byte{}, "1", time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	revoked := actors.NewCredential([32]byte{2}, [32]byte{}, "2", time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour))
	id, err := policy.ByFingerprint(revoked.Fingerprint())
	require.NoError(t, err)
	_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "lost")}})
	require.NoError(t, err)
	write := writeAs(alice)
	for _, c := range []struct {
		change func(*actors.Request)
		reason policy.Reason
		role   string
	}{
		{func(*actors.Request) {}, policy.ReasonAllowed, "writer"},
		{func(r *actors.Request) { r.Resource = "bills/1" }, policy.ReasonNoPermission, ""},
		{func(r *actors.Request) { r.Resource = "orders/frozen" }, policy.ReasonDeniedByRule, "writer"},
		{func(r *actors.Request) { r.Action = "orders:limited" }, policy.ReasonConditionError, "writer"},
		{func(r *actors.Request) { r.Principal = bob }, policy.ReasonUnknownPrincipal, ""},
		{func(r *actors.Request) { r.Action = "eat" }, policy.ReasonUnknownAction, ""},
		{func(r *actors.Request) { r.Action = "" }, policy.ReasonMalformed, ""},
		{func(r *actors.Request) { r.Credential = expired }, policy.ReasonCredentialExpired, ""},
		{func(r *actors.Request) { r.Credential = revoked }, policy.ReasonCredentialRevoked, ""},
	} {
		req := write
		c.change(&req)
		for form, ask := range forms(t, e) {
			name := c.reason.String() + " " + form
			w.take()
			w.described, w.contexts = nil, nil
			ctx := context.WithValue(t.Context(), formKey{}, form)
			err := ask(ctx, req, func() {})
			require.Equal(t, c.reason == policy.ReasonAllowed, err == nil, name)
			require.Equal(t, []policy.Reason{c.reason}, w.take(), name)
			require.Len(t, w.described, 1, name)
			d := w.described[0]
			require.Equal(t, c.reason, d.Reason(), name)
			require.Equal(t, c.role, d.Role(), name)
			require.Equal(t, req, *d.Request(), name)
			require.Equal(t, e.Revision(), d.Revision(), name)
			require.Equal(t, form, w.contexts[0].Value(formKey{}), name)
			whole := d.Decision()
			require.Equal(t, c.reason, whole.Reason, name)
			require.Equal(t, c.role, whole.Explain().Role, name)
		}
	}
}

func TestObserver_SeesEachRequestOfDecideAll(t *testing.T) {
	w := &witness{}
	e := ordersEngine(t, actors.Options{Observer: w})
	denied := writeAs(alice)
	denied.Resource = "bills/1"
	_, err := e.DecideAll(t.Context(), []actors.Request{writeAs(alice), denied, writeAs(bob)})
	require.NoError(t, err)
	require.Equal(t, []policy.Reason{policy.ReasonAllowed, policy.ReasonNoPermission, policy.ReasonAllowed}, w.take())
}

// Refusals that no turn makes are observed too, and requests that were not decided are not.
func TestObserver_RefusalsWithoutATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log, Observer: w, MaxQueued: 1})
		grant(t, e, alice, "writer")
		grant(t, e, bob, "writer")
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
		once := func(form string, ask func(context.Context, actors.Request, func()) error, req actors.Request, reason policy.Reason) {
			w.take()
			require.ErrorIs(t, ask(t.Context(), req, func() { t.Error("it ran") }), actors.ErrDenied, form)
			require.Equal(t, []policy.Reason{reason}, w.take(), form)
		}

		log.fault = errors.New("a damaged record")
		for form, ask := range forms(t, e) {
			once(form, ask, writeAs(bob), policy.ReasonFault)
		}
		log.fault = nil

		free := occupy(t, e, alice)
		var queued sync.WaitGroup
		queued.Go(func() { _ = e.Execute(t.Context(), writeAs(alice), nothing) })
		synctest.Wait()
		for form, ask := range forms(t, e) {
			once(form, ask, writeAs(alice), policy.ReasonOverloaded)
		}
		both := []actors.Request{writeAs(alice), writeAs(alice)}
		_, err := e.DecideAll(t.Context(), both)
		require.Equal(t, actors.ErrOverloaded, err)
		require.Equal(t, []policy.Reason{policy.ReasonOverloaded, policy.ReasonOverloaded}, w.take())
		free()
		queued.Wait()

		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		w.take()
		for form, ask := range forms(t, e) {
			require.ErrorIs(t, ask(canceled, writeAs(alice), func() {}), context.Canceled, form)
		}
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(ctx context.Context) error {
			require.Equal(t, actors.ErrNested, e.Execute(ctx, writeAs(bob), nothing))
			return nil
		}))
		require.Equal(t, []policy.Reason{policy.ReasonAllowed}, w.take(), "neither canceled nor nested requests are decided")

		require.NoError(t, e.Close(t.Context()))
		for form, ask := range forms(t, e) {
			once(form, ask, writeAs(alice), policy.ReasonClosed)
		}
		_, err = e.DecideAll(t.Context(), both)
		require.Equal(t, actors.ErrClosed, err)
		require.Equal(t, []policy.Reason{policy.ReasonClosed, policy.ReasonClosed}, w.take())
	})
}

// A panic of the observer denies the request, and changes nothing else.
func TestG6_APanicOfTheObserverDenies(t *testing.T) {
	for _, method := range []string{"Decided", "Described", "Admitted"} {
		for _, queued := range []bool{false, true} {
			w := &witness{}
			e := ordersEngine(t, actors.Options{Observer: w})
			kept, err := e.Admit(t.Context(), writeAs(alice))
			require.NoError(t, err)
			denied := writeAs(alice)
			denied.Resource = "bills/1"
			for form, ask := range forms(t, e) {
				name := method + " " + form
				if method == "Admitted" && form != "Admit" {
					continue
				}
				inTurn(t, e, queued, func() {
					w.panicIn(method)
					defer w.panicIn()
					require.Equal(t, actors.ErrFault, ask(t.Context(), writeAs(alice), func() { t.Error(name + ": it ran") }), name)
					err := ask(t.Context(), denied, func() { t.Error(name + ": what is denied ran") })
					require.ErrorIs(t, err, actors.ErrDenied, name)
				})
				require.NoError(t, ask(t.Context(), writeAs(alice), func() {}), name)
				require.NoError(t, kept.Context().Err(), name)
				leases, err := e.Leases(t.Context(), alice)
				require.NoError(t, err)
				require.Len(t, leases, 1, name)
			}
			kept.Release()
		}
	}
}

func TestObserver_APanicOfAnotherMethodChangesNothing(t *testing.T) {
	w := &witness{}
	e := ordersEngine(t, actors.Options{Observer: w})
	w.panicIn("Waited", "Released", "Delivered", "Quiesced", "Swept")
	inTurn(t, e, true, func() {
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
	l, err := e.Admit(t.Context(), writeAs(alice))
	require.NoError(t, err)
	l.Release()
	receipt, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.PutRole(roleOf(t, "writer"), "")}})
	require.NoError(t, err)
	require.True(t, receipt.Quiesced)
	require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied)
	_, err = e.Update(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
	require.NoError(t, e.Failure())
}

func TestG6_APanicOfTheObserverKeepsARefusal(t *testing.T) {
	for _, method := range []string{"Decided", "Described"} {
		w := &witness{}
		e := ordersEngine(t, actors.Options{Observer: w})
		w.panicIn(method)
		stranger := writeAs(policy.MustPrincipal("user:stranger"))
		refused := func(req actors.Request) {
			for form, ask := range forms(t, e) {
				require.ErrorIs(t, ask(t.Context(), req, func() { t.Error(form + ": it ran") }), actors.ErrDenied, form)
			}
		}
		refused(stranger)
		require.NoError(t, e.Close(t.Context()))
		refused(writeAs(alice))
	}
}

func TestObserver_Leases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		e := ordersEngine(t, actors.Options{Observer: w})
		finished, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		canceled, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		require.Equal(t, 2, w.admitted)
		require.WithinDuration(t, time.Now(), canceled.Since(), time.Second)
		wait(t, 3*time.Second)
		finished.Release()
		finished.Release()
		require.Equal(t, []release{{3 * time.Second, actors.HowFinished}}, w.released)
		var revoking sync.WaitGroup
		revoking.Go(func() {
			_, err := e.Update(t.Context(), revoke(alice, "writer"))
			require.NoError(t, err)
		})
		synctest.Wait()
		wait(t, 4*time.Second)
		free := occupy(t, e, bob) // the turn of another principal
		canceled.Release()
		free()
		revoking.Wait()
		synctest.Wait()
		require.Equal(t, release{7 * time.Second, actors.HowCanceled}, w.released[1])
		require.Len(t, w.released, 2)
	})
}

func TestObserver_Updates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		log := &slowLog{Memory: oplog.NewMemory(), takes: 2 * time.Second}
		e := newEngine(t, actors.Options{Observer: w, Log: log})
		_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.PutRole(roleOf(t, "writer", permission(policy.Allow, "orders:write", "**")), ""),
			policy.GrantRole(policy.Grant{Principal: alice, Role: "writer"}),
		}})
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, w.delivered, 1)
		require.Len(t, w.quiesced, 1)
		require.Len(t, w.quiesced[0].Changes, 2)

		l, err := e.Admit(t.Context(), writeAs(alice))
		require.NoError(t, err)
		start, author := time.Now(), oplog.Author{Principal: bob, Credential: "ab"}
		done := make(chan error)
		go func() {
			u := revoke(alice, "writer")
			u.Author = author
			_, err := e.Update(t.Context(), u)
			done <- err
		}()
		synctest.Wait()
		wait(t, 5*time.Second)
		require.Len(t, w.delivered, 2)
		require.Len(t, w.quiesced, 1, "the operation runs")
		require.Zero(t, w.delivered[1].Quiesced)
		l.Release()
		require.NoError(t, <-done)
		synctest.Wait()
		u := w.quiesced[1]
		require.Equal(t, e.Revision(), u.Revision)
		require.Equal(t, author, u.Author)
		require.Len(t, u.Changes, 1)
		require.Equal(t, 1, u.Ended)
		require.Equal(t, start, u.Asked)
		require.Equal(t, start.Add(2*time.Second), u.Delivered)
		require.Equal(t, start.Add(5*time.Second), u.Quiesced)
		require.Len(t, w.quiesced, 2)
		require.Equal(t, 1, w.sweeps, "of the change of the role")
	})
}

// slowLog takes a time to hand a proposal to its log.
type slowLog struct {
	*oplog.Memory
	takes time.Duration
}

func (l *slowLog) Propose(p *oplog.Proposal) error {
	<-time.After(l.takes)
	return l.Memory.Propose(p)
}

// wait lets virtual time pass.
func wait(t testing.TB, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}

func TestObserver_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &witness{}
		e := ordersEngine(t, actors.Options{Observer: w})
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
		require.Empty(t, w.waits, "it did not queue")
		free := occupy(t, e, alice)
		short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var queued sync.WaitGroup
		queued.Go(func() { require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing)) })
		queued.Go(func() {
			require.ErrorIs(t, e.Execute(short, writeAs(alice), nothing), context.DeadlineExceeded)
		})
		synctest.Wait()
		wait(t, 3*time.Second)
		free()
		queued.Wait()
		require.Equal(t, []time.Duration{2 * time.Second, 3 * time.Second}, w.waits)
	})
}
