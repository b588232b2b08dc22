package actors

import (
	"context"
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

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

func user(n int) policy.Principal { return policy.MustPrincipal(fmt.Sprintf("user:%d", n)) }

// crowd makes the principals 0 to n-1 active, each with the role a.
func crowd(t testing.TB, e *Engine, n int) {
	t.Helper()
	var changes []policy.Change
	for i := range n {
		changes = append(changes, policy.GrantRole(policy.Grant{Principal: user(i), Role: "a"}))
	}
	change(t, e, changes...)
	for i := range n {
		require.NoError(t, e.Execute(t.Context(), as(i, "do:a"), func(context.Context) error { return nil }))
	}
}

func as(n int, action string) Request {
	return Request{Principal: user(n), Action: action, Resource: "x"}
}

func change(t testing.TB, e *Engine, changes ...policy.Change) Receipt {
	t.Helper()
	r, err := e.Update(t.Context(), Update{Changes: changes})
	require.NoError(t, err)
	return r
}

func lookup(e *Engine, who policy.Principal) *principal {
	return e.directory.get(who)
}

// blockSweeper keeps the sweeper from sweeping until release is called.
func blockSweeper(e *Engine) (release func()) {
	s := e.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = make(chan struct{})
	return func() { s.run() }
}

// A change of a role that many hold visits the principals that run something, and leaves the
// others alone.
func TestG7_AnUpdateVisitsOnlyWhatRuns(t *testing.T) {
	e := attackEngine(t, nil)
	crowd(t, e, 500)
	lease, err := e.Admit(t.Context(), as(7, "do:a"))
	require.NoError(t, err)
	context.AfterFunc(lease.Context(), lease.Release)
	turns := map[int]uint32{}
	for i := range 500 {
		turns[i] = lookup(e, user(i)).state.Load()
	}
	r := change(t, e, policy.PutRole(attackRole(t, "a", "do:nothing"), ""))
	require.Equal(t, 1, r.EndedCount)
	for i, before := range turns {
		if i != 7 {
			require.Equal(t, before, lookup(e, user(i)).state.Load(), "the update gave principal %d a turn", i)
		}
		require.ErrorIs(t, e.Execute(t.Context(), as(i, "do:a"), func(context.Context) error { return nil }), ErrDenied)
	}
}

// While a change of a role has not reached its holders, other updates return, others are
// activated, and new turns of the holders decide by the change.
func TestG7_ASweepDelaysNoOtherUpdateAndNoActivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := attackEngine(t, nil)
		crowd(t, e, 10)
		lease, err := e.Admit(t.Context(), as(1, "do:a"))
		require.NoError(t, err)
		context.AfterFunc(lease.Context(), lease.Release)
		release := blockSweeper(e)
		receipt := background(e, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:nothing"), "")}})
		synctest.Wait()
		require.ErrorIs(t, e.Execute(t.Context(), as(1, "do:a"), nothingToDo), ErrDenied)
		change(t, e, policy.RevokeRole(policy.Grant{Principal: user(2), Role: "a"}))
		change(t, e, policy.GrantRole(policy.Grant{Principal: user(99), Role: "b"}))
		require.NoError(t, e.Execute(t.Context(), as(99, "do:b"), nothingToDo))
		synctest.Wait()
		require.Empty(t, receipt, "the update returned while a lease that it forbids was alive")
		require.NoError(t, lease.Context().Err())
		release()
		require.Equal(t, 1, (<-receipt).EndedCount)
	})
}

func nothingToDo(context.Context) error { return nil }

// background makes an update and sends its receipt.
func background(e *Engine, u Update) <-chan Receipt {
	receipt := make(chan Receipt, 1)
	go func() {
		r, _ := e.Update(context.Background(), u)
		receipt <- r
	}()
	return receipt
}

