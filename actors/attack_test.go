package actors_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// readAs asks for what the role reader allows.
func readAs(who policy.Principal) actors.Request {
	return actors.Request{Principal: who, Action: "orders:read", Resource: "orders/1"}
}

// twoRolesEngine has the roles writer and reader, both held by alice.
func twoRolesEngine(t testing.TB) *actors.Engine {
	e := newEngine(t, actors.Options{}, writerRole(t), roleOf(t, "reader", permission(policy.Allow, "orders:read", "**")))
	grant(t, e, alice, "writer", "reader")
	return e
}

// A revocation with a long grace after one with a shorter: each lease's own
// timer has to go off.
func TestAttackGracesOfSeveralLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := twoRolesEngine(t)
		old, young := admit(t, e, writeAs(alice)), admit(t, e, readAs(alice))
		defer old.Release()
		defer young.Release()
		for i, role := range []string{"writer", "reader"} {
			u := revoke(alice, role)
			u.Grace = new([]time.Duration{3 * time.Second, 10 * time.Second}[i])
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := e.Update(ctx, u)
			require.ErrorIs(t, err, actors.ErrNotQuiesced)
			cancel()
		}
		time.Sleep(4 * time.Second)
		require.ErrorIs(t, old.Context().Err(), actors.ErrRevoked)
		require.NoError(t, young.Context().Err(), "its grace is not over")
		time.Sleep(7 * time.Second)
		require.ErrorIs(t, young.Context().Err(), actors.ErrRevoked, "the timer of its grace was lost")
	})
}

// That something else expires meanwhile does not cut a grace short.
func TestAttackExpiryDuringAGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := twoRolesEngine(t)
		_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.GrantRole(
			policy.Grant{Principal: alice, Role: "reader", Expires: time.Now().Add(3 * time.Second)})}})
		require.NoError(t, err)
		l := admit(t, e, writeAs(alice))
		defer l.Release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		u := revoke(alice, "writer")
		u.Grace = new(20 * time.Second)
		_, err = e.Update(ctx, u)
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		time.Sleep(10 * time.Second)
		require.NoError(t, l.Context().Err(), "the expiry of another grant ended the grace")
		time.Sleep(11 * time.Second)
		require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
	})
}

// A precondition is a user's function too: its panic or Goexit is its caller's error, and
// the authority goes on.
func TestAttackPreconditionsThatDoNotReturn(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	before := e.Revision()
	for name, end := range map[string]func(){"panic": func() { panic("mine") }, "goexit": runtime.Goexit} {
		want := map[string]error{"panic": actors.ErrPanicked, "goexit": actors.ErrGoexit}[name]
		u := revoke(alice, "writer")
		u.Before = func(policy.View) error { end(); return nil }
		_, err := e.Update(short(), u)
		require.ErrorIs(t, err, want)
		_, err = e.Preview(short(), u)
		require.ErrorIs(t, err, want)
		u = revoke(alice, "writer")
		u.After = func(_, _ policy.View) error { end(); return nil }
		_, err = e.Update(short(), u)
		require.ErrorIs(t, err, want)
	}
	require.Equal(t, before, e.Revision())
	_, err := e.Update(short(), revoke(bob, "writer"))
	require.NoError(t, err, "the authority died of a precondition")
}

// A context never changes an answer, and Err is nil as long as Done is open.
func TestAttackTurnContextIsConsistent(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	for _, ask := range []bool{false, true} {
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(200*time.Millisecond))
		defer cancel()
		var leaked context.Context
		var done <-chan struct{}
		require.NoError(t, e.Execute(ctx, writeAs(alice), func(own context.Context) error {
			leaked = own
			if ask {
				done = own.Done()
			}
			<-ctx.Done()
			require.Equal(t, context.DeadlineExceeded, own.Err())
			select {
			case <-own.Done():
			default:
				t.Error("Err said that it is over, and Done is open")
			}
			if !ask {
				done = own.Done()
			}
			return nil
		}))
		require.Equal(t, context.DeadlineExceeded, leaked.Err(), "the error changed when the turn ended")
		require.Equal(t, done, leaked.Done(), "the channel changed when the turn ended")
	}
}

