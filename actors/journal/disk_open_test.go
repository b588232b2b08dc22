package journal_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
)

// killed returns a machine on which a process was killed that had a store open, with
// updates in tables and in the store's own log, and what was acknowledged. With so many
// strangers between two principals of the cast their records lie apart.
func killed(t *testing.T, seed uint64, strangers int) (*machine, *ledger) {
	m, l := newMachine(), newLedger()
	rng := seeded(seed, 0)
	for round, updates := range []int{30, 10} {
		p := m.start(nil)
		s, err := tryOpen(p, journal.Options{})
		require.NoError(t, err)
		c := &crowd{ledger: l, seed: seed + uint64(round), clients: 1, updates: updates, alive: func() bool { return true }}
		_, err = c.do(t.Context(), s, &deed{id: []string{"first", "second"}[round], author: admin, changes: theCast.first(rng)})
		require.NoError(t, err)
		require.NoError(t, c.work(t.Context(), s, []string{"a", "b"}[round]))
		if round == 0 && strangers > 0 {
			_, err = c.do(t.Context(), s, &deed{id: "strangers", author: admin, changes: theCast.strangers(strangers)})
			require.NoError(t, err)
		}
		p.kill()
		_ = s.Close(context.Background())
		_ = s.journal.Close()
	}
	return m, l
}

// TestG5_DisksThatFailWhileAStoreIsOpened lets every operation fail of a start after a
// kill: it says so or serves, and the next start finds everything.
func TestG5_DisksThatFailWhileAStoreIsOpened(t *testing.T) {
	m, l := killed(t, 1, 0)
	var mu sync.Mutex
	copied := func(percent int) *machine {
		mu.Lock()
		defer mu.Unlock()
		return m.powerLoss(seeded(1, 1), percent)
	}
	for _, kind := range append(writeKinds(), "read", "open", "list") {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tried := faults(kind, int64(either(50, 1)), func(f *fault) bool {
				rng := seeded(uint64(f.nth), 1)
				w := &wreck{machine: copied(100), acked: l.acknowledged(), ledger: l}
				if free := startWith(t, w, f); !free || rng.IntN(2) == 0 {
					w.machine = w.machine.powerLoss(rng, someUnsynced(rng))
				}
				s, err := tryOpen(w.machine.disk, journal.Options{})
				require.NoError(t, err, "after %v", f)
				require.NoError(t, examine(s, w, rng), "after %v", f)
				s.end(t)
				return f.hits.Load() > 0 && !t.Failed()
			})
			t.Logf("%d faults", tried)
		})
	}
}

// startWith starts a process on a disk with a fault, and ends it. It reports whether
// another can be started beside what is left of it: not if it failed while it served.
func startWith(t *testing.T, w *wreck, f *fault) (free bool) {
	var s *stage
	files := errorfs.Wrap(w.machine.disk, f)
	err := within(t, "opening with "+f.String(), func() (err error) { s, err = tryOpen(files, journal.Options{}); return err })
	f.healthy.Store(true)
	if err != nil {
		require.Positive(t, f.hits.Load(), "%v: %v", f, err)
		return !errors.Is(err, oplog.ErrUnavailable)
	}
	return within(t, "closing with "+f.String(), func() error {
		_ = s.Close(context.Background())
		return s.journal.Close()
	}) == nil
}
