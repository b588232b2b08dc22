package bench

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/results"
)

// TestG2_CellsCountViolations: strategies that keep the promises show none, over the same
// load under which the others are found out.
func TestG2_CellsCountViolations(t *testing.T) {
	for _, kind := range []struct {
		name string
		role bool
	}{{"one principal", false}, {"the role", true}} {
		for _, c := range contestants() {
			t.Run(kind.name+"/"+c.name, func(t *testing.T) {
				w := workload{principals: 1, callers: 8, updates: 10, operation: longWork, role: kind.role}
				cell := newCell(&c, w)
				defer cell.close()
				end := time.Now().Add(20 * time.Second)
				for violations := int64(0); violations == 0; {
					s := cell.run(100 * time.Millisecond)
					require.Positive(t, s.operations)
					require.Positive(t, s.updates)
					violations += s.violations
					if c.keeps == "G1, G2" {
						require.Zero(t, violations)
						return
					}
					require.True(t, time.Now().Before(end), "a racy strategy has shown no violation")
				}
			})
		}
	}
}

// TestOpenLoopCountsDelays: a call that waits for the ones before counts from when it was
// due.
func TestOpenLoopCountsDelays(t *testing.T) {
	c := newCell(nil, workload{principals: 1, callers: 1, operation: waiting, rate: 10_000})
	s := c.run(100 * time.Millisecond)
	require.Greater(t, time.Duration(s.latency.ValueAtQuantile(99)), 100*time.Millisecond, "ten times as many are due as can be made")
}

func TestContentionIsReported(t *testing.T) {
	d := results.New("test")
	o := Options{Only: regexp.MustCompile(`^(1|100) principals?, `), Slices: 2, Slice: 5 * time.Millisecond, Progress: io.Discard}
	plots, err := Contention(t.Context(), o, d)
	require.NoError(t, err)
	require.Len(t, d.Sections, 2)
	require.Len(t, d.Sections[0].Rows, len(contestants())+1)
	require.Len(t, plots, 1, "that against principals has two points")
	dir := t.TempDir()
	require.NoError(t, d.Save(dir, "contention"))
	require.NoError(t, plots[0].Save(dir, plots[0].Name, d.Caption()))
	svg, err := os.ReadFile(filepath.Join(dir, "cost-by-principals.svg"))
	require.NoError(t, err)
	require.Contains(t, string(svg), "snapshot (racy)")
	var text bytes.Buffer
	require.NoError(t, d.Markdown(&text))
	require.Contains(t, text.String(), "| interlock Execute | G1, G2 |")
}

func TestPointsVaryOneFactor(t *testing.T) {
	for _, w := range allPoints() {
		base, differ := basePoint(), 0
		for _, same := range []bool{
			w.principals == base.principals, w.zipf == base.zipf, w.callers == base.callers, w.updates == base.updates,
			w.operation == base.operation, w.role == base.role, w.rate == base.rate,
		} {
			if !same {
				differ++
			}
		}
		require.LessOrEqual(t, differ, 1, "%v", w)
	}
}