// While a lease loses its authority, its parent ends and it is released, everybody who
// looks sees one error, and Done closed with it.
func TestAttackLeaseContextUnderFire(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	for i := range 300 {
		parent, cancel := context.WithCancelCause(t.Context())
		l, err := e.Admit(parent, writeAs(alice))
		require.NoError(t, err)
		ctx := l.Context()
		if i%2 == 0 {
			_ = ctx.Done()
		}
		called := make(chan struct{})
		context.AfterFunc(ctx, func() { close(called) })
		child, end := context.WithCancel(ctx)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				var first error
				for first == nil {
					if first = ctx.Err(); first == nil {
						runtime.Gosched()
					}
				}
				select {
				case <-ctx.Done():
				default:
					t.Errorf("Err is %v, and Done is open", first)
				}
				if again := ctx.Err(); again != first {
					t.Errorf("Err was %v and is %v", first, again)
				}
			})
		}
		all.Go(func() { cancel(nil) })
		all.Go(l.Release)
		all.Go(l.Release)
		all.Wait()
		<-child.Done()
		<-called
		end()
	}
}

// Why a lease lost its authority stays the cause when its parent ends later.
func TestAttackCauseOfALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		parent, cancel := context.WithCancelCause(t.Context())
		l, err := e.Admit(parent, writeAs(alice))
		require.NoError(t, err)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		_, err = e.Update(ctx, revoke(alice, "writer"))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		other, err := e.Admit(parent, writeAs(bob))
		require.NoError(t, err)
		child, end := context.WithCancel(other.Context())
		defer end()
		mine := errors.New("mine")
		cancel(mine)
		require.ErrorIs(t, context.Cause(l.Context()), actors.ErrRevoked)
		require.Equal(t, mine, context.Cause(other.Context()), "its parent's cause is its own")
		<-child.Done()
		require.Equal(t, mine, context.Cause(child))
		l.Release()
		other.Release()
	})
}

// A context that passed through another engine's turn is still derived from the first's.
func TestAttackNestedThroughAnotherEngine(t *testing.T) {
	e, other := ordersEngine(t, actors.Options{}), ordersEngine(t, actors.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	require.NoError(t, e.Execute(ctx, writeAs(alice), func(ctx context.Context) error {
		require.NoError(t, other.Execute(ctx, writeAs(alice), func(ctx context.Context) error {
			require.Equal(t, actors.ErrNested, e.Execute(ctx, writeAs(alice), nothing))
			require.Equal(t, actors.ErrNested, other.Execute(ctx, writeAs(alice), nothing))
			return nil
		}))
		l, err := other.Admit(ctx, writeAs(alice))
		require.NoError(t, err)
		defer l.Release()
		grant(t, other, bob, "frozen")
		require.Equal(t, actors.ErrNested, e.Execute(l.Context(), writeAs(alice), nothing))
		revision, ok := actors.RevisionOf(l.Context())
		require.True(t, ok)
		require.Equal(t, l.Decision().Revision, revision)
		return nil
	}))
}

// hostile is a value among the properties whose methods do not return.
type hostile struct {
	types.Bool
	end func()
}

func (h hostile) Equal(ref.Val) ref.Val { h.end(); return types.True }

// A condition that looks at a value whose methods panic, or end the goroutine, does harm
// to no one but the caller.
func TestAttackHostileProperties(t *testing.T) {
	when, err := policy.ParseCondition("resource.properties.x == 1")
	require.NoError(t, err)
	p := permission(policy.Allow, "orders:odd", "**")
	p.When = when
	e := newEngine(t, actors.Options{}, roleOf(t, "writer", permission(policy.Allow, "orders:write", "**"), p))
	grant(t, e, alice, "writer")
	for name, end := range map[string]func(){"panic": func() { panic("mine") }, "goexit": runtime.Goexit} {
		for _, queued := range []bool{false, true} {
			req := actors.Request{Principal: alice, Action: "orders:odd", Resource: "x", Properties: &policy.Properties{
				Resource: map[string]any{"x": hostile{end: end}}}}
			for kind, ask := range map[string]func(context.Context) error{
				"Execute":   func(ctx context.Context) error { return e.Execute(ctx, req, nothing) },
				"Do":        func(ctx context.Context) error { return e.Do(ctx, req, func() error { return nil }) },
				"Admit":     func(ctx context.Context) error { _, err := e.Admit(ctx, req); return err },
				"Decide":    func(ctx context.Context) error { _, err := e.Decide(ctx, req); return err },
				"DecideAll": func(ctx context.Context) error { _, err := e.DecideAll(ctx, []actors.Request{req}); return err },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				free := func() {}
				if queued {
					free = occupy(t, e, alice)
				}
				over := make(chan struct{})
				go func() {
					defer close(over)
					_ = ask(ctx)
				}()
				if queued {
					for range 100 {
						runtime.Gosched()
					}
				}
				free()
				select {
				case <-over:
				case <-time.After(10 * time.Second):
					t.Fatalf("%s of %s, queued %v: its caller waits for ever", name, kind, queued)
				}
				cancel()
				// A turn that failed denies until the principal is passivated, which a mailbox
				// that is busy yet is not.
				ctx, cancel = context.WithTimeout(t.Context(), time.Second)
				for err := actors.ErrFault; err != nil; {
					require.NoError(t, ctx.Err(), "%s of %s, queued %v: %v", name, kind, queued, err)
					actors.PassivateAll(e)
					err = e.Execute(ctx, writeAs(alice), nothing)
				}
				cancel()
			}
		}
	}
}

// Close under the context of a lease cannot wait for that lease.
func TestAttackCloseUnderItsOwnLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		l, err := e.Admit(ctx, writeAs(alice))
		require.NoError(t, err)
		began := time.Now()
		err = e.Close(l.Context())
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.Less(t, time.Since(began), time.Minute, "it waited for its own caller")
		require.ErrorIs(t, l.Context().Err(), actors.ErrClosed)
		l.Release()
	})
}

