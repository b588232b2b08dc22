package journal_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// state writes a view as text, for comparison.
func state(v policy.View) string {
	var roles []*policy.Role
	for r := range v.Roles() {
		roles = append(roles, r)
	}
	var grants []policy.Grant
	for g := range v.Patterns().All() {
		grants = append(grants, *g)
	}
	seen := map[policy.Principal]bool{}
	for _, r := range roles {
		for who := range v.Holders(r.Name()) {
			if !seen[who] {
				seen[who] = true
				grants = append(grants, v.Record(who).Grants...)
			}
		}
	}
	return string(policyfile.FormatYAML(slices.Values(roles), slices.Values(grants)))
}

func pattern(t testing.TB, text, role string) policy.Grant {
	p, err := policy.ParsePrincipalPattern(text)
	require.NoError(t, err)
	return policy.Grant{Principals: p, Role: role}
}

// history makes updates of every kind, and returns the state after each.
func history(t testing.TB, s *stage) []string {
	id, err := policy.ByFingerprint(fmt.Sprintf("%064d", 7))
	require.NoError(t, err)
	changes := [][]policy.Change{
		{policy.PutRole(writer(t), "first"), policy.PutRole(reader(t), "")},
		{grant(alice, "writer"), grant(bob, "reader")},
		{policy.GrantRole(pattern(t, "user:*", "reader"))},
		{revoke(alice, "writer")},
		{grant(alice, "reader"), grant(alice, "writer")},
		{policy.PutRole(role(t, "writer", policy.PermissionSpec{Effect: "deny", Actions: []string{"**"}, Resources: []string{"**"}}), "")},
		{policy.RevokeCertificate(id, "lost")},
		{policy.RevokeRole(pattern(t, "user:*", "reader"))},
		{revoke(alice, "writer")},
		{policy.DeleteRole("writer", "")},
		{revoke(bob, "reader"), grant(policy.MustPrincipal("user:carol"), "reader")},
		{policy.RevokeRole(policy.Grant{Principal: admin, Role: "reader"})}, // changes nothing
	}
	states := []string{stateOf(t, s)}
	for _, c := range changes {
		s.update(t, c...)
		states = append(states, stateOf(t, s))
	}
	return states
}

func stateOf(t testing.TB, s *stage) (text string) {
	require.NoError(t, s.View(t.Context(), func(v policy.View) { text = state(v) }))
	return text
}

func TestThePastCanBeSeen(t *testing.T) {
	files := vfs.NewMem()
	s := open(t, files, journal.Options{})
	states := history(t, s)
	check := func() {
		for revision, expected := range states {
			require.NoError(t, s.At(uint64(revision), func(v policy.View) {
				require.EqualValues(t, revision, v.Revision())
				require.Equal(t, expected, state(v), "at revision %d", revision)
			}))
		}
		require.ErrorIs(t, s.At(uint64(len(states)), func(policy.View) {}), actors.ErrUnknownRevision)
	}
	check()
	s.end(t)
	s = open(t, files, journal.Options{})
	check()
}

func entries(t testing.TB, s *stage, after uint64) (list []oplog.Entry) {
	require.NoError(t, s.Changes(after, func(e *oplog.Entry) bool {
		list = append(list, *e)
		return true
	}))
	return list
}

func TestEveryChangeIsOnRecord(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := open(t, vfs.NewMem(), journal.Options{}.At(func() time.Time { return now }))
	history(t, s)
	list := entries(t, s, 0)
	require.Len(t, list, 12)
	for i, e := range list {
		require.EqualValues(t, i+1, e.Revision)
		require.EqualValues(t, i, e.Previous)
		require.Equal(t, now, e.Time)
		require.Equal(t, oplog.Author{Principal: admin, Credential: "f1"}, e.Author)
		require.Len(t, e.Hash, 64)
	}
	require.Equal(t, "no more", list[3].Changes[0].Reason)
	require.Equal(t, policy.OpRevoke, list[3].Changes[0].Op)
	require.Equal(t, list[5:], entries(t, s, 5))
	require.Empty(t, entries(t, s, 12))
}

func TestALargeUpdateIsInChunks(t *testing.T) {
	s := open(t, vfs.NewMem(), journal.Options{})
	s.update(t, policy.PutRole(reader(t), ""))
	changes := make([]policy.Change, 2500)
	for i := range changes {
		changes[i] = grant(policy.MustPrincipal(fmt.Sprintf("user:u%d", i)), "reader")
	}
	s.update(t, changes...)
	list := entries(t, s, 1)
	require.Len(t, list, 1)
	require.Equal(t, 2500, list[0].Count)
	require.Len(t, list[0].Changes, actors.MaxListed)
	v, err := s.journal.Verify(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2500, v.Principals)
}

