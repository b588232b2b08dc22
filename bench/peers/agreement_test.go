package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAgreement gives every engine the same world, takes roles away from half of the
// principals, and gives them back.
func TestAgreement(t *testing.T) {
	w := newWorld(small)
	reference := startEngine(t, peerOf(t, "interlock Execute"), w)
	expected, err := answers(reference, w.queries)
	require.NoError(t, err)
	revoke(t, w, reference)
	without, err := answers(reference, w.queries)
	require.NoError(t, err)
	require.NotEqual(t, expected, without)

	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			e := startEngine(t, p, w)
			require.Equal(t, p.name, e.Name())
			require.NoError(t, agree(e, w.queries, expected))
			revoke(t, w, e)
			if p.cached {
				require.NoError(t, agree(e, w.queries, expected), "the cache is not stale any more: say so in the table")
				return
			}
			require.NoError(t, agree(e, w.queries, without))
			for _, m := range w.members[:len(w.members)/2] {
				require.NoError(t, e.Grant(m.who, m.roles[0]))
			}
			require.NoError(t, agree(e, w.queries, expected))
		})
	}
}

func revoke(t *testing.T, w *world, e engine) {
	t.Helper()
	for _, m := range w.members[:len(w.members)/2] {
		require.NoError(t, e.Revoke(m.who, m.roles[0]))
	}
}

// liar answers one query wrongly.
type liar struct {
	engine
	about query
}

func (l *liar) Check(q query) (bool, error) {
	allowed, err := l.engine.Check(q)
	return allowed != (q == l.about), err
}

func TestAgreementNamesTheQuery(t *testing.T) {
	w := newWorld(small)
	e := startEngine(t, peerOf(t, "interlock Decide"), w)
	expected, err := answers(e, w.queries)
	require.NoError(t, err)

	var disagreement *DisagreementError
	require.ErrorAs(t, agree(&liar{e, w.queries[7]}, w.queries, expected), &disagreement)
	require.Equal(t, w.queries[7], disagreement.Query)
	require.Equal(t, 7, disagreement.Number)
	require.NotEqual(t, expected[7], disagreement.Answer)
}

// TestWorld holds the world to what the table says of it.
func TestWorld(t *testing.T) {
	w := newWorld(full)
	require.Equal(t, w, newWorld(full))
	denied := 0
	for _, r := range w.roles {
		for _, p := range r.permissions {
			if p.deny {
				denied++
			}
		}
	}
	require.InDelta(t, 0.05, float64(denied)/float64(len(w.roles)*len(w.roles[0].permissions)), 0.02)

	given, err := answers(startEngine(t, peerOf(t, "interlock Decide"), w), w.queries)
	require.NoError(t, err)
	allowed := 0
	for _, a := range given {
		if a {
			allowed++
		}
	}
	require.InDelta(t, 0.5, float64(allowed)/float64(len(given)), 0.1)
}
