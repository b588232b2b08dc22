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
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// gatedLog is a log whose groups are taken, or whose deliveries leave, only when the test
// says so.
type gatedLog struct {
	*oplog.Memory
	mu      sync.Mutex
	events  oplog.Events
	held    [][]oplog.Outcome
	holding bool
	refuse  error
	fault   error
	queued  []*oplog.Proposal // while they are not let in
	closed  bool
}

func newGatedLog(t testing.TB, roles ...*policy.Role) *gatedLog {
	m, err := oplog.NewMemoryWith(roles, nil)
	require.NoError(t, err)
	return &gatedLog{Memory: m}
}

func (g *gatedLog) Open(events oplog.Events) (oplog.InitialState, error) {
	g.events = events
	gate := func(o []oplog.Outcome) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.holding {
			g.held = append(g.held, o)
			return
		}
		events.Deliver(o)
	}
	return g.Memory.Open(oplog.Events{Deliver: gate, Failed: events.Failed})
}

func (g *gatedLog) Propose(p *oplog.Proposal) error {
	g.mu.Lock()
	refuse, closed := g.refuse, g.closed
	if closed {
		g.queued = append(g.queued, p)
	}
	g.mu.Unlock()
	if refuse != nil || closed {
		return refuse
	}
	return g.Memory.Propose(p)
}

// close keeps proposals queued, and open takes them in.
func (g *gatedLog) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

func (g *gatedLog) open() error {
	g.mu.Lock()
	queued := g.queued
	g.closed, g.queued = false, nil
	g.mu.Unlock()
	var errs error
	for _, p := range queued {
		errs = errors.Join(errs, g.Memory.Propose(p))
	}
	return errs
}

func (g *gatedLog) Record(p policy.Principal) (*policy.Record, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fault != nil {
		return nil, g.fault
	}
	return g.Memory.Record(p)
}

func (g *gatedLog) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
}

func (g *gatedLog) letGo() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = false
	for _, o := range g.held {
		g.events.Deliver(o)
	}
	g.held = nil
}

func writerRole(t testing.TB) *policy.Role {
	return roleOf(t, "writer", permission(policy.Allow, "orders:write", "orders/**"))
}

func granting(who policy.Principal, role string) actors.Update {
	return actors.Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: who, Role: role})}}
}

func TestUpdateNotApplied(t *testing.T) {
	t.Run("its context had ended", func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := e.Update(ctx, revoke(alice, "writer"))
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, oplog.ErrOutcomeUnknown)
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
	t.Run("the log takes none", func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log})
		grant(t, e, alice, "writer")
		log.refuse = fmt.Errorf("%w: the disk is full", oplog.ErrUnavailable)
		_, err := e.Update(t.Context(), revoke(alice, "writer"))
		require.ErrorIs(t, err, oplog.ErrUnavailable)
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
	t.Run("a change is wrong, and none of the others is applied", func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		before := e.Revision()
		_, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.RevokeRole(policy.Grant{Principal: alice, Role: "writer"}),
			policy.GrantRole(policy.Grant{Principal: alice, Role: "nothing-of-that-name"}),
		}})
		require.ErrorIs(t, err, policy.ErrUnknownRole)
		var field *policy.FieldError
		require.ErrorAs(t, err, &field)
		require.Equal(t, "changes[1].role", field.Field)
		require.Equal(t, before, e.Revision())
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
	t.Run("a cycle of roles", func(t *testing.T) {
		e := ordersEngine(t, actors.Options{})
		a, err := policy.NewRole("a", []string{"b"}, nil)
		require.NoError(t, err)
		b, err := policy.NewRole("b", []string{"a"}, nil)
		require.NoError(t, err)
		_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{
			policy.PutRole(roleOf(t, "b"), ""), policy.PutRole(a, ""), policy.PutRole(b, ""),
		}})
		var cycle *policy.CycleError
		require.ErrorAs(t, err, &cycle)
		require.ElementsMatch(t, []string{"a", "b"}, cycle.Roles)
	})
}

func TestUpdateOutcomeUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log})
		grant(t, e, alice, "writer")
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "she is active from here on")
		log.hold()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Update(ctx, revoke(alice, "writer"))
		require.ErrorIs(t, err, oplog.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing), "what was not delivered took effect")
		log.letGo()
		synctest.Wait()
		require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied, "it stood after all")
	})
}

