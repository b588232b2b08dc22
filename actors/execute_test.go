package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

var (
	alice = policy.MustPrincipal("spiffe://interlock.test/alice")
	bob   = policy.MustPrincipal("spiffe://interlock.test/bob")
)

func writeAs(who policy.Principal) actors.Request {
	return actors.Request{Principal: who, Action: "orders:write", Resource: "orders/1"}
}

// ordersEngine has the role writer, held by alice and bob.
func ordersEngine(t testing.TB, o actors.Options) *actors.Engine {
	e := newEngine(t, o,
		roleOf(t, "writer", permission(policy.Allow, "orders:write", "orders/**")),
		roleOf(t, "frozen", permission(policy.Deny, "orders:*", "**")))
	grant(t, e, alice, "writer")
	grant(t, e, bob, "writer")
	return e
}

// occupy keeps the principal's turn until the returned function is called, which waits
// for the turn's end.
func occupy(t testing.TB, e *actors.Engine, who policy.Principal) (free func()) {
	t.Helper()
	started, end, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		err := e.Execute(context.Background(), writeAs(who), func(context.Context) error {
			close(started)
			<-end
			return nil
		})
		if err != nil {
			t.Errorf("occupying %s: %v", who, err)
		}
	}()
	<-started
	return sync.OnceFunc(func() { close(end); <-done })
}

func nothing(context.Context) error { return nil }

func TestExecuteReturnsWhatTheFunctionReturns(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	mine := errors.New("mine")
	for name, run := range runs(t, e) {
		require.NoError(t, run(func() error { return nil }), name)
		require.Equal(t, mine, run(func() error { return mine }), name)
	}
}

func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		ran := false
		do := func(ctx context.Context, who policy.Principal) error {
			return e.Do(ctx, writeAs(who), func() error { ran = true; return nil })
		}
		require.ErrorIs(t, e.Do(t.Context(), writeAs(alice), nil), policy.ErrInvalid)
		require.ErrorIs(t, do(t.Context(), policy.MustPrincipal("user:nobody")), actors.ErrDenied)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		// A call about the same principal waits for the function that makes it.
		require.ErrorIs(t, e.Do(t.Context(), writeAs(alice), func() error { return do(ctx, alice) }), context.DeadlineExceeded)
		require.False(t, ran)
		require.NoError(t, e.Do(t.Context(), writeAs(alice), func() error { return do(t.Context(), bob) }))
		require.True(t, ran)

		ran = false
		require.Equal(t, actors.ErrNested, e.Execute(t.Context(), writeAs(alice), func(ctx context.Context) error { return do(ctx, bob) }))
		require.NoError(t, e.Close(t.Context()))
		require.ErrorIs(t, do(t.Context(), alice), actors.ErrClosed)
		require.False(t, ran)
	})
}

// A call of Do that is allowed allocates nothing.
func TestDoAllocatesNothing(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	req, ctx := writeAs(alice), context.Background()
	f := func() error { return nil }
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = e.Do(ctx, req, f) }))
}

func TestG3_ContextEndsBeforeTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		free := occupy(t, e, alice)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ran := false
		err := e.Execute(ctx, writeAs(alice), func(context.Context) error { ran = true; return nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		free()
		synctest.Wait()
		require.False(t, ran, "an abandoned function ran after Execute had returned")

		canceled, stop := context.WithCancel(t.Context())
		stop()
		err = e.Execute(canceled, writeAs(alice), func(context.Context) error { ran = true; return nil })
		require.ErrorIs(t, err, context.Canceled)
		_, err = e.Admit(canceled, writeAs(alice))
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, ran)
	})
}

func TestG3_ContextEndsInTheTurn(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	running := true
	err := e.Execute(ctx, writeAs(alice), func(ctx context.Context) error {
		cancel()
		<-ctx.Done()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		running = false
		return ctx.Err()
	})
	require.False(t, running, "Execute returned while its function ran")
	require.ErrorIs(t, err, context.Canceled)
}

func TestG3_ContextIsNeverReused(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	type key struct{}
	var leaked, derived context.Context
	ctx := context.WithValue(t.Context(), key{}, "first")
	require.NoError(t, e.Execute(ctx, writeAs(alice), func(ctx context.Context) error {
		require.NoError(t, ctx.Err())
		leaked = ctx
		var cancel context.CancelFunc
		derived, cancel = context.WithCancel(ctx)
		_ = cancel
		return nil
	}))
	<-leaked.Done()
	<-derived.Done()
	for i := range 1000 {
		who := []policy.Principal{alice, bob}[i%2]
		other := context.WithValue(t.Context(), key{}, i)
		require.NoError(t, e.Execute(other, writeAs(who), nothing))
	}
	require.Equal(t, "first", leaked.Value(key{}))
	require.ErrorIs(t, leaked.Err(), context.Canceled)
	ran := make(chan struct{})
	stop := context.AfterFunc(leaked, func() { close(ran) })
	<-ran
	require.False(t, stop())
}