// An update that waits behind another one has not been taken by the log: when its context
// ends it is not applied, now or later.
func TestAttackUpdateAbandonedBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log})
		log.close()
		ahead := make(chan error, 1)
		go func() { _, err := e.Update(t.Context(), granting(alice, "writer")); ahead <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Update(ctx, granting(bob, "writer"))
		require.Equal(t, context.DeadlineExceeded, err)
		require.NoError(t, log.open())
		require.NoError(t, <-ahead)
		synctest.Wait()
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(bob), nothing), actors.ErrDenied)
		grant(t, e, bob, "writer")
		require.NoError(t, e.Execute(t.Context(), writeAs(bob), nothing))
	})
}

// recordHook is a log that lets the test act when a record is read.
type recordHook struct {
	*gatedLog
	hook atomic.Pointer[func()]
}

func (h *recordHook) Record(p policy.Principal) (*policy.Record, error) {
	r, err := h.Memory.Record(p)
	if f := h.hook.Load(); f != nil {
		(*f)()
		return h.Memory.Record(p)
	}
	return r, err
}

// A mailbox that is opening holds no lease: an update need not wait until it is open,
// which may take until the log has kept a later update.
func TestAttackUpdateDoesNotWaitForOpeningMailboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &recordHook{gatedLog: newGatedLog(t, writerRole(t))}
		e := newEngine(t, actors.Options{Log: log})
		grant(t, e, alice, "writer")
		log.hold()
		applied, reads := make(chan struct{}), 0
		hook := func() {
			if reads++; reads == 2 { // the first is about strangers
				<-applied
			}
		}
		log.hook.Store(&hook)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { _, err := e.Update(t.Context(), revoke(alice, "writer")); first <- err }()
		synctest.Wait()
		decided := make(chan bool, 1)
		go func() {
			d, err := e.Decide(t.Context(), writeAs(alice))
			require.NoError(t, err)
			decided <- d.Allowed
		}()
		synctest.Wait()
		go func() { _, err := e.Update(t.Context(), granting(alice, "writer")); second <- err }()
		synctest.Wait()
		log.letFirstGo()
		synctest.Wait()
		close(applied) // the activation reads what the second update made
		synctest.Wait()
		select {
		case err := <-first:
			require.NoError(t, err)
		default:
			t.Error("an update waits for a mailbox that waits for the next update")
		}
		log.letGo()
		require.NoError(t, <-second)
		require.True(t, <-decided)
	})
}

