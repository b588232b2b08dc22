package actors_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// fencing is a log that keeps the callbacks of its engine.
type fencing struct {
	*oplog.Memory
	events oplog.Events
	reads  atomic.Int64
}

func (f *fencing) Open(events oplog.Events) (oplog.InitialState, error) {
	f.events = events
	return f.Memory.Open(events)
}

func (f *fencing) Record(who policy.Principal) (*policy.Record, error) {
	f.reads.Add(1)
	return f.Memory.Record(who)
}

// fence fences the engine and returns a channel that is closed when everything has ended.
func (f *fencing) fence() <-chan struct{} {
	ended := make(chan struct{})
	f.events.Fence(func() { close(ended) })
	return ended
}

func newFencedEngine(t *testing.T, roles ...*policy.Role) (*actors.Engine, *fencing) {
	t.Helper()
	memory, err := oplog.NewMemoryWith(roles, nil)
	require.NoError(t, err)
	log := &fencing{Memory: memory}
	return newEngine(t, actors.Options{Log: log}), log
}

func withGrace(req actors.Request, grace time.Duration) actors.Request {
	req.Grace = &grace
	return req
}

func isOpen(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

func requireFenced(t *testing.T, e *actors.Engine, req actors.Request) {
	t.Helper()
	require.True(t, e.Fenced())
	err := e.Execute(t.Context(), req, nothing)
	require.ErrorIs(t, err, actors.ErrFenced)
	require.ErrorIs(t, err, actors.ErrDenied)
	_, err = e.Admit(t.Context(), req)
	require.ErrorIs(t, err, actors.ErrFenced)
	require.ErrorIs(t, e.Do(t.Context(), req, func() error { return nil }), actors.ErrFenced)
}

func TestG6_AFencedEngineDeniesEverything(t *testing.T) {
	e, log := newFencedEngine(t, writerRole(t))
	grant(t, e, alice, "writer")
	grant(t, e, bob, "writer")
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	<-log.fence()
	requireFenced(t, e, writeAs(alice))
	d, err := e.Decide(t.Context(), writeAs(alice))
	require.NoError(t, err)
	require.Equal(t, policy.ReasonFenced, d.Reason)
	require.NotEmpty(t, d.Explain())

	reads := log.reads.Load()
	requireFenced(t, e, writeAs(bob)) // is not in memory
	require.Equal(t, reads, log.reads.Load(), "an activation behind the fence reads nothing")

	log.events.Unfence()
	require.False(t, e.Fenced())
	for _, who := range []policy.Principal{alice, bob} {
		require.NoError(t, e.Execute(t.Context(), writeAs(who), nothing))
	}
}

// TestG2_AFenceEndsAllOperations has leases of all kinds: with the revision of the fence, with a
// grace, and in the grace of an update.
func TestG2_AFenceEndsAllOperations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := newFencedEngine(t, writerRole(t))
		grant(t, e, bob, "writer")
		inGrace := admit(t, e, withGrace(writeAs(bob), time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := e.Update(ctx, revoke(bob, "writer"))
		require.ErrorIs(t, err, actors.ErrNotQuiesced)
		require.NoError(t, inGrace.Context().Err())

		grant(t, e, alice, "writer")
		graceful := admit(t, e, withGrace(writeAs(alice), time.Hour))
		plain := admit(t, e, writeAs(alice))
		require.Equal(t, e.Revision(), plain.Decision().Revision)

		ended := log.fence()
		synctest.Wait()
		for _, l := range []*actors.Lease{inGrace, graceful, plain} {
			require.ErrorIs(t, l.Context().Err(), actors.ErrRevoked)
			require.True(t, isOpen(ended))
			l.Release()
			synctest.Wait()
		}
		require.False(t, isOpen(ended))
		log.events.Unfence()
		require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	})
}

// TestG2_AFenceWaitsForTheTurn has a function that runs when the engine is fenced.
func TestG2_AFenceWaitsForTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := newFencedEngine(t, writerRole(t))
		grant(t, e, alice, "writer")
		free := occupy(t, e, alice)
		ended := log.fence()
		synctest.Wait()
		require.True(t, isOpen(ended))
		free()
		<-ended
		requireFenced(t, e, writeAs(alice))
	})
}