// Principals that are used often keep a stock of contexts of their own: whatever the order
// in which they come and cool down, no two functions are given the same one.
func TestG3_ContextsOfOftenUsedPrincipals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		type key struct{}
		leaked := map[context.Context]int{}
		n := 0
		use := func(who policy.Principal, times int) {
			for range times {
				n++
				ctx := context.WithValue(t.Context(), key{}, n)
				require.NoError(t, e.Execute(ctx, writeAs(who), func(ctx context.Context) error {
					leaked[ctx] = n
					return nil
				}))
			}
		}
		for range 20 {
			use(alice, 100)
			time.Sleep(2 * time.Second)
			use(alice, 3)
			use(bob, 101)
			use(alice, 5)
			time.Sleep(2 * time.Second)
			use(bob, 2)
		}
		require.Len(t, leaked, n)
		for ctx, own := range leaked {
			require.Equal(t, own, ctx.Value(key{}))
			require.ErrorIs(t, ctx.Err(), context.Canceled)
		}
	})
}

func TestErrNested(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	type key struct{}
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(ctx context.Context) error {
		derived, cancel := context.WithTimeout(context.WithValue(ctx, key{}, 1), time.Minute)
		defer cancel()
		for _, c := range []context.Context{ctx, derived} {
			for _, who := range []policy.Principal{alice, bob} {
				require.Equal(t, actors.ErrNested, e.Execute(c, writeAs(who), nothing))
				_, err := e.Admit(c, writeAs(who))
				require.Equal(t, actors.ErrNested, err)
				_, err = e.Decide(c, writeAs(who))
				require.Equal(t, actors.ErrNested, err)
				_, err = e.DecideAll(c, []actors.Request{writeAs(who)})
				require.Equal(t, actors.ErrNested, err)
				_, err = e.Update(c, revoke(who, "writer"))
				require.Equal(t, actors.ErrNested, err)
				_, err = e.Leases(c, who)
				require.Equal(t, actors.ErrNested, err)
				_, err = e.Receipt(c, 1)
				require.Equal(t, actors.ErrNested, err)
				_, err = e.Record(c, who)
				require.Equal(t, actors.ErrNested, err)
				require.Equal(t, actors.ErrNested, e.View(c, func(policy.View) {}))
				require.Equal(t, actors.ErrNested, e.Close(c))
			}
		}
		return nil
	}))
	other := ordersEngine(t, actors.Options{})
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), func(ctx context.Context) error {
		return other.Execute(ctx, writeAs(alice), nothing)
	}), "a call of another engine is not nested")
}

func TestG3_Overload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{MaxQueued: 3})
		free := occupy(t, e, alice)
		results := make(chan error, 3)
		for range 3 {
			go func() { results <- e.Execute(t.Context(), writeAs(alice), nothing) }()
		}
		synctest.Wait()
		ran := false
		err := e.Execute(t.Context(), writeAs(alice), func(context.Context) error { ran = true; return nil })
		require.ErrorIs(t, err, actors.ErrOverloaded)
		require.ErrorIs(t, err, actors.ErrDenied, "deny is the answer to every doubt")
		require.NoError(t, e.Execute(t.Context(), writeAs(bob), nothing), "no other principal is overloaded")

		// A flooded principal is revoked at once: before anything that is queued.
		revoked := make(chan error)
		go func() { _, err := e.Update(t.Context(), revoke(alice, "writer")); revoked <- err }()
		synctest.Wait()
		free()
		require.NoError(t, <-revoked)
		for range 3 {
			require.ErrorIs(t, <-results, actors.ErrDenied)
		}
		require.False(t, ran)
	})
}