// One sweep serves a revision that takes a permission and one that gives it back. It ends what
// was admitted before the first, and not what was admitted after the second.
func TestG2_ASweepOfTwoRevisionsJudgesByEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := attackEngine(t, nil)
		before, err := e.Admit(t.Context(), doing("do:a"))
		require.NoError(t, err)
		release := blockSweeper(e)
		first := background(e, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:nothing"), "")}})
		synctest.Wait()
		second := background(e, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:a"), "")}})
		synctest.Wait()
		after, err := e.Admit(t.Context(), doing("do:a"))
		require.NoError(t, err)
		defer after.Release()
		release()
		synctest.Wait()
		require.ErrorIs(t, before.Context().Err(), ErrRevoked, "the second revision reprieved it")
		require.NoError(t, after.Context().Err(), "it was judged by a revision before its own")
		before.Release()
		require.Equal(t, 1, (<-first).EndedCount)
		require.Equal(t, 1, (<-second).EndedCount)
	})
}

// A grant expires before the sweep of a change of its role has come by: the sweep still finds
// the principal, and the grace of the change counts.
func TestG2_AGrantExpiresBeforeASweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := attackEngine(t, nil)
		change(t, e, policy.GrantRole(policy.Grant{Principal: eve, Role: "b", Expires: time.Now().Add(3 * time.Second)}))
		l, err := e.Admit(t.Context(), doing("do:b"))
		require.NoError(t, err)
		release := blockSweeper(e)
		receipt := background(e, Update{Grace: new(20 * time.Second), Changes: []policy.Change{policy.PutRole(attackRole(t, "b", "do:nothing"), "")}})
		time.Sleep(10 * time.Second)
		require.NoError(t, l.Context().Err(), "the expiry took the grace of the update")
		release()
		time.Sleep(21 * time.Second)
		require.ErrorIs(t, l.Context().Err(), ErrRevoked)
		l.Release()
		require.Equal(t, 1, (<-receipt).EndedCount)
	})
}

// A lease is admitted by the old table after an update has been delivered in part. The sweep
// comes after the publication, so it finds the lease.
func TestG2_ASweepComesAfterThePublication(t *testing.T) {
	e := attackEngine(t, nil)
	require.NoError(t, e.Execute(t.Context(), doing("do:a"), nothingToDo))
	e.receipts.mu.Lock() // delivery waits for it before it publishes
	receipt := background(e, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:nothing"), "")}})
	until(t, func() bool {
		e.callers.mu.Lock()
		defer e.callers.mu.Unlock()
		return len(e.callers.by) == 0
	})
	for range 10_000 {
		runtime.Gosched() // what would sweep now has the time to do so
	}
	l, err := e.Admit(t.Context(), doing("do:a"))
	e.receipts.mu.Unlock()
	require.NoError(t, err)
	until(t, func() bool { return l.Context().Err() != nil })
	require.Empty(t, receipt)
	l.Release()
	require.Equal(t, 1, (<-receipt).EndedCount)
}

// An activation that waits for the store is not waited for by updates of what it will hold.
func TestG7_AnUpdateDoesNotWaitForAnActivation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &hookedLog{}
		e := attackEngine(t, func(m *oplog.Memory) oplog.Log { log.Memory = m; return log })
		reads, read := 0, make(chan struct{})
		log.read = func(*policy.Record) {
			if reads++; reads == 2 {
				<-read
			}
		}
		result := make(chan error, 1)
		go func() { result <- e.Execute(context.Background(), doing("do:a"), nothingToDo) }()
		synctest.Wait()
		change(t, e, policy.PutRole(attackRole(t, "a", "do:nothing"), ""))
		change(t, e, policy.RevokeRole(policy.Grant{Principal: eve, Role: "a"}))
		close(read)
		require.ErrorIs(t, <-result, ErrDenied, "the activation missed an update")
	})
}

// The record that an activation reads is older than an update that is delivered before the
// activation goes on.
func TestG4_AnActivationMissesNoRecord(t *testing.T) {
	log := &hookedLog{}
	e := attackEngine(t, func(m *oplog.Memory) oplog.Log { log.Memory = m; return log })
	reads := 0
	log.read = func(*policy.Record) {
		if reads++; reads == 2 {
			change(t, e, policy.RevokeRole(policy.Grant{Principal: eve, Role: "a"}))
		}
	}
	require.ErrorIs(t, e.Execute(t.Context(), doing("do:a"), nothingToDo), ErrDenied)
}

