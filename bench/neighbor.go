package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// neighbor measures the latency of one principal's empty operations: alone, and while
// another principal runs functions that wait for a millisecond, with one update in ten
// calls.
func neighbor(ctx context.Context, d time.Duration) (idle, disturbed *hdrhistogram.Histogram) {
	w := eightPermissions(2)
	e := w.engine()
	defer func() { _ = e.Close(context.Background()) }()
	ctx, stop := context.WithCancel(ctx)
	idle = probe(ctx, e, w.queries[0], d)
	var noise sync.WaitGroup
	for n := range 8 {
		noise.Go(func() {
			for i := n; ctx.Err() == nil; i++ {
				if i%10 == 0 {
					g := policy.Grant{Principal: w.queries[1].Principal, Role: "worker", Reason: fmt.Sprint(i)}
					_, _ = e.Update(ctx, actors.Update{Changes: []policy.Change{policy.GrantRole(g)}})
					continue
				}
				_ = e.Execute(ctx, w.queries[1], func(context.Context) error { time.Sleep(time.Millisecond); return nil })
			}
		})
	}
	disturbed = probe(ctx, e, w.queries[0], d)
	stop()
	noise.Wait()
	return idle, disturbed
}

// probe measures the latency of empty operations for a time, or until ctx ends.
func probe(ctx context.Context, e *actors.Engine, req actors.Request, d time.Duration) *hdrhistogram.Histogram {
	end := time.Now().Add(d)
	return probeWhile(ctx, e, req, func(now time.Time) bool { return now.Before(end) })
}

func probeWhile(ctx context.Context, e *actors.Engine, req actors.Request, on func(now time.Time) bool) *hdrhistogram.Histogram {
	h := newHistogram()
	whole := context.WithoutCancel(ctx) // an operation that has begun is measured
	for start := time.Now(); ctx.Err() == nil && on(start); {
		mustDecide(e.Execute(whole, req, nothing))
		end := time.Now()
		_ = h.RecordValue(max(1, int64(end.Sub(start))))
		start = end
	}
	return h
}