func TestACertificateThatIsNoLongerRevokedIsAccepted(t *testing.T) {
	e := newEngine(t, actors.Options{}, roleOf(t, "writer", permission(policy.Allow, "orders:write", "orders/**")))
	grant(t, e, alice, "writer")
	credential := actors.NewCredential([32]byte{2}, [32]byte{}, "2", time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour))
	id, err := policy.ByFingerprint(credential.Fingerprint())
	require.NoError(t, err)
	ask := func() policy.Reason {
		d, err := e.Decide(t.Context(), actors.Request{Principal: alice, Credential: credential, Action: "orders:write", Resource: "orders/1"})
		require.NoError(t, err)
		return d.Reason
	}
	for range 2 {
		require.Equal(t, policy.ReasonAllowed, ask())
		_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "lost")}})
		require.NoError(t, err)
		require.Equal(t, policy.ReasonCredentialRevoked, ask())
		_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.UnrevokeCertificate(id, "found")}})
		require.NoError(t, err)
	}
}

func TestG6_EveryDoubtDenies(t *testing.T) {
	cond, err := policy.ParseCondition("resource.properties.amount < 10")
	require.NoError(t, err)
	limited := permission(policy.Allow, "orders:limited", "**")
	limited.When = cond
	e := newEngine(t, actors.Options{},
		roleOf(t, "writer", permission(policy.Allow, "orders:write", "orders/**"), permission(policy.Deny, "orders:*", "orders/frozen"), limited),
		roleOf(t, "other", permission(policy.Allow, "other:do", "**")))
	grant(t, e, alice, "writer")
	expired := actors.NewCredential([32]byte{1}, [32]byte{}, "1", time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	ended := actors.NewCredential([32]byte{2}, [32]byte{}, "2", time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour))
	id, err := policy.ByFingerprint(ended.Fingerprint())
	require.NoError(t, err)
	_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "lost")}})
	require.NoError(t, err)

	cases := []struct {
		name   string
		req    actors.Request
		reason policy.Reason
	}{
		{"unknown principal", writeAs(bob), policy.ReasonUnknownPrincipal},
		{"zero principal", actors.Request{Action: "orders:write", Resource: "orders/1"}, policy.ReasonUnknownPrincipal},
		{"unknown action", actors.Request{Principal: alice, Action: "orders:eat", Resource: "orders/1"}, policy.ReasonNoPermission},
		{"action that no role names", actors.Request{Principal: alice, Action: "eat", Resource: "orders/1"}, policy.ReasonUnknownAction},
		{"another role's action", actors.Request{Principal: alice, Action: "other:do", Resource: "x"}, policy.ReasonNoPermission},
		{"other resource", actors.Request{Principal: alice, Action: "orders:write", Resource: "bills/1"}, policy.ReasonNoPermission},
		{"denied by a rule", actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/frozen"}, policy.ReasonDeniedByRule},
		{"no action", actors.Request{Principal: alice, Resource: "orders/1"}, policy.ReasonMalformed},
		{"no resource", actors.Request{Principal: alice, Action: "orders:write"}, policy.ReasonMalformed},
		{"condition without its property", actors.Request{Principal: alice, Action: "orders:limited", Resource: "orders/1"}, policy.ReasonConditionError},
		{"expired credential", actors.Request{Principal: alice, Credential: expired, Action: "orders:write", Resource: "orders/1"}, policy.ReasonCredentialExpired},
		{"revoked credential", actors.Request{Principal: alice, Credential: ended, Action: "orders:write", Resource: "orders/1"}, policy.ReasonCredentialRevoked},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := e.Execute(t.Context(), c.req, func(context.Context) error { t.Error("it ran"); return nil })
			require.ErrorIs(t, err, actors.ErrDenied)
			var denied *actors.DeniedError
			require.ErrorAs(t, err, &denied)
			require.Equal(t, c.reason, denied.Decision.Reason, denied.Error())
			require.Equal(t, e.Revision(), denied.Decision.Revision)
			_, err = e.Admit(t.Context(), c.req)
			require.ErrorIs(t, err, actors.ErrDenied)
			d, err := e.Decide(t.Context(), c.req)
			require.NoError(t, err)
			require.False(t, d.Allowed)
			require.Equal(t, c.reason, d.Reason)
		})
	}
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
}

func TestG6_PanicIsTheCallersError(t *testing.T) {
	for _, queued := range []bool{false, true} {
		t.Run(fmt.Sprintf("queued=%v", queued), func(t *testing.T) {
			e := ordersEngine(t, actors.Options{})
			for name, run := range runs(t, e) {
				inTurn(t, e, queued, func() {
					cause := errors.New("cause")
					err := run(func() error { panic(cause) })
					var p *actors.PanicError
					require.ErrorAs(t, err, &p, name)
					require.ErrorIs(t, err, cause)
					require.ErrorIs(t, err, actors.ErrPanicked)
					require.Contains(t, string(p.Stack), "TestG6_PanicIsTheCallersError")
				})
			}
			require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "the principal is as it was")
		})
	}
}

