package actors

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

var eve = policy.MustPrincipal("user:eve")

func attackRole(t testing.TB, name, action string, inherits ...string) *policy.Role {
	t.Helper()
	a, err := policy.ParseActionPattern(action)
	require.NoError(t, err)
	r, err := policy.ParseResourcePattern("**")
	require.NoError(t, err)
	role, err := policy.NewRole(name, inherits, []policy.Permission{
		{Effect: policy.Allow, Actions: []policy.ActionPattern{a}, Resources: []policy.ResourcePattern{r}}})
	require.NoError(t, err)
	return role
}

// attackEngine has the roles a, b and c, of which eve holds a; b inherits c.
func attackEngine(t testing.TB, log func(*oplog.Memory) oplog.Log) *Engine {
	t.Helper()
	m, err := oplog.NewMemoryWith([]*policy.Role{attackRole(t, "a", "do:a"), attackRole(t, "b", "do:b", "c"), attackRole(t, "c", "do:c")},
		[]policy.Grant{{Principal: eve, Role: "a"}})
	require.NoError(t, err)
	o := Options{Log: m, Logger: slog.New(slog.DiscardHandler)}
	if log != nil {
		o.Log = log(m)
	}
	e, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(t, e.Close(ctx))
	})
	return e
}

func doing(what string) Request { return Request{Principal: eve, Action: what, Resource: "x"} }

// until spins until the condition holds.
func until(t testing.TB, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Error("in vain")
			return
		}
	}
}

// A turn reads the time and state. Then a certificate is revoked, and the turn processes the
// message about it. The turn must use the set of revoked certificates of that message.
func TestAttackRevokedCertificateWithAnEarlierTime(t *testing.T) {
	e := attackEngine(t, nil)
	c := NewCredential([32]byte{1}, [32]byte{2}, "3", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	req := doing("do:a")
	req.Credential = c
	l, err := e.Admit(t.Context(), req)
	require.NoError(t, err)
	p := e.directory.get(eve)
	until(t, p.acquire)
	var at moment
	e.now(&at)
	outcome := make(chan error, 1)
	go func() {
		_, err := e.Update(context.Background(), Update{Changes: []policy.Change{policy.RevokeCertificate(c.IDs()[0], "")}})
		outcome <- err
	}()
	until(t, func() bool { return !p.control.empty() && e.Revision() > at.table.Revision() })
	p.handleControl(&at)
	p.finish()
	require.ErrorIs(t, l.Context().Err(), ErrRevoked, "the lease outlived its certificate")
	l.Release()
	require.NoError(t, <-outcome)
}

// hookedLog lets the test act when eve's record is read.
type hookedLog struct {
	*oplog.Memory
	read func(*policy.Record)
}

func (h *hookedLog) Record(p policy.Principal) (*policy.Record, error) {
	r, err := h.Memory.Record(p)
	if h.read != nil {
		h.read(r)
	}
	return r, err
}

// An activation has read the record when a role is granted and, before it has taken that
// in, the role changes. What it shows to the authority has to concern it.
func TestAttackChangeOfARoleDuringAnActivation(t *testing.T) {
	log := &hookedLog{}
	e := attackEngine(t, func(m *oplog.Memory) oplog.Log { log.Memory = m; return log })
	update := func(c policy.Change) {
		before := e.Revision()
		go func() { _, _ = e.Update(context.Background(), Update{Changes: []policy.Change{c}}) }()
		until(t, func() bool { return e.Revision() > before })
	}
	reads := 0
	log.read = func(*policy.Record) {
		if reads++; reads != 2 { // the first is about strangers
			return
		}
		p := e.directory.get(eve)
		p.control.push(&node{message: &inspect{done: func() {}, look: func(*principal, moment) {
			update(policy.PutRole(attackRole(t, "b", "do:b"), "")) // it inherits nothing now
		}}})
		update(policy.GrantRole(policy.Grant{Principal: eve, Role: "b"}))
	}
	d, err := e.Decide(t.Context(), doing("do:c"))
	require.NoError(t, err)
	log.read = nil
	require.False(t, d.Allowed, "allowed at revision %d what the role no longer allows", d.Revision)
}

// A change that makes a principal's turn fail revokes its leases, and the update waits
// for them.
func TestAttackFaultInAChange(t *testing.T) {
	e := attackEngine(t, nil)
	l, err := e.Admit(t.Context(), doing("do:a"))
	require.NoError(t, err)
	intern := e.intern
	e.intern = nil
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	r, err := e.Update(ctx, Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: eve, Role: "a"})}})
	require.ErrorIs(t, err, ErrNotQuiesced)
	require.Equal(t, 1, r.RunningCount)
	require.ErrorIs(t, l.Context().Err(), ErrRevoked)
	require.ErrorIs(t, e.Execute(t.Context(), doing("do:a"), func(context.Context) error { return nil }), ErrFault)
	e.intern = intern
	l.Release()
	r, err = e.Receipt(t.Context(), r.Revision)
	require.NoError(t, err)
	require.Equal(t, 1, r.EndedCount)
}

