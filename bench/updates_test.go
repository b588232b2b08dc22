package bench

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/bench/results"
)

func TestStormHasTheSizeThatItSays(t *testing.T) {
	size := stormSize{roles: 600, permissions: 40_000}
	g := newStormGenerator(size, 1)
	w := g.world()
	total, large := 0, 0
	for _, r := range w.roles {
		n := len(r.Permissions())
		total += n
		if n == largeSize {
			large++
		}
	}
	require.InEpsilon(t, size.permissions, total, 0.3)
	require.Positive(t, large)
	require.Equal(t, w.roles[7].Permissions(), newStormGenerator(size, 1).world().roles[7].Permissions(), "the seed decides")
}

func TestUpdatesAreReported(t *testing.T) {
	d := results.New("test")
	s := d.Add("updates")
	size := stormSize{roles: 20, permissions: 300}
	storm(t.Context(), size, 1).addTo(s, size)
	crowd(t.Context(), 50, 1, time.Millisecond).addTo(s)
	revokeLeases(t.Context(), 20, 1).addTo(s)
	require.Len(t, s.Rows, 5)
	for _, row := range s.Rows {
		for _, m := range row.Metrics {
			require.Len(t, m.Samples, 1, "%s: %s", row.Name, m.Name)
			require.Positive(t, m.Samples[0], "%s: %s", row.Name, m.Name)
		}
	}
}
