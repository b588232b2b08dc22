package journal_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// TestG5_LostAndForeignRecordsAreFound takes away records of every section of a store, or
// puts others of that section in their place, in a way that no checksum tells of: the
// store is refused, or verification finds it.
func TestG5_LostAndForeignRecordsAreFound(t *testing.T) {
	_, img := images(t, 7)
	s, err := tryOpen(img.disk(t), journal.Options{})
	require.NoError(t, err)
	id := "large"
	d := &deed{id: id, author: admin, changes: theCast.large(seeded(7, 7), id), repeat: oplog.IdempotencyKey{Key: id}}
	d.changes = append(d.changes, policy.RevokeCertificate(theCast.credentials[0].IDs()[0], id)) // else no section c
	img.ledger.ask(d)
	_, err = s.Update(t.Context(), d.update())
	require.NoError(t, err)
	keys := s.journal.Keys(t)
	require.Equal(t, []string{"c", "d", "e", "g", "h", "i", "k", "l", "m", "n", "p", "r"}, slices.Sorted(maps.Keys(keys)))
	s.end(t)
	for section, all := range keys {
		t.Run(section, func(t *testing.T) {
			t.Parallel()
			rng := seeded(uint64(len(all)), len(t.Name()))
			for range min(len(all), either(1, 60)) {
				key, other := all[rng.IntN(len(all))], all[rng.IntN(len(all))]
				img.found(t, d, "the loss of "+journal.Place(key), func(j *journal.Journal) bool { j.Lose(t, key); return true })
				img.found(t, d, journal.Place(key)+" replaced by "+journal.Place(other),
					func(j *journal.Journal) bool { return j.Replace(t, key, other) })
			}
		})
	}
}

// found wants that what is done to a store, if it changes anything, does not stay
// unnoticed. Before, it makes an update.
func (img *image) found(t *testing.T, d *deed, what string, do func(*journal.Journal) (changed bool)) {
	disk := img.disk(t)
	s, err := tryOpen(disk, journal.Options{})
	require.NoError(t, err)
	_, err = s.Update(t.Context(), d.update())
	require.NoError(t, err)
	_, err = s.journal.Verify(t.Context())
	require.NoError(t, err)
	changed := do(s.journal)
	_, damage := s.journal.Verify(t.Context())
	_ = s.Close(context.Background())
	require.NoError(t, s.journal.Close())
	if !changed {
		return
	}
	require.ErrorIs(t, damage, journal.ErrDamaged, what)
	s, err = tryOpen(disk, journal.Options{})
	if err != nil {
		require.True(t, errors.Is(err, journal.ErrDamaged) || errors.Is(err, journal.ErrLost), "%s: %v", what, err)
		return
	}
	defer s.end(t)
	_, err = s.journal.Verify(t.Context())
	require.ErrorIs(t, err, journal.ErrDamaged, what)
}