func TestOldEntriesAreTrimmed(t *testing.T) {
	files := vfs.NewMem()
	s := open(t, files, journal.Options{Keep: journal.Keep{Count: 4}})
	states := history(t, s)
	require.NoError(t, s.journal.Trim())
	require.EqualValues(t, 9, s.Oldest())
	check := func() {
		require.ErrorIs(t, s.Changes(7, func(*oplog.Entry) bool { return true }), oplog.ErrCompacted)
		require.Len(t, entries(t, s, 8), 4)
		require.ErrorIs(t, s.At(7, func(policy.View) {}), oplog.ErrCompacted)
		for revision := 8; revision < len(states); revision++ {
			require.NoError(t, s.At(uint64(revision), func(v policy.View) { require.Equal(t, states[revision], state(v)) }))
		}
		v, err := s.journal.Verify(t.Context())
		require.NoError(t, err)
		require.Equal(t, 4, v.Entries)
	}
	check()
	s.end(t)
	s = open(t, files, journal.Options{Keep: journal.Keep{Count: 4}})
	require.EqualValues(t, 9, s.Oldest())
	check()
}

func TestARequestIsRepeatedSafely(t *testing.T) {
	files := vfs.NewMem()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	options := journal.Options{}.At(func() time.Time { return now })
	s := open(t, files, options)
	s.update(t, policy.PutRole(reader(t), ""))
	ask := func(author policy.Principal, key string, request byte, c policy.Change) (uint64, error) {
		r, err := s.Update(t.Context(), actors.Update{
			Changes: []policy.Change{c}, Author: oplog.Author{Principal: author},
			Key: oplog.IdempotencyKey{Key: key, Request: [32]byte{request}},
		})
		return r.Revision, err
	}
	expect := func(revision uint64, author policy.Principal, key string, request byte) {
		got, err := ask(author, key, request, grant(alice, "reader"))
		require.NoError(t, err)
		require.Equal(t, revision, got)
	}
	expect(2, admin, "k", 1)
	expect(2, admin, "k", 1)
	expect(3, bob, "k", 1) // a key belongs to its author
	_, err := ask(admin, "k", 2, grant(alice, "reader"))
	require.ErrorIs(t, err, oplog.ErrKeyReused)
	_, err = ask(admin, "refused", 1, grant(alice, "nothing"))
	require.ErrorIs(t, err, policy.ErrUnknownRole)
	expect(4, admin, "refused", 1) // a refused update leaves nothing in the log
	s.end(t)
	s = open(t, files, options)
	expect(2, admin, "k", 1)
	require.EqualValues(t, 4, s.Revision())
	now = now.Add(24 * time.Hour)
	expect(5, admin, "k", 1) // the key was removed
}

// One author cannot take the keys of all others, and a restart forgets no count.
func TestLimits_IdempotencyKeysOfEachAuthor(t *testing.T) {
	files := vfs.NewMem()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	options := journal.Options{}.At(func() time.Time { return now }).Repeats(5, 3)
	s := open(t, files, options)
	s.update(t, policy.PutRole(reader(t), ""))
	ask := func(author policy.Principal, key string) error {
		_, err := s.Update(t.Context(), actors.Update{
			Changes: []policy.Change{grant(alice, "reader")}, Author: oplog.Author{Principal: author}, Key: oplog.IdempotencyKey{Key: key},
		})
		return err
	}
	whole := func() {
		v, err := s.journal.Verify(t.Context())
		require.NoError(t, err)
		require.Positive(t, v.Entries)
	}
	for _, key := range []string{"1", "2", "3"} {
		require.NoError(t, ask(admin, key))
	}
	require.ErrorIs(t, ask(admin, "4"), oplog.ErrTooManyKeys)
	require.NoError(t, ask(admin, "2"), "it is known")
	require.NoError(t, ask(admin, ""))
	require.NoError(t, ask(bob, "1"))
	whole()
	s.end(t)
	s = open(t, files, options)
	require.ErrorIs(t, ask(admin, "4"), oplog.ErrTooManyKeys)
	require.NoError(t, ask(bob, "2"))
	require.ErrorIs(t, ask(bob, "3"), oplog.ErrTooManyKeys, "all have five")
	now = now.Add(24 * time.Hour)
	require.NoError(t, ask(admin, "4"), "old keys are removed")
	require.NoError(t, ask(admin, "1"))
	whole()
}

// SECURITY, line 31.
func TestABurstDoesNotPushOutYoungEntries(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	options := journal.Options{Keep: journal.Keep{Count: 2, MinAge: time.Hour}}.At(func() time.Time { return now })
	s := open(t, vfs.NewMem(), options)
	s.update(t, policy.PutRole(reader(t), ""))
	for i := range 5 {
		s.update(t, grant(policy.MustPrincipal(fmt.Sprintf("user:u%d", i)), "reader"))
	}
	require.NoError(t, s.journal.Trim())
	require.EqualValues(t, 1, s.Oldest())
	now = now.Add(time.Hour)
	s.update(t, grant(alice, "reader"))
	require.NoError(t, s.journal.Trim())
	require.EqualValues(t, 6, s.Oldest())
}