// Receipts that were not quiesced when they got old are forgotten once they are.
func TestAttackReceiptsAreForgotten(t *testing.T) {
	r := receipts{kept: map[uint64]*tracker{}}
	const n = 2*keptReceipts + 10
	var trackers []*tracker
	for i := range uint64(n) {
		trackers = append(trackers, newTracker(i+1))
		r.add(trackers[i])
	}
	require.Len(t, r.kept, n, "what is not quiesced is kept")
	for _, tr := range trackers {
		tr.applied()
	}
	for i := range uint64(3 * n) {
		tr := newTracker(n + i + 1)
		r.add(tr)
		tr.applied()
	}
	require.LessOrEqual(t, len(r.kept), 2*keptReceipts)
	last, known := r.find(4 * n)
	require.True(t, known)
	require.NotNil(t, last, "the latest are kept")
	gone, known := r.find(1)
	require.True(t, known)
	require.Nil(t, gone)
}

// Between the moment that a lease gets its cause and the closing of its channel, Err does
// not tell yet.
func TestAttackErrWhileDoneIsClosing(t *testing.T) {
	e := attackEngine(t, nil)
	l, err := e.Admit(t.Context(), doing("do:a"))
	require.NoError(t, err)
	defer l.Release()
	ctx := l.Context()
	done := ctx.Done()
	l.done.mu.Lock() // the closing waits
	go l.cancel(ErrRevoked)
	until(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.cause != nil })
	told := make(chan error, 1)
	go func() { told <- ctx.Err() }()
	for range 1000 {
		runtime.Gosched()
		select {
		case err := <-told:
			select {
			case <-done:
			default:
				t.Fatalf("Err is %v, and Done is open", err)
			}
		default:
		}
	}
	l.done.mu.Unlock()
	require.ErrorIs(t, <-told, ErrRevoked)
}

// Other code stops, poisons and floods a principal's actor through its PID: it denies, its
// leases end and are waited for, and after passivation it comes back under another name.
func TestAttackThroughThePID(t *testing.T) {
	for name, attack := range map[string]func(*Engine, *actor.PID){
		"stop":   func(e *Engine, pid *actor.PID) { e.system.Root.Stop(pid) },
		"poison": func(e *Engine, pid *actor.PID) { e.system.Root.Poison(pid) },
	} {
		t.Run(name, func(t *testing.T) {
			e := attackEngine(t, nil)
			l, err := e.Admit(t.Context(), doing("do:a"))
			require.NoError(t, err)
			pid := e.system.NewLocalPID("p" + strconv.FormatUint(e.names.Load(), 36))
			for i := range 1000 {
				e.system.Root.Send(pid, i)
			}
			require.NoError(t, e.Execute(t.Context(), doing("do:a"), func(context.Context) error { attack(e, pid); return nil }))
			<-l.Context().Done()
			require.ErrorIs(t, l.Context().Err(), ErrRevoked)
			require.ErrorIs(t, e.Execute(t.Context(), doing("do:a"), func(context.Context) error { return nil }), ErrFault)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err = e.Update(ctx, Update{Changes: []policy.Change{policy.PutRole(attackRole(t, "a", "do:*"), "")}})
			require.ErrorIs(t, err, ErrNotQuiesced)
			PassivateAll(e)
			require.Equal(t, 1, e.Active())
			l.Release()
			PassivateAll(e)
			require.Zero(t, e.Active())
			require.NoError(t, e.Execute(t.Context(), doing("do:a"), func(context.Context) error { return nil }))
			e.system.Root.Send(pid, "to the old name")
			require.NoError(t, e.Execute(t.Context(), doing("do:a"), func(context.Context) error { return nil }))
		})
	}
}