// Two updates of one group cannot both pass on the same old state.
func TestPreconditionsSeeTheTip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newGatedLog(t, writerRole(t))
		e := newEngine(t, actors.Options{Log: log})
		log.hold()
		results := make(chan error, 3)
		first := make(chan error, 1)
		go func() { _, err := e.Update(t.Context(), granting(bob, "writer")); first <- err }()
		synctest.Wait()
		for range 3 {
			go func() {
				u := granting(alice, "writer")
				u.Before = func(tip policy.View) error {
					if tip.Revision() != 2 {
						return fmt.Errorf("%w: at %d", actors.ErrPrecondition, tip.Revision())
					}
					return nil
				}
				u.After = func(tip, next policy.View) error {
					if tip.Record(alice) != nil || next.Record(alice) == nil {
						return errors.New("the views are not those before and after")
					}
					return nil
				}
				_, err := e.Update(t.Context(), u)
				results <- err
			}()
		}
		synctest.Wait()
		log.letGo()
		require.NoError(t, <-first)
		passed := 0
		for range 3 {
			if err := <-results; err == nil {
				passed++
			} else {
				require.ErrorIs(t, err, actors.ErrPrecondition)
			}
		}
		require.Equal(t, 1, passed)
	})
}

func TestReceiptNamesWhatStillGrants(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	everybody, err := policy.ParsePrincipalPattern("spiffe://interlock.test/**")
	require.NoError(t, err)
	lead, err := policy.NewRole("lead", []string{"writer"}, nil)
	require.NoError(t, err)
	_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{
		policy.PutRole(lead, ""),
		policy.GrantRole(policy.Grant{Principal: alice, Role: "lead"}),
		policy.GrantRole(policy.Grant{Principals: everybody, Role: "writer"}),
	}})
	require.NoError(t, err)
	r, err := e.Update(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
	var roles []string
	for _, g := range r.StillGrantedBy {
		roles = append(roles, g.Subject()+" "+g.Role)
	}
	require.ElementsMatch(t, []string{"spiffe://interlock.test/alice lead", "spiffe://interlock.test/** writer"}, roles)
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
}

func TestPreviewChangesNothing(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	l, other := admit(t, e, writeAs(alice)), admit(t, e, writeAs(bob))
	defer l.Release()
	defer other.Release()
	before := e.Revision()
	p, err := e.Preview(t.Context(), revoke(alice, "writer"))
	require.NoError(t, err)
	require.Equal(t, before, p.At)
	require.Len(t, p.WouldEnd, 1)
	require.Equal(t, l.ID(), p.WouldEnd[0].ID)
	p, err = e.Preview(t.Context(), actors.Update{Changes: []policy.Change{policy.PutRole(roleOf(t, "writer"), "")}})
	require.NoError(t, err)
	require.Len(t, p.WouldEnd, 2)
	_, err = e.Preview(t.Context(), granting(alice, "nothing-of-that-name"))
	require.ErrorIs(t, err, policy.ErrUnknownRole)
	require.Equal(t, before, e.Revision())
	require.NoError(t, l.Context().Err())
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
}

func TestG4_RevisionsOfDecisionsNeverFallBehind(t *testing.T) {
	e := ordersEngine(t, actors.Options{})
	for i := range 50 {
		r, err := e.Update(t.Context(), granting(policy.MustPrincipal(fmt.Sprintf("user:u%d", i)), "writer"))
		require.NoError(t, err)
		d, err := e.Decide(t.Context(), writeAs(alice))
		require.NoError(t, err)
		require.Equal(t, r.Revision, d.Revision, "an update that does not concern her moves her decisions on too")
	}
}

// TestAReceiptNamesTheTurnsThatItWaitsFor has a function in its turn during a change of its principal's grants, and of the
// role that it holds.
//
// SECURITY, line 30.
func TestAReceiptNamesTheTurnsThatItWaitsFor(t *testing.T) {
	reader := roleOf(t, "reader", permission(policy.Allow, "read", "**"))
	for name, update := range map[string]actors.Update{
		"its own grants":  revoke(alice, "reader"),
		"a role it holds": {Changes: []policy.Change{policy.PutRole(roleOf(t, "reader"), "")}},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEngine(t, actors.Options{}, reader)
			grant(t, e, alice, "reader")
			inside, leave := make(chan struct{}), make(chan struct{})
			executed := make(chan error, 1)
			go func() {
				executed <- e.Execute(context.Background(), actors.Request{Principal: alice, Action: "read", Resource: "x"},
					func(context.Context) error { close(inside); <-leave; return nil })
			}()
			<-inside
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			receipt, err := e.Update(ctx, update)
			var unfinished *actors.NotQuiescedError
			require.ErrorAs(t, err, &unfinished, name)
			require.False(t, receipt.Quiesced)
			require.Empty(t, receipt.Running)
			require.Equal(t, []policy.Principal{alice}, receipt.Waiting, name)
			require.Equal(t, 1, receipt.WaitingCount)
			require.ErrorContains(t, err, "1 principals have a turn that has not ended: "+alice.String())
			close(leave)
			require.NoError(t, <-executed)
			receipt, err = e.Receipt(t.Context(), receipt.Revision)
			require.NoError(t, err)
			require.True(t, receipt.Quiesced)
			require.Empty(t, receipt.Waiting)
		})
	}
}