// An activation that waits for the log when the engine is closed gives up, and does not
// read a log that its owner may have closed by then.
func TestAttackCloseDuringAnActivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &recordHook{gatedLog: newGatedLog(t, writerRole(t))}
		e := newEngine(t, actors.Options{Log: log})
		grant(t, e, alice, "writer")
		log.hold()
		updated, executed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := e.Update(t.Context(), revoke(alice, "writer")); updated <- err }()
		synctest.Wait()
		go func() { executed <- e.Execute(context.Background(), writeAs(alice), nothing) }()
		synctest.Wait()
		hook := func() { t.Error("the log of a closed engine is read") }
		log.hook.Store(&hook)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = e.Close(ctx)
		require.ErrorIs(t, <-executed, actors.ErrClosed)
		err := <-updated
		require.ErrorIs(t, err, oplog.ErrOutcomeUnknown)
		require.ErrorIs(t, err, actors.ErrClosed)
		log.letGo()
		time.Sleep(time.Minute) // protoactor looks after its dead letters
	})
}

// Callers without deadlines, long turns and short ones, functions that end their
// goroutine, leases released from other turns: no caller waits forever.
func TestAttackNoCallerWaitsForever(t *testing.T) {
	const callers, rounds = 8, 3000
	e := ordersEngine(t, actors.Options{})
	background := context.Background()
	over, stop := context.WithCancel(t.Context())
	var all, others sync.WaitGroup
	others.Go(func() {
		for over.Err() == nil {
			actors.PassivateAll(e)
			if _, err := e.Leases(background, alice); err != nil {
				t.Error(err)
			}
			if _, err := e.Update(background, actors.Update{Changes: []policy.Change{policy.PutRole(roleOf(t, "frozen"), "")}}); err != nil {
				t.Error(err)
			}
		}
	})
	for c := range callers {
		all.Go(func() {
			for i := range rounds {
				who, other := alice, bob
				if (c+i)%4 == 0 {
					who, other = bob, alice
				}
				ran := make(chan struct{})
				go func() {
					defer close(ran)
					_ = e.Execute(background, writeAs(who), func(context.Context) error {
						switch {
						case i%50 == 0:
							for began := time.Now(); time.Since(began) < 200*time.Microsecond; {
								runtime.Gosched()
							}
						case i%7 == 0:
							runtime.Goexit()
						}
						return nil
					})
				}()
				l, err := e.Admit(background, writeAs(who))
				if err == nil {
					err = e.Execute(background, writeAs(other), func(context.Context) error { l.Release(); return nil })
				}
				if err != nil {
					t.Error(err)
				}
				<-ran
			}
		})
	}
	watch := time.AfterFunc(20*time.Second, func() { panic("a caller waits forever") })
	all.Wait()
	stop()
	others.Wait()
	watch.Stop()
	requireIdle(t, e)
}

// requireIdle checks that every mailbox comes to rest, now that no caller uses it: a turn may
// be ending still, and an errand clear away what was abandoned.
func requireIdle(t testing.TB, e *actors.Engine) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); e.Active() > 0; runtime.Gosched() {
		actors.PassivateAll(e)
		require.True(t, time.Now().Before(end), "a mailbox is not idle although no caller uses it")
	}
}

// letFirstGo delivers the first group only and goes on holding.
func (g *gatedLog) letFirstGo() {
	g.mu.Lock()
	first := g.held[0]
	g.held = g.held[1:]
	g.mu.Unlock()
	g.events.Deliver(first)
}

