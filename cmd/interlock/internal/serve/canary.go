package serve

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
)

// newCanary returns the canary, nil if it is off.
func newCanary(c *config.Config, engine canary.Engine, log *slog.Logger) (*canary.Canary, error) {
	if c.Canary.Interval == 0 {
		return nil, nil
	}
	return canary.New(canary.Options{Engine: engine, Interval: c.Canary.Interval, SLO: c.Canary.SLO, Logger: log})
}

// violation returns the first violation that the canary has found, nil without one.
func violation(c *canary.Canary) error {
	if c == nil {
		return nil
	}
	return c.Violation()
}

// startCanary runs the canary. stop ends it and waits until its grant is revoked, so it comes before
// the end of the engine.
func (h *handlers) startCanary(ctx context.Context) (stop func()) {
	if h.canary == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { h.canary.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// The metrics of the canary.
var (
	canaryInterval   = describe("canary_interval_seconds", "Time between rounds of the canary, 0 without one.")
	canaryRounds     = describe("canary_rounds_total", "Rounds of the canary, by outcome.", "outcome")
	canaryViolations = describe("canary_violations_total", "Promises that the canary has seen broken.")
	canaryMisses     = describe("canary_slo_misses_total", "Revocations of the canary that took longer than the SLO.")
	canaryRevocation = describe("canary_revocation_seconds", "Time from the request of a revocation of the canary to its return.")
	canarySuccess    = describe("canary_last_success_seconds", "Unix time in seconds of the last round that passed, or of the start, 0 without a canary.")
)

// canary sends the metrics of the canary, which are 0 without one.
func (s *scrape) canary(c *canary.Canary) {
	var n canary.Counts
	var interval time.Duration
	success := 0.0
	if c != nil {
		n, interval = c.Counts(), c.Interval()
		success = float64(n.LastSuccess.UnixMilli()) / 1000
	}
	s.gauge(canaryInterval, interval.Seconds())
	s.counter(canaryRounds, n.Passed, "passed")
	s.counter(canaryRounds, n.Failed, "failed")
	s.counter(canaryRounds, n.Violated, "violated")
	s.counter(canaryViolations, n.Violations)
	s.counter(canaryMisses, n.Misses)
	s.histogram(canaryRevocation, n.Latency)
	s.gauge(canarySuccess, success)
}
