package main

import (
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/results"
)

func TestCompare(t *testing.T) {
	chosen := matching(regexp.MustCompile("^(interlock Execute|Casbin Enforcer|cedar-go)$"))
	require.Len(t, chosen, 3)
	c, err := prepare(newWorld(small), chosen, options{rounds: 2, each: 10 * time.Millisecond, progress: io.Discard})
	require.NoError(t, err)
	defer c.close()
	require.NoError(t, c.run())

	folder := t.TempDir()
	require.NoError(t, c.report("test").Save(folder, "peers"))
	d, err := results.Read(folder + "/peers.json")
	require.NoError(t, err)
	rows := []int{3, 2, 2} // Casbin's plain enforcer stands in the first table only
	require.Len(t, d.Sections, len(rows))
	for i, s := range d.Sections {
		require.Len(t, s.Rows, rows[i], s.Name)
		for _, r := range s.Rows {
			for _, m := range r.Metrics {
				require.Len(t, m.Samples, 2, "%s, %s, %s", s.Name, r.Name, m.Name)
			}
		}
	}
}

// TestPrepareRefuses a peer that answers in its own way.
func TestPrepareRefuses(t *testing.T) {
	w := newWorld(small)
	p := peerOf(t, "cedar-go")
	start := p.start
	p.start = func(w *world) (engine, error) {
		e, err := start(w)
		return &liar{e, w.queries[0]}, err
	}
	_, err := prepare(w, []peer{p}, options{rounds: 1, each: 1, progress: io.Discard})
	var disagreement *DisagreementError
	require.ErrorAs(t, err, &disagreement)
}