// manyRounds is how often a window of some nanoseconds is tried. The race detector makes a round
// ten times as slow, and the windows no wider, so make test tries them without it too.
func manyRounds() int {
	switch {
	case WithRaceDetector:
		return 5_000
	case Soak():
		return 10_000_000
	}
	return 300_000
}

// rounds runs two functions at the same time, again and again, shifted against each other,
// and check after each round.
func rounds(n int, a, b func(round int), check func()) {
	var arrived atomic.Int64
	meet := func(target int64) {
		arrived.Add(1)
		for tries := 0; arrived.Load() < target; tries++ {
			if tries > 1000 {
				runtime.Gosched()
			}
		}
	}
	var both sync.WaitGroup
	for i, f := range []func(int){a, b} {
		both.Go(func() {
			for r := range n {
				meet(int64(4*r + 2))
				_ = pause((r * (i + 1) * 7) % 64)
				f(r)
				meet(int64(4*r + 4))
				if i == 0 {
					check()
				}
			}
		})
	}
	both.Wait()
}

// A turn never decides by a table without the record of its revision.
func TestG1_ATurnHasTheRecordOfItsTable(t *testing.T) {
	e := attackEngine(t, nil)
	require.NoError(t, e.Execute(t.Context(), doing("do:a"), nothingToDo))
	p := lookup(e, eve)
	table, grants := e.Table(), p.record.Grants
	base := table.Revision()
	rounds(manyRounds(), func(r int) {
		number := base + uint64(r) + 1
		table = table.Next(number, nil, nil)
		tracker := newTracker(number)
		tracker.expectTurn(p)
		m := &recordChange{acknowledgment: acknowledgment{tracker: tracker, of: p}, record: &policy.Record{Revision: number, Grants: grants},
			revision: &revision{number: number, table: table, tracker: tracker}}
		p.control.push(&node{message: m})
		e.shared.published.Store(table)
	}, func(int) {
		if !p.acquire() {
			return
		}
		var at moment
		p.begin(&at)
		if at.table.Revision() > base && p.record.Revision < at.table.Revision() {
			t.Errorf("table of %d, record of %d", at.table.Revision(), p.record.Revision)
		}
		p.finish()
	}, func() {})
}

// What is posted while a turn ends is handled: see the invariants of mailbox.
func TestMailboxLosesNoMessage(t *testing.T) {
	var m mailbox
	end := func() {
		for {
			switch m.end(nil) {
			case ownsControl:
				m.control.take()
			case startErrand:
				if e := (&errand{}); m.arrive(e) {
					for c := m.next(); c != nil; c = m.next() {
						m.requests.ran(false)
					}
					continue
				}
				return
			default:
				return
			}
		}
	}
	rounds(2*manyRounds(), func(int) {
		if m.acquire() {
			end()
		}
	}, func(r int) {
		if r%2 == 0 {
			m.control.push(&node{})
			if !m.isRunning() && m.acquireControl() {
				end()
			}
			return
		}
		m.requests.push(&call{}, 10)
		if m.schedule() {
			if e := (&errand{}); m.arrive(e) {
				for c := m.next(); c != nil; c = m.next() {
					m.requests.ran(false)
				}
				end()
			}
		}
	}, func() {
		if !m.control.empty() || m.queued() {
			t.Error("a message is left in an idle mailbox")
			end()
		}
	})
}

// hookedValue is a value of a request's properties that calls f when a condition reads it.
type hookedValue struct {
	types.String
	f func()
}

// Equal implements [ref.Val].
func (h hookedValue) Equal(ref.Val) ref.Val { h.f(); return types.True }

func (h hookedValue) in(who policy.Principal) Request {
	return Request{Principal: who, Action: "do:c", Resource: "x",
		Properties: &policy.Properties{Resource: map[string]any{"value": h}}}
}

