package journal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// TestG5_ReadsThatFailWhileServing lets every read fail that answers need: the answer is a
// denial then, or an error, and the journal says that it is damaged.
func TestG5_ReadsThatFailWhileServing(t *testing.T) {
	m, l := killed(t, 2, 25)
	whole, err := tryOpen(m.powerLoss(seeded(1, 1), 100).disk, journal.Options{})
	require.NoError(t, err)
	require.NoError(t, examineEntries(whole, &wreck{ledger: l})) // learns what stands
	whole.end(t)
	denied := 0
	tried := faults("read", int64(either(17, 1)), func(f *fault) bool {
		w := &wreck{machine: m.powerLoss(seeded(1, 1), 100), acked: l.acknowledged(), ledger: l}
		denied += serveWith(t, w, f)
		return f.hits.Load() > 0 && !t.Failed()
	})
	require.Positive(t, denied)
	t.Logf("%d faults, %d answers denied with a fault", tried, denied)
}

// serveWith asks everything of a store whose disk gets a fault once it is open. It returns
// how many answers were faults.
func serveWith(t *testing.T, w *wreck, f *fault) (denied int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f.healthy.Store(true)
	s, err := tryOpen(errorfs.Wrap(w.machine.disk, f), journal.Options{})
	require.NoError(t, err)
	defer s.end(t)
	m := w.ledger.modelAt(s.Revision())
	f.healthy.Store(false)

	v, err := m.judge(ctx, s.Engine)
	require.NoError(t, err, "%v", f)
	var differs error
	err = s.View(ctx, func(v policy.View) { differs = m.differs(v) })
	require.True(t, err != nil || differs == nil, "%v: the state: %v", f, differs)
	past := w.ledger.modelAt(s.Revision() / 2)
	err = s.At(past.revision, func(v policy.View) { differs = past.differs(v) })
	require.True(t, err != nil || differs == nil, "%v: the past: %v", f, differs)
	standing := tryUpdates(ctx, t, s, f)
	f.healthy.Store(true)
	if v.faults > 0 {
		require.ErrorIs(t, s.journal.Damage(), journal.ErrDamaged, "%v", f)
	}
	require.NoError(t, s.Failure(), "%v", f)
	next := m
	for _, changes := range standing {
		next, err = next.then(changes)
		require.NoError(t, err)
	}
	again, err := next.judge(ctx, s.Engine)
	require.NoError(t, err, "%v, once reads succeed again", f)
	require.Zero(t, again.faults, "%v, once reads succeed again", f)
	return v.faults
}

// tryUpdates makes updates that read what they change. It returns what stands.
func tryUpdates(ctx context.Context, t *testing.T, s *stage, f *fault) (standing [][]policy.Change) {
	for _, changes := range [][]policy.Change{
		{policy.RevokeRole(policy.Grant{Principal: theCast.principals[0], Role: "frozen"})},
		{policy.PutRole(theCast.role(seeded(1, 1), "spare"), ""), policy.GrantRole(policy.Grant{Principal: theCast.principals[4], Role: "spare"})},
		{policy.DeleteRole("owner", "")},
	} {
		switch _, err := s.Update(ctx, actors.Update{Changes: changes}); {
		case err == nil:
			standing = append(standing, changes)
		case errors.Is(err, oplog.ErrUnavailable):
			require.ErrorIs(t, err, journal.ErrDamaged, "%v", f)
		default:
			require.True(t, refusedByPolicy(err), "%v: %v", f, err)
		}
	}
	return standing
}