// Everything at once: operations of all kinds with contexts that end at any time, panics
// and Goexit, leases released anywhere, updates, revoked certificates, passivation. At
// the end nothing hangs, is left over, or ran without the right to.
func TestAttackStorm(t *testing.T) {
	const principals, rounds = 4, 250
	e := newEngine(t, actors.Options{MaxQueued: 64}, writerRole(t), roleOf(t, "other"))
	who := make([]policy.Principal, principals)
	allowed := make([]atomic.Bool, principals) // false once a revocation was acknowledged
	for i := range who {
		who[i] = policy.MustPrincipal(fmt.Sprintf("user:storm-%d", i))
		grant(t, e, who[i], "writer")
		allowed[i].Store(true)
	}
	over, stop := context.WithCancel(t.Context())
	var callers, updaters sync.WaitGroup
	for c := range 6 {
		callers.Go(func() {
			for i := 0; over.Err() == nil; i++ {
				n := (i*7 + c) % principals
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%5+1)*50*time.Microsecond)
				switch i % 6 {
				case 0, 1:
					_ = e.Execute(ctx, writeAs(who[n]), func(context.Context) error {
						if !allowed[n].Load() {
							t.Error("an operation ran after its revocation had been acknowledged")
						}
						return nil
					})
				case 2:
					_ = e.Execute(ctx, writeAs(who[n]), func(context.Context) error { panic("mine") })
				case 3:
					done := make(chan struct{})
					go func() {
						defer close(done)
						_ = e.Execute(ctx, writeAs(who[n]), func(context.Context) error { runtime.Goexit(); return nil })
					}()
					<-done
				case 4:
					if l, err := e.Admit(ctx, writeAs(who[n])); err == nil {
						if !allowed[n].Load() && l.Context().Err() == nil {
							t.Error("a lease has its authority after the revocation had been acknowledged")
						}
						_ = e.Execute(context.Background(), writeAs(who[(n+1)%principals]), func(context.Context) error {
							l.Release()
							return nil
						})
						l.Release()
					}
				default:
					_, _ = e.DecideAll(ctx, []actors.Request{writeAs(who[n]), writeAs(who[(n+1)%principals])})
				}
				cancel()
			}
		})
	}
	for n := range principals {
		updaters.Go(func() {
			for i := range rounds {
				ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
				if _, err := e.Update(ctx, revoke(who[n], "writer")); err != nil {
					t.Error("revoking:", err)
				}
				allowed[n].Store(false)
				runtime.Gosched()
				allowed[n].Store(true)
				if _, err := e.Update(ctx, granting(who[n], "writer")); err != nil {
					t.Error("granting:", err)
				}
				if i%10 == 0 {
					if _, err := e.Update(ctx, actors.Update{Changes: []policy.Change{policy.PutRole(roleOf(t, "other"), "")}}); err != nil {
						t.Error("putting a role:", err)
					}
				}
				if i%3 == 0 {
					actors.PassivateAll(e)
				}
				cancel()
			}
		})
	}
	updaters.Wait()
	stop()
	callers.Wait()
	left, err := e.Leases(t.Context(), policy.Principal{})
	require.NoError(t, err)
	require.Empty(t, left)
	requireIdle(t, e)
}

// Close in the middle of everything: whoever calls gets an answer, and Close ends.
func TestAttackCloseInTheMiddle(t *testing.T) {
	for range 30 {
		e := ordersEngine(t, actors.Options{})
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		var all sync.WaitGroup
		for c := range 4 {
			w := []policy.Principal{alice, bob}[c%2]
			all.Go(func() {
				for e.Execute(ctx, writeAs(w), nothing) == nil {
					if l, err := e.Admit(ctx, writeAs(w)); err == nil {
						go l.Release()
					}
				}
			})
			all.Go(func() {
				for i := 0; ; i++ {
					who := policy.MustPrincipal(fmt.Sprintf("user:%d-%d", c, i))
					if _, err := e.Update(ctx, granting(who, "writer")); err != nil {
						return
					}
					if e.Execute(ctx, writeAs(who), nothing) != nil {
						return
					}
				}
			})
		}
		require.NoError(t, e.Close(ctx))
		all.Wait()
		require.NoError(t, ctx.Err(), "a caller was left waiting")
		cancel()
	}
}
