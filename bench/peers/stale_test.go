package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// at are intervals in microseconds, from and to in turn.
func at(times ...int) []interval {
	var all []interval
	instant := func(i int) time.Time { return time.Unix(0, 0).Add(time.Duration(times[i]) * time.Microsecond) }
	for i := 0; i < len(times); i += 2 {
		all = append(all, interval{instant(i), instant(i + 1)})
	}
	return all
}

func TestCount(t *testing.T) {
	revoked := at(100, 200, 300, 400)
	for name, c := range map[string]struct {
		uses  []interval
		stale stale
	}{
		"none":                           {nil, stale{revocations: 2}},
		"before and after":               {at(0, 50, 200, 300, 400, 450), stale{revocations: 2}},
		"ended at the acknowledgment":    {at(50, 100), stale{revocations: 2}},
		"began at the acknowledgment":    {at(100, 110), stale{2, 1, 0}},
		"began after each":               {at(150, 160, 170, 190, 350, 500), stale{2, 3, 0}},
		"ran at each":                    {at(90, 110, 290, 350), stale{2, 0, 2}},
		"ran until after the next grant": {at(90, 250), stale{2, 0, 1}},
		"ran, and another began":         {at(99, 101, 101, 102), stale{2, 1, 1}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.stale, count(c.uses, revoked)) })
	}
}

// TestRace sees no stale use where there can be none, and one where there has to be.
func TestRace(t *testing.T) {
	w := newWorld(small)
	for _, name := range []string{"interlock Execute", "Casbin SyncedCachedEnforcer"} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, peerOf(t, name), w)
			p, err := findProbe(w, startEngine(t, peerOf(t, "interlock Decide"), w))
			require.NoError(t, err)
			_, err = e.Check(p.query)
			require.NoError(t, err)
			s, err := p.race(e, 50*time.Millisecond)
			require.NoError(t, err)
			require.Positive(t, s.revocations)
			require.Equal(t, peerOf(t, name).cached, s.began > 0, "%+v", s)
			require.Equal(t, peerOf(t, name).cached, s.began+s.running > 0, "%+v", s)
		})
	}
}

func TestFindProbeLeavesTheEngineAsItWas(t *testing.T) {
	w := newWorld(small)
	e := startEngine(t, peerOf(t, "interlock Decide"), w)
	before, err := answers(e, w.queries)
	require.NoError(t, err)
	p, err := findProbe(w, e)
	require.NoError(t, err)
	require.NoError(t, agree(e, w.queries, before))
	require.NoError(t, p.holds(e))
	require.Error(t, probe{p.query, "role-none"}.holds(e))
}
