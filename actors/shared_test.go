package actors_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/oplog/oplogtest"
	"github.com/interlock-authz/interlock/actors/policy"
)

// newSharedEngines starts two engines on one log.
func newSharedEngines(t *testing.T, roles ...*policy.Role) (engines [2]*actors.Engine) {
	t.Helper()
	shared, err := oplogtest.NewShared(roles, nil)
	require.NoError(t, err)
	for i, name := range []string{"left", "right"} {
		member := shared.Join(name)
		t.Cleanup(func() { require.NoError(t, member.Close()) }) // after its engine
		engines[i] = newEngine(t, actors.Options{Log: member})
	}
	return engines
}

// pairSubject is two engines. Principals from historyPrincipals on are those of the second
// one, and updates alternate.
type pairSubject struct {
	sides [2]*engineSubject
	turn  atomic.Uint64
}

func (s *pairSubject) execute(p, action int, begin, end func()) (bool, uint64) {
	return s.sides[p/historyPrincipals].execute(p%historyPrincipals, action, begin, end)
}

func (s *pairSubject) admit(p, action int) (func(func()), uint64) {
	return s.sides[p/historyPrincipals].admit(p%historyPrincipals, action)
}

func (s *pairSubject) updater() *engineSubject { return s.sides[s.turn.Add(1)%2] }

func (s *pairSubject) grant(p, role int, held bool) uint64 { return s.updater().grant(p, role, held) }

func (s *pairSubject) put(allows bool) uint64 { return s.updater().put(allows) }

// TestG1G2G4_HistoriesOfTwoEngines records histories over two engines that share a log.
// Whichever engine is asked, an update has quiesced on both when it returns.
func TestG1G2G4_HistoriesOfTwoEngines(t *testing.T) {
	engines := newSharedEngines(t, historyRolesOf(t)...)
	for i := range histories() / 10 {
		seed := uint64(i)
		left := newEngineSubject(t, engines[0], i)
		right := *left
		right.engine = engines[1]
		h := recordOn(&pairSubject{sides: [2]*engineSubject{left, &right}}, seed, 2)
		if !h.Check(t) {
			t.Fatalf("history of seed %d is illegal:\n%s", seed, h.Dump())
		}
		require.NoError(t, h.MonotonicErr(), "seed %d", seed)
	}
}

// TestCheckerCatchesEnginesThatDoNotConfirm shows that the histories need the confirmation.
func TestCheckerCatchesEnginesThatDoNotConfirm(t *testing.T) {
	shared, err := oplogtest.NewShared(historyRolesOf(t), nil)
	require.NoError(t, err)
	var engines [2]*actors.Engine
	for i, name := range []string{"left", "right"} {
		member := shared.Join(name)
		t.Cleanup(func() { require.NoError(t, member.Close()) })
		engines[i] = newEngine(t, actors.Options{Log: struct{ oplog.Log }{member}})
	}
	for i := range 200 {
		left := newEngineSubject(t, engines[0], i)
		_, err := engines[1].Receipt(t.Context(), engines[0].Revision())
		for err != nil { // delivery to the other engine is not awaited
			_, err = engines[1].Receipt(t.Context(), engines[0].Revision())
		}
		right := *left
		right.engine = engines[1]
		h := recordOn(&pairSubject{sides: [2]*engineSubject{left, &right}}, uint64(i), 2)
		if !h.Check(t) || h.MonotonicErr() != nil {
			return
		}
	}
	t.Fatal("200 histories of engines that do not confirm are legal")
}

func TestG2_UpdateWaitsForTheOtherEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engines := newSharedEngines(t, writerRole(t))
		left, right := engines[0], engines[1]
		grant(t, left, alice, "writer")
		lease := admit(t, right, writeAs(alice))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := left.Update(ctx, revoke(alice, "writer"))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.False(t, r.Quiesced)
		require.Equal(t, []string{"right"}, r.Missing)
		require.ErrorIs(t, lease.Context().Err(), actors.ErrRevoked)

		// Another update is not held up by the operation that still runs.
		grant(t, left, bob, "writer")
		_, err = left.Update(t.Context(), revoke(bob, "writer"))
		require.NoError(t, err)

		lease.Release()
		r, err = left.Receipt(t.Context(), r.Revision)
		require.NoError(t, err)
		require.True(t, r.Quiesced)
		require.Empty(t, r.Missing)
		for _, e := range engines {
			require.ErrorIs(t, e.Execute(t.Context(), writeAs(alice), nothing), actors.ErrDenied)
		}
	})
}

// breach is a log whose deliveries the test makes.
type breach struct {
	*oplog.Memory
	events oplog.Events
}

func (b *breach) Open(events oplog.Events) (oplog.InitialState, error) {
	b.events = events
	return b.Memory.Open(events)
}

// TestOutcomesNeverBlockOrPanic delivers outcomes that the engine did not ask for.
func TestOutcomesNeverBlockOrPanic(t *testing.T) {
	for _, test := range []struct {
		name     string
		outcomes func(revision uint64) []oplog.Outcome
		fails    bool
	}{
		{"of another engine", func(r uint64) []oplog.Outcome {
			return []oplog.Outcome{{ID: oplog.ProposalID{1}, Revision: r + 1, Change: &oplog.Change{}}}
		}, false},
		{"without a change", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r + 1}} }, false},
		{"with a gap", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r + 7}} }, false},
		{"a refusal", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r, Err: policy.ErrInvalid}} }, false},
		{"twice", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r + 1}, {Revision: r + 1}} }, true},
		{"out of order", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r + 2}, {Revision: r + 1}} }, true},
		{"an answer before its revision", func(r uint64) []oplog.Outcome { return []oplog.Outcome{{Revision: r + 1, Repeated: true}} }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := oplog.NewMemoryWith([]*policy.Role{writerRole(t)}, nil)
			require.NoError(t, err)
			log := &breach{Memory: m}
			e := newEngine(t, actors.Options{Log: log})
			grant(t, e, alice, "writer")
			require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
			list := test.outcomes(e.Revision())
			log.events.Deliver(list)
			require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
			if !test.fails {
				require.NoError(t, e.Failure())
				require.GreaterOrEqual(t, e.Revision(), list[0].Revision, fmt.Sprint(list))
				return
			}
			require.ErrorIs(t, e.Failure(), oplog.ErrUnavailable)
			require.ErrorIs(t, e.Execute(t.Context(), writeAs(bob), nothing), actors.ErrFault)
			_, err = e.Update(t.Context(), revoke(alice, "writer"))
			require.Error(t, err)
		})
	}
}

// TestAnEngineJoinsDuringUpdates starts engines on a log whose other engine makes updates.
func TestAnEngineJoinsDuringUpdates(t *testing.T) {
	shared, err := oplogtest.NewShared([]*policy.Role{writerRole(t)}, nil)
	require.NoError(t, err)
	first := shared.Join("first")
	t.Cleanup(func() { require.NoError(t, first.Close()) })
	e := newEngine(t, actors.Options{Log: first})
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	work.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			change := policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Reason: strconv.Itoa(i)})
			_, _ = e.Update(ctx, actors.Update{Changes: []policy.Change{change}})
		}
	})
	for range 300 {
		member := shared.Join("second")
		second, err := actors.New(actors.Options{Log: member})
		require.NoError(t, err)
		require.NoError(t, second.Execute(ctx, writeAs(alice), nothing))
		require.NoError(t, second.Failure())
		require.NoError(t, second.Close(ctx))
		require.NoError(t, member.Close())
	}
}
