package bench

import (
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

// Ratios measures what has a target, in memory: each comparison in rounds, both sides in
// turn.
func Ratios(o Options, d *results.Document) error {
	if err := setBenchtime(o.Each); err != nil {
		return err
	}
	s := d.Add("One operation beside another")
	for _, p := range pairs() {
		if o.wants(p.name) {
			p.run(o.Rounds).addTo(s)
		}
	}
	means := d.Add(fmt.Sprintf("%d callers on one principal: the mean latency of an operation, updates counted apart", callers))
	for _, c := range contentions() {
		if o.wants(c.name) {
			r, last := c.run(o.Rounds, o.Each)
			r.addTo(means)
			means.Note("%s, last round: Execute %v; Mutex %v", c.name, last[0], last[1])
		}
	}
	if o.wants("one principal beside another that is slow") {
		neighbours(d.Add("One principal's empty operations, alone and beside one whose functions wait 1 ms, with 10 % updates"))
	}
	return nil
}

// Disk measures the log on disk, in the folder of temporary files.
func Disk(o Options, d *results.Document) error {
	if err := setBenchtime(o.Each); err != nil {
		return err
	}
	s := d.Add("The log on disk")
	for _, p := range durablePairs() {
		if o.wants(p.name) {
			p.run(o.Rounds).addTo(s)
		}
	}
	if o.wants("start") {
		restart(o.Rounds).addTo(s)
	}
	if o.wants("writers") {
		besideWriters(o.Rounds, 5*o.Each).addTo(s)
	}
	if o.wants("role change") {
		const holders = 100_000
		c := changeRole(holders, o.Rounds)
		s := d.Add(fmt.Sprintf("A role changes that %d active principals hold: another's operations", holders))
		addLatencies(s, "alone", c.alone)
		addLatencies(s, "meanwhile", c.meantime)
		d.Add("The same: from the call to quiesced").Add("Update").Add(seconds("takes", c.quiesced))
	}
	return nil
}

// Scale measures what principals cost in memory, and how soon the first is served.
func Scale(o Options, d *results.Document) error {
	s := d.Add("Many principals, a role each")
	for _, n := range []int{1_000, 1_000_000} {
		name := fmt.Sprintf("%d principals", n)
		if !o.wants(name) {
			continue
		}
		m, err := measureScale(n)
		if err != nil {
			return err
		}
		s.Add(name).Add(
			once("idle, each", "B", float64(m.idle)), once("active, each more", "B", float64(m.active)),
			once("start to first decision", "s", m.first.Seconds()), once("activations/s", "1/s", m.activations))
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

func neighbours(s *results.Section) {
	idle, beside := neighbour(2 * time.Second)
	addLatencies(s, "alone", idle)
	addLatencies(s, "beside", beside)
}

func addLatencies(s *results.Section, name string, h *hdrhistogram.Histogram) {
	at := func(metric string, v int64) *results.Metric { return seconds(metric, []float64{float64(v)}) }
	s.Add(name).Add(at("p50", h.ValueAtQuantile(50)), at("p99", h.ValueAtQuantile(99)),
		at("p99.9", h.ValueAtQuantile(99.9)), at("max", h.Max()))
}