func TestG6_GoexitIsTheCallersError(t *testing.T) {
	t.Run("on the caller's goroutine", func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		for name, run := range runs(t, e) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = run(func() error { runtime.Goexit(); return nil })
				t.Errorf("%s: the goroutine went on", name)
			}()
			<-done
		}
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "the mailbox goes on")
	})
	t.Run("queued", func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		for name, run := range runs(t, e) {
			inTurn(t, e, true, func() {
				require.ErrorIs(t, run(func() error { runtime.Goexit(); return nil }), actors.ErrGoexit, name)
			})
		}
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "the queue goes on")
	})
}

// runs are the ways to run a function of alice in her turn.
func runs(t *testing.T, e *actors.Engine) map[string]func(func() error) error {
	return map[string]func(func() error) error{
		"Execute": func(f func() error) error {
			return e.Execute(t.Context(), writeAs(alice), func(context.Context) error { return f() })
		},
		"Do": func(f func() error) error { return e.Do(t.Context(), writeAs(alice), f) },
	}
}

// inTurn runs f, whose requests of alice queue behind another turn if so asked.
func inTurn(t *testing.T, e *actors.Engine, queued bool, f func()) {
	t.Helper()
	if !queued {
		f()
		return
	}
	free := occupy(t, e, alice)
	behind := make(chan struct{})
	go func() { defer close(behind); f() }()
	// The turn ends only when the request has had every chance to queue behind it; if it
	// came too late it runs on its own goroutine, and what is tested holds as well.
	for range 100 {
		runtime.Gosched()
	}
	free()
	<-behind
}

func TestG7_ASlowPrincipalDelaysNoOther(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	stranger := policy.MustPrincipal("spiffe://interlock.test/carol")
	free := occupy(t, e, alice)
	defer free()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, e.Execute(ctx, writeAs(bob), nothing))
	_, err := e.Update(ctx, revoke(bob, "writer"))
	require.NoError(t, err, "an update of bob waited for alice")
	_, err = e.Update(ctx, actors.Update{Changes: []policy.Change{
		policy.PutRole(roleOf(t, "reader", permission(policy.Allow, "orders:read", "**")), ""),
		policy.GrantRole(policy.Grant{Principal: stranger, Role: "reader"}),
	}})
	require.NoError(t, err, "an update of a role that alice lacks waited for alice")
	require.NoError(t, e.Execute(ctx, actors.Request{Principal: stranger, Action: "orders:read", Resource: "x"}, nothing), "an activation waited for alice")
	_, err = e.Update(ctx, actors.Update{Changes: []policy.Change{policy.PutRole(roleOf(t, "reader"), "")}})
	require.NoError(t, err, "an update of a role that alice lacks waited for alice")
}

func TestDecideAllIsOneTurnForEachPrincipal(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	stranger := policy.MustPrincipal("user:mallory")
	decisions, err := e.DecideAll(t.Context(), []actors.Request{
		writeAs(alice), writeAs(stranger), writeAs(bob),
		{Principal: alice, Action: "orders:read", Resource: "orders/1"},
	})
	require.NoError(t, err)
	var allowed []string
	for _, d := range decisions {
		allowed = append(allowed, fmt.Sprint(d.Allowed, " ", d.Reason))
	}
	require.Equal(t, []string{"true allowed", "false unknown-principal", "true allowed", "false no-permission"}, allowed)
	none, err := e.DecideAll(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestExplanationNamesGrantAndRole(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	d, err := e.Decide(t.Context(), writeAs(alice))
	require.NoError(t, err)
	ex := d.Explain()
	require.Equal(t, "writer", ex.Role)
	require.Equal(t, alice, ex.Grant.Principal)
	require.True(t, strings.HasPrefix(ex.String(), "allowed by role writer"), ex.String())
	require.InDelta(t, time.Now().UnixNano(), d.Time, float64(3*time.Second))
}

func TestManyCallersOnFewPrincipals(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	counts := map[policy.Principal]*int{alice: new(int), bob: new(int)}
	var callers sync.WaitGroup
	for i := range 64 {
		who := []policy.Principal{alice, bob}[i%2]
		callers.Go(func() {
			for range 500 {
				err := e.Execute(context.Background(), writeAs(who), func(context.Context) error {
					*counts[who]++ // serialized by the turn, which the race detector checks
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	require.Equal(t, 16000, *counts[alice])
	require.Equal(t, 16000, *counts[bob])
}