// conditionalRole allows do:c under a condition that reads resource.properties.value.
func conditionalRole(t testing.TB, name string) *policy.Role {
	t.Helper()
	when, err := policy.ParseCondition("resource.properties.value == 'x'")
	require.NoError(t, err)
	r := attackRole(t, name, "do:c")
	p := r.Permissions()[0]
	p.When = when
	role, err := policy.NewRole(name, nil, []policy.Permission{p})
	require.NoError(t, err)
	return role
}

// Conditions of the leases of some principals do not return; another's lease is canceled, and
// its update returns.
func TestG7_ConditionsOfLeasesDelayOnlyTheirOwner(t *testing.T) {
	e := attackEngine(t, nil)
	change(t, e, policy.PutRole(conditionalRole(t, "slow"), ""))
	var blocking atomic.Bool
	open := make(chan struct{})
	const stuck = 8
	for i := range stuck {
		change(t, e, policy.GrantRole(policy.Grant{Principal: user(i), Role: "slow"}))
		l, err := e.Admit(t.Context(), hookedValue{"x", func() {
			if blocking.Load() {
				<-open
			}
		}}.in(user(i)))
		require.NoError(t, err)
		defer l.Release()
	}
	change(t, e, policy.GrantRole(policy.Grant{Principal: eve, Role: "b"}))
	lease, err := e.Admit(t.Context(), doing("do:b"))
	require.NoError(t, err)
	context.AfterFunc(lease.Context(), lease.Release)
	blocking.Store(true)
	before := e.Revision()
	var slow sync.WaitGroup
	slow.Go(func() {
		_, _ = e.Update(context.Background(), Update{Changes: []policy.Change{policy.PutRole(conditionalRole(t, "slow"), "")}})
	})
	until(t, func() bool { return e.Revision() > before })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = e.Update(ctx, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "b", "do:nothing"), "")}})
	require.NoError(t, err, "the conditions of others delayed it")
	require.ErrorIs(t, lease.Context().Err(), ErrRevoked)
	close(open)
	slow.Wait()
}

// A value that a condition reads ends the goroutine, in every turn that judges a lease.
func TestG6_GoexitInAConditionOfALease(t *testing.T) {
	e := attackEngine(t, nil)
	change(t, e, policy.PutRole(conditionalRole(t, "slow"), ""))
	var exits atomic.Bool
	hook := func() {
		if exits.Load() {
			runtime.Goexit()
		}
	}
	const broken = 8 // more than the pool has workers
	for i := range broken {
		change(t, e, policy.GrantRole(policy.Grant{Principal: user(i), Role: "slow"}))
		l, err := e.Admit(t.Context(), hookedValue{"x", hook}.in(user(i)))
		require.NoError(t, err)
		context.AfterFunc(l.Context(), l.Release)
	}
	exits.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := e.Update(ctx, Update{Changes: []policy.Change{policy.PutRole(conditionalRole(t, "slow"), "")}})
	require.NoError(t, err, "a mailbox stays owned, or a worker is gone")
	require.Equal(t, broken, r.EndedCount, "what cannot be judged is denied")
	exits.Store(false)
	lease, err := e.Admit(ctx, doing("do:a"))
	require.NoError(t, err)
	context.AfterFunc(lease.Context(), lease.Release)
	_, err = e.Update(ctx, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:nothing"), "")}})
	require.NoError(t, err, "the pool does not work any more")
	until(t, func() bool {
		return e.Execute(ctx, hookedValue{"x", hook}.in(user(0)), func(context.Context) error { return nil }) == nil
	})
}

// A grace is cut short only by an update that takes the lease's authority.
func TestGraceIsNotCutByUnrelatedEvents(t *testing.T) {
	other, err := policy.ByFingerprint(NewCredential([32]byte{9}, [32]byte{8}, "7", time.Now(), time.Now().Add(time.Hour)).Fingerprint())
	require.NoError(t, err)
	for name, event := range map[string]func(t *testing.T, e *Engine){
		"another certificate": func(t *testing.T, e *Engine) {
			change(t, e, policy.RevokeCertificate(other, ""))
		},
		"an empty CRL": func(t *testing.T, e *Engine) {
			_, err := e.UseRevocationLists(t.Context(), lists{})
			require.NoError(t, err)
		},
		"an additional grant": func(t *testing.T, e *Engine) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := e.Update(ctx, Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: eve, Role: "b"})}})
			require.ErrorIs(t, err, ErrNotQuiesced, "an earlier revocation of the principal is not quiesced")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := attackEngine(t, nil)
				req := doing("do:a")
				req.Credential = NewCredential([32]byte{1}, [32]byte{2}, "3", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
				l, err := e.Admit(t.Context(), req)
				require.NoError(t, err)
				defer l.Release()
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				revocation := Update{Grace: new(20 * time.Second), Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: eve, Role: "a"})}}
				_, err = e.Update(ctx, revocation)
				require.ErrorIs(t, err, ErrNotQuiesced)
				event(t, e)
				time.Sleep(10 * time.Second)
				require.NoError(t, l.Context().Err(), "%s cut the grace", name)
				revocation.Grace = nil
				ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err = e.Update(ctx, revocation)
				require.ErrorIs(t, err, ErrNotQuiesced)
				require.ErrorIs(t, l.Context().Err(), ErrRevoked, "a repeated revocation shortens the grace")
			})
		})
	}
}

