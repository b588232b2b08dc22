package bench

import (
	"context"
	"flag"
	"fmt"
	"io"
	"regexp"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/bench/results"
)

// Options say what is measured, and how long.
type Options struct {
	// Only matches the names of what is measured.
	Only *regexp.Regexp
	// Rounds is how often each comparison is made, and Each how long one side runs.
	Rounds int
	Each   time.Duration
	// Slices and Slice are the same of a cell of [Contention].
	Slices int
	Slice  time.Duration
	// Progress gets a line for each thing that is measured.
	Progress io.Writer
}

func (o *Options) wants(name string) bool {
	if !o.Only.MatchString(name) {
		return false
	}
	fmt.Fprintln(o.Progress, name)
	return true
}

// How long a measurement may go on after its context has ended. One on disk gets longer, because it has a folder of
// temporary files to remove.
const (
	memoryGrace = time.Second
	diskGrace   = 10 * time.Second
)

// unlessDone returns what measure returns. If ctx ends before, it returns the context's error as soon as measure returns,
// or after the grace; measure then goes on in its goroutine until the process exits.
func unlessDone[T any](ctx context.Context, grace time.Duration, measure func() T) (found T, err error) {
	if ctx.Err() != nil {
		return found, context.Cause(ctx)
	}
	done := make(chan T, 1)
	go func() { done <- measure() }()
	select {
	case found = <-done:
		return found, context.Cause(ctx) // a measurement that was cut short does not count
	case <-ctx.Done():
	}
	select {
	case <-done:
	case <-time.After(grace):
	}
	return found, context.Cause(ctx)
}

// Ratios measures what has a target, in memory: each comparison in rounds, both sides in turn. If ctx ends, Ratios returns
// its error within a second or two, and the document has the rows that were complete.
func Ratios(ctx context.Context, o Options, d *results.Document) error {
	if err := setBenchtime(o.Each); err != nil {
		return err
	}
	if err := comparePairs(ctx, &o, memoryGrace, pairs(), d.Add("One operation compared with another")); err != nil {
		return err
	}
	means := d.Add(fmt.Sprintf("%d callers on one principal: the mean latency of an operation, updates counted apart", callers))
	for _, c := range contentions() {
		if !o.wants(c.name) {
			continue
		}
		var last [2]*latencies
		r, err := unlessDone(ctx, memoryGrace, func() (r *outcome) { r, last = c.run(ctx, o.Rounds, o.Each); return r })
		if err != nil {
			return err
		}
		r.addTo(means)
		means.Note("%s, last round: Execute %v; Mutex %v", c.name, last[0], last[1])
	}
	if !o.wants("one principal next to another that is slow") {
		return nil
	}
	h, err := unlessDone(ctx, memoryGrace, func() [2]*hdrhistogram.Histogram {
		idle, disturbed := neighbor(ctx, 2*time.Second)
		return [2]*hdrhistogram.Histogram{idle, disturbed}
	})
	if err != nil {
		return err
	}
	s := d.Add("One principal's empty operations, alone and next to one whose functions wait 1 ms, with 10 % updates")
	addLatencies(s, "alone", h[0])
	addLatencies(s, "next to it", h[1])
	return nil
}

// comparePairs adds a row for each pair that is wanted.
func comparePairs(ctx context.Context, o *Options, grace time.Duration, all []*pair, s *results.Section) error {
	for _, p := range all {
		if !o.wants(p.name) {
			continue
		}
		r, err := unlessDone(ctx, grace, func() *outcome { return p.run(ctx, o.Rounds) })
		if err != nil {
			return err
		}
		r.addTo(s)
	}
	return nil
}

// Disk measures the log on disk, in the folder of temporary files. If ctx ends, Disk returns its error when it has removed
// its files, and the document has the rows that were complete.
func Disk(ctx context.Context, o Options, d *results.Document) error {
	if err := setBenchtime(o.Each); err != nil {
		return err
	}
	s := d.Add("The log on disk")
	if err := comparePairs(ctx, &o, diskGrace, durablePairs(), s); err != nil {
		return err
	}
	for _, one := range []struct {
		name    string
		measure func() *outcome
	}{
		{"start", func() *outcome { return restart(ctx, o.Rounds) }},
		{"writers", func() *outcome { return duringWrites(ctx, o.Rounds, 5*o.Each) }},
	} {
		if !o.wants(one.name) {
			continue
		}
		r, err := unlessDone(ctx, diskGrace, one.measure)
		if err != nil {
			return err
		}
		r.addTo(s)
	}
	if !o.wants("role change") {
		return nil
	}
	const holders = 100_000
	c, err := unlessDone(ctx, diskGrace, func() *roleChange { return changeRole(ctx, holders, o.Rounds) })
	if err != nil {
		return err
	}
	s = d.Add(fmt.Sprintf("A role changes that %d active principals hold: another's operations", holders))
	addLatencies(s, "alone", c.alone)
	addLatencies(s, "meanwhile", c.meantime)
	d.Add("The same: from the call to quiesced").Add("Update").Add(seconds("takes", c.quiesced))
	return nil
}

// Scale measures the memory that principals take, and how soon the first one is served. If ctx ends, Scale returns its
// error within a second or two, and the document has the rows that were complete.
func Scale(ctx context.Context, o Options, d *results.Document) error {
	s := d.Add("Many principals, a role each")
	for _, n := range []int{1_000, 1_000_000} {
		name := fmt.Sprintf("%d principals", n)
		if !o.wants(name) {
			continue
		}
		var failed error
		m, err := unlessDone(ctx, memoryGrace, func() (m scale) { m, failed = measureScale(ctx, n); return m })
		if err == nil {
			err = failed
		}
		if err != nil {
			return err
		}
		active := once("active, each more", "B", float64(m.active))
		if n == 1_000_000 { // what does not depend on the number is spread over many
			atMost(600, active)
		}
		s.Add(name).Add(
			once("idle, each", "B", float64(m.idle)), active,
			once("start to first decision", "s", m.first.Seconds()), once("activations/s", "1/s", m.activations))
	}
	const roles = 100_000
	if name := fmt.Sprintf("%d roles of one permission", roles); o.wants(name) {
		bytes, err := unlessDone(ctx, memoryGrace, func() int64 { return measureRoles(roles) })
		if err != nil {
			return err
		}
		d.Add("Many roles").Add(name).Add(atMost(64<<20, once("compiled", "B", float64(bytes))))
	}
	return nil
}

// setBenchtime says how long [testing.Benchmark] runs.
func setBenchtime(each time.Duration) error {
	testing.Init()
	return flag.Set("test.benchtime", each.String())
}

func once(name, unit string, value float64) *results.Metric {
	return &results.Metric{Name: name, Unit: unit, Samples: []float64{value}}
}

func addLatencies(s *results.Section, name string, h *hdrhistogram.Histogram) {
	at := func(metric string, v int64) *results.Metric { return seconds(metric, []float64{float64(v)}) }
	s.Add(name).Add(at("p50", h.ValueAtQuantile(50)), at("p99", h.ValueAtQuantile(99)),
		at("p99.9", h.ValueAtQuantile(99.9)), at("max", h.Max()))
}
