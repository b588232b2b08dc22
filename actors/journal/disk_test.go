package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// active is asked about before anything fails, dormant is not.
var (
	active  = theCast.principals[0]
	dormant = theCast.principals[1]
)

// shift is what happens to a store on a disk that fails.
type shift struct {
	t       *testing.T
	fault   *fault
	seed    uint64
	machine *machine
	ledger  *ledger
	clients int
	updates int

	mu      sync.Mutex
	refused map[string]bool // what was answered as never handed over
	known   bool            // whether the active principal was, before anything failed
	last    *policy.Decision
}

// writeKinds are the kinds of operations by which something is written. The long form
// counts them all through besides.
func writeKinds() []string {
	kinds := []string{"write", "sync", "create", "rename", "remove", "mkdir", "open head"}
	if soak() {
		kinds = append(kinds, "anything")
	}
	return kinds
}

// TestG5_FailingDisks lets every operation of a run fail: once, and from then on.
func TestG5_FailingDisks(t *testing.T) {
	for _, kind := range writeKinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tried := faults(kind, int64(either(50, 1)), func(f *fault) bool {
				s := &shift{t: t, fault: f, seed: uint64(f.nth), machine: newMachine(), ledger: newLedger(),
					clients: 3, updates: either(4, 60), refused: map[string]bool{}}
				s.run()
				return f.hits.Load() > 0 && !t.Failed()
			})
			t.Logf("%d faults", tried)
		})
	}
}

func (s *shift) options() journal.Options { return journal.Options{Keep: journal.Keep{Count: 30}} }

// run works on the store until the fault, looks at what is left of the service, and lets a
// process on a healthy disk take over.
func (s *shift) run() {
	files := errorfs.Wrap(s.machine.disk, s.fault)
	var st *stage
	err := within(s.t, "opening with "+s.fault.String(), func() (err error) { st, err = tryOpen(files, s.options()); return err })
	if err != nil {
		s.reopenAfter(err)
		return
	}
	s.work(st)
	if s.fault.hits.Load() > 0 {
		s.crippled(st)
	}
	failure := st.Failure()
	closed := within(s.t, "closing with "+s.fault.String(), func() error {
		_ = st.Close(context.Background())
		return st.journal.Close()
	})
	if failure != nil || s.fault.hits.Load() > 0 {
		require.Error(s.t, closed, "%v", s.fault)
	} else {
		require.NoError(s.t, closed, "%v", s.fault)
	}
	s.successors()
}

// reopenAfter wants that a process that could not open the store has left nothing behind
// that keeps another from it.
func (s *shift) reopenAfter(err error) {
	require.Positive(s.t, s.fault.hits.Load(), "%v: %v", s.fault, err)
	require.NotErrorIs(s.t, err, journal.ErrLost, "%v", s.fault)
	st, err := tryOpen(s.machine.disk, s.options())
	require.NoError(s.t, err, "%v", s.fault)
	s.ledger.ask(&deed{id: "again", author: admin, changes: theCast.first(seeded(1, 1))})
	_, err = st.Update(s.t.Context(), s.ledger.deed("again").update())
	require.NoError(s.t, err)
	st.end(s.t)
}

func (s *shift) work(st *stage) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.ask(ctx, st, &deed{id: "first", author: admin, changes: theCast.first(seeded(s.seed, 1))})
	_, err := st.Decide(ctx, aboutOrders(active))
	s.known = err == nil
	var clients sync.WaitGroup
	for n := range s.clients {
		rng := seeded(s.seed, n)
		clients.Go(func() {
			for i := range s.updates {
				id := fmt.Sprintf("c%d.%d", n, i)
				changes := theCast.changes(rng, id)
				if n == 0 && i == 2 {
					changes = theCast.large(rng, id)
				}
				s.ask(ctx, st, &deed{id: id, author: theCast.principals[n], changes: changes})
			}
		})
	}
	clients.Wait()
	_ = st.journal.Trim()
}

// ask asks for an update, and notes what came of it.
func (s *shift) ask(ctx context.Context, st *stage, d *deed) {
	s.ledger.ask(d)
	r, err := st.Update(ctx, d.update())
	switch {
	case err == nil:
		require.NoError(s.t, s.ledger.tell(r.Revision, d, true))
	case errors.Is(err, oplog.ErrOutcomeUnknown), refusedByPolicy(err):
	case errors.Is(err, oplog.ErrUnavailable):
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refused[d.id] = true
	default:
		s.t.Errorf("%v: %s came to %v", s.fault, d.id, err)
	}
}

// crippled checks an engine whose log has failed: it reports the failure, rejects updates,
// decides for active principals, and denies all others.
func (s *shift) crippled(st *stage) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.ErrorIs(s.t, st.Await(ctx, 1<<62), actors.ErrFault, "%v", s.fault)
	require.ErrorIs(s.t, st.Failure(), oplog.ErrUnavailable, "%v", s.fault)
	_, err := st.Update(ctx, actors.Update{Changes: theCast.first(seeded(1, 1))})
	require.ErrorIs(s.t, err, oplog.ErrUnavailable, "%v", s.fault)
	require.ErrorIs(s.t, within(s.t, "a view", func() error { return st.View(ctx, func(policy.View) {}) }), oplog.ErrUnavailable)
	_, err = st.Decide(ctx, aboutOrders(dormant))
	require.ErrorIs(s.t, err, actors.ErrFault, "%v", s.fault)
	d, err := st.Decide(ctx, aboutOrders(active))
	if err != nil {
		require.False(s.t, s.known, "%v: %v", s.fault, err)
		require.ErrorIs(s.t, err, actors.ErrFault, "%v", s.fault)
		return
	}
	require.Equal(s.t, st.Revision(), d.Revision, "%v", s.fault)
	s.last = &d
}

func aboutOrders(who policy.Principal) actors.Request {
	return actors.Request{Principal: who, Action: "orders:read", Resource: "orders/eu/1"}
}

// successors open the store as it is, and as a loss of power leaves it.
func (s *shift) successors() {
	rng := seeded(s.seed, 7)
	for _, percent := range []int{100, someUnsynced(rng)} {
		w := &wreck{machine: s.machine.powerLoss(rng, percent), acked: s.ledger.acknowledged(), ledger: s.ledger}
		st, err := tryOpen(w.machine.disk, s.options())
		require.NoError(s.t, err, "%v, then %d %% of what was not synced", s.fault, percent)
		require.NoError(s.t, examine(st, w, rng), "%v, then %d %% of what was not synced", s.fault, percent)
		if s.last != nil {
			own := policy.Ask(s.ledger.modelAt(s.last.Revision), &policy.Query{Principal: active, Action: "orders:read", Resource: "orders/eu/1"}, s.last.Time)
			require.Equal(s.t, own.Allowed, s.last.Allowed, "%v: at revision %d", s.fault, s.last.Revision)
		}
		s.neverStood(st)
		_, err = st.Update(s.t.Context(), actors.Update{Changes: []policy.Change{policy.PutRole(theCast.role(rng, "spare"), "")}})
		require.NoError(s.t, err)
		st.end(s.t)
	}
}

func (s *shift) neverStood(st *stage) {
	require.NoError(s.t, st.Changes(max(st.Oldest(), 1)-1, func(e *oplog.Entry) bool {
		require.False(s.t, s.refused[e.Author.Credential], "%v: %s was refused, and stands", s.fault, e.Author.Credential)
		return true
	}))
}