// TestG2_DeliveriesStayBehindTheFence delivers records, roles and pattern grants to a fenced engine.
func TestG2_DeliveriesStayBehindTheFence(t *testing.T) {
	e, log := newFencedEngine(t, writerRole(t))
	grant(t, e, alice, "writer")
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
	everyone, err := policy.ParsePrincipalPattern("spiffe://interlock.test/**")
	require.NoError(t, err)
	<-log.fence()
	for _, change := range []policy.Change{
		policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Reason: "again"}),
		policy.PutRole(writerRole(t), "again"),
		policy.GrantRole(policy.Grant{Principals: everyone, Role: "writer"}),
		policy.GrantRole(policy.Grant{Principal: bob, Role: "writer"}),
	} {
		r, err := e.Update(t.Context(), actors.Update{Changes: []policy.Change{change}})
		require.NoError(t, err)
		require.True(t, r.Quiesced)
		requireFenced(t, e, writeAs(alice))
		requireFenced(t, e, writeAs(bob))
	}
	_, err = e.Update(t.Context(), revoke(bob, "writer"))
	require.NoError(t, err)
	log.events.Unfence()
	require.NoError(t, e.Execute(t.Context(), writeAs(alice), nothing))
}

// TestG2_NothingRunsBehindTheFence fences and unfences while callers execute and admit, and updates
// are delivered. It looks for an operation between the end of all and the unfence.
func TestG2_NothingRunsBehindTheFence(t *testing.T) {
	e, log := newFencedEngine(t, writerRole(t))
	grant(t, e, alice, "writer")
	ctx, cancel := context.WithCancel(t.Context())
	var running, allowed atomic.Int64
	var work sync.WaitGroup
	for i := range 4 {
		work.Go(func() {
			for ctx.Err() == nil {
				if i%2 == 0 {
					_ = e.Do(ctx, writeAs(alice), func() error {
						running.Add(1)
						allowed.Add(1)
						running.Add(-1)
						return nil
					})
					continue
				}
				l, err := e.Admit(ctx, writeAs(alice))
				if err != nil {
					continue
				}
				running.Add(1)
				allowed.Add(1)
				running.Add(-1)
				l.Release()
			}
		})
	}
	work.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			change := policy.GrantRole(policy.Grant{Principal: alice, Role: "writer", Reason: string(rune('a' + i%2))})
			if i%3 == 0 {
				change = policy.PutRole(writerRole(t), string(rune('a'+i%2)))
			}
			_, _ = e.Update(ctx, actors.Update{Changes: []policy.Change{change}})
		}
	})
	for range 300 {
		before := allowed.Load()
		for allowed.Load() == before { // something runs
			runtime.Gosched()
		}
		<-log.fence()
		count := allowed.Load()
		require.Zero(t, running.Load())
		for range 20 {
			require.ErrorIs(t, e.Execute(ctx, writeAs(alice), nothing), actors.ErrFenced)
		}
		require.Zero(t, running.Load())
		require.Equal(t, count, allowed.Load(), "an operation began behind the fence")
		log.events.Unfence()
	}
	cancel()
	work.Wait()
}

// TestAFencedEngineCloses closes an engine whose fence has not ended everything.
func TestAFencedEngineCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, log := newFencedEngine(t, writerRole(t))
		grant(t, e, alice, "writer")
		l := admit(t, e, writeAs(alice))
		ended := log.fence()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, e.Close(ctx), actors.ErrNotQuiesced)
		synctest.Wait()
		require.True(t, isOpen(ended))
		l.Release()
	})
}

// slowConnections calls a function while an update that revokes a certificate is delivered.
type slowConnections struct{ during func() }

func (c *slowConnections) CloseEnded(func(*actors.Credential) bool) int {
	if c.during != nil {
		c.during()
	}
	return 0
}

// TestG2_AFenceDuringADeliveryHolds fences while a delivery has read the table and not published the
// next one.
func TestG2_AFenceDuringADeliveryHolds(t *testing.T) {
	memory, err := oplog.NewMemoryWith([]*policy.Role{writerRole(t)}, nil)
	require.NoError(t, err)
	log, connections := &fencing{Memory: memory}, &slowConnections{}
	e := newEngine(t, actors.Options{Log: log, Connections: connections})
	grant(t, e, alice, "writer")
	fenced := make(chan struct{})
	connections.during = func() {
		go func() {
			defer close(fenced)
			<-log.fence()
		}()
		select {
		case <-fenced:
		case <-time.After(50 * time.Millisecond): // it waits for the delivery
		}
	}
	id, err := policy.ByFingerprint(strings.Repeat("ab", 32))
	require.NoError(t, err)
	_, err = e.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeCertificate(id, "")}})
	require.NoError(t, err)
	<-fenced
	requireFenced(t, e, writeAs(alice))
}
