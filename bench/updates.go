package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/bench/results"
)

// Updates measures what an update costs in memory, and what it costs others meanwhile. If ctx
// ends, Updates returns its error within a second or two, and the document has the rows that
// were complete.
func Updates(ctx context.Context, o Options, d *results.Document) error {
	s := d.Add("A role storm: roles change and grants come and go, while callers work")
	for _, size := range []stormSize{{roles: 1500, permissions: 100_000}, {roles: 50_000, permissions: 1_000_000}} {
		if !o.wants(size.String()) {
			continue
		}
		rounds := o.Rounds
		if size.permissions > 100_000 {
			rounds = min(rounds, 3)
		}
		found, err := unlessDone(ctx, memoryGrace, func() *stormCost { return storm(ctx, size, rounds) })
		if err != nil {
			return err
		}
		found.addTo(s, size)
	}
	const holders = 100_000
	s = d.Add(fmt.Sprintf("A role changes again and again that %d active principals hold", holders))
	if o.wants(s.Name) {
		found, err := unlessDone(ctx, memoryGrace, func() *crowdCost { return crowd(ctx, holders, o.Rounds, o.Each) })
		if err != nil {
			return err
		}
		found.addTo(s)
	}
	const leases = 10_000
	s = d.Add(fmt.Sprintf("A role loses its permissions that %d principals with a lease each hold", leases))
	if o.wants(s.Name) {
		found, err := unlessDone(ctx, memoryGrace, func() *leasesCost { return revokeLeases(ctx, leases, o.Rounds) })
		if err != nil {
			return err
		}
		found.addTo(s)
	}
	return nil
}

// atMost is a metric with a target.
func atMost(limit float64, m *results.Metric) *results.Metric {
	m.Target = &results.Target{Limit: limit}
	return m
}

// nanosecondsSince returns how long ago start was.
func nanosecondsSince(start time.Time) float64 { return float64(time.Since(start)) }