// lists are CRLs with these serial numbers.
type lists map[string]bool

// Revoked implements [RevocationLists].
func (l lists) Revoked(_, serial string) bool { return l[serial] }

// The context ends while an activation reads the record: the function does not run.
func TestG3_AContextThatEndsDuringAnActivation(t *testing.T) {
	log := &hookedLog{}
	e := attackEngine(t, func(m *oplog.Memory) oplog.Log { log.Memory = m; return log })
	ctx, cancel := context.WithCancel(t.Context())
	reads := 0
	log.read = func(*policy.Record) {
		if reads++; reads == 2 {
			cancel()
		}
	}
	ran := false
	err := e.Execute(ctx, doing("do:a"), func(context.Context) error { ran = true; return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, ran)
}

// A panic of the log at each read of an activation: the request is denied, and the next one is
// served.
func TestG6_APanicOfTheLogDuringAnActivation(t *testing.T) {
	for at := 1; at <= 2; at++ {
		log := &hookedLog{}
		e := attackEngine(t, func(m *oplog.Memory) oplog.Log { log.Memory = m; return log })
		reads := 0
		log.read = func(*policy.Record) {
			if reads++; reads == at {
				panic("disk")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := e.Execute(ctx, doing("do:a"), func(context.Context) error { return nil }); err != nil {
			require.ErrorIs(t, err, ErrFault)
		}
		log.read = nil
		require.NoError(t, e.Execute(ctx, doing("do:a"), func(context.Context) error { return nil }))
	}
}

// A queued Execute without a function is an error, for an allowed request and a denied one.
func TestG6_ExecuteWithoutAFunction(t *testing.T) {
	e := attackEngine(t, nil)
	for _, action := range []string{"do:a", "do:b"} {
		inside, leave := make(chan struct{}), make(chan struct{})
		var both sync.WaitGroup
		both.Go(func() {
			_ = e.Execute(context.Background(), doing("do:a"), func(context.Context) error { close(inside); <-leave; return nil })
		})
		<-inside
		both.Go(func() {
			if err := e.Execute(context.Background(), doing(action), nil); err == nil {
				t.Errorf("%s was answered with nil", action)
			}
		})
		close(leave)
		both.Wait()
	}
}

// Requests whose contexts have ended give back their places in the queue, and the memory of
// most of them.
func TestAbandonedRequestsKeepNoPlaces(t *testing.T) {
	m, err := oplog.NewMemoryWith([]*policy.Role{attackRole(t, "a", "do:a")}, []policy.Grant{{Principal: eve, Role: "a"}})
	require.NoError(t, err)
	e, err := New(Options{Log: m, MaxQueued: 4})
	require.NoError(t, err)
	defer func() { require.NoError(t, e.Close(context.Background())) }()
	inside, leave := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_ = e.Execute(context.Background(), doing("do:a"), func(context.Context) error { close(inside); <-leave; return nil })
	})
	<-inside
	p := lookup(e, eve)
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		var one sync.WaitGroup
		one.Go(func() {
			if err := e.Execute(ctx, doing("do:a"), func(context.Context) error { return nil }); err != context.Canceled {
				t.Errorf("%v", err)
			}
		})
		until(t, func() bool { return p.requests.count.Load() == 1 })
		cancel()
		one.Wait()
	}
	require.LessOrEqual(t, p.requests.abandoned.Load(), int32(2*fewAbandoned))
	var ran atomic.Int32
	for range 4 {
		all.Go(func() {
			if err := e.Execute(context.Background(), doing("do:a"), func(context.Context) error { ran.Add(1); return nil }); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	until(t, func() bool { return p.requests.count.Load() == 4 })
	close(leave)
	all.Wait()
	require.EqualValues(t, 4, ran.Load())
	require.Zero(t, p.requests.count.Load())
}

// One more revoked certificate costs the same, however many are revoked.
func TestRevokedCertificatesCostWhatTheyChange(t *testing.T) {
	e := attackEngine(t, nil)
	revoke := func(n int) {
		id, err := policy.ByFingerprint(NewCredential([32]byte{byte(n >> 16), byte(n >> 8), byte(n)}, [32]byte{}, "1", time.Now(), time.Now()).Fingerprint())
		require.NoError(t, err)
		e.revise(func(r *revocations) *revocations { return r.with([]policy.CertificateID{id}) })
	}
	bytesOf := func(n int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range 100 {
			revoke(n + i)
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / 100
	}
	for n := range 20_000 {
		revoke(n)
	}
	require.Less(t, bytesOf(20_000), uint64(8<<10))
}

// Close during another Close looks at its own context, and one that an operation calls does
// not wait for that operation.
func TestCloseDuringAnotherClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := attackEngine(t, nil)
		l, err := e.Admit(t.Context(), doing("do:a"))
		require.NoError(t, err)
		var first sync.WaitGroup
		first.Go(func() { _ = e.Close(context.Background()) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.ErrorIs(t, e.Close(ctx), ErrNotQuiesced)
		require.Equal(t, time.Second, time.Since(began))
		require.ErrorIs(t, e.Close(l.Context()), ErrNotQuiesced)
		require.Equal(t, time.Second, time.Since(began))
		l.Release()
		first.Wait()
		require.NoError(t, e.Close(t.Context()))
	})
}

// The leases of a principal whose turn does not end are canceled and listed.
func TestCloseWithATurnThatDoesNotEnd(t *testing.T) {
	e := attackEngine(t, nil)
	l, err := e.Admit(t.Context(), doing("do:a"))
	require.NoError(t, err)
	inside, leave := make(chan struct{}), make(chan struct{})
	var turn sync.WaitGroup
	turn.Go(func() {
		_ = e.Execute(context.Background(), doing("do:a"), func(context.Context) error { close(inside); <-leave; return nil })
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = e.Close(ctx)
	var open *NotQuiescedError
	require.ErrorAs(t, err, &open)
	require.Equal(t, 1, open.Receipt.RunningCount)
	require.ErrorIs(t, l.Context().Err(), ErrClosed)
	close(leave)
	turn.Wait()
	l.Release()
}

// A precondition that hangs does not keep Close.
func TestCloseWithAPreconditionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := oplog.NewMemoryWith([]*policy.Role{attackRole(t, "a", "do:a")}, nil)
		require.NoError(t, err)
		e, err := New(Options{Log: m})
		require.NoError(t, err)
		hang, hangs := make(chan struct{}), make(chan struct{})
		var update sync.WaitGroup
		update.Go(func() {
			_, err := e.Update(context.Background(), Update{
				Changes: []policy.Change{policy.DeleteRole("a", "")},
				Before:  func(policy.View) error { close(hangs); <-hang; return nil },
			})
			if err == nil {
				t.Error("the update returned nil after Close")
			}
		})
		<-hangs
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		require.NoError(t, e.Close(ctx))
		require.LessOrEqual(t, time.Since(began), 2*time.Second)
		close(hang)
		update.Wait()
		synctest.Wait()
	})
}
