package bench

import (
	"context"
	"math"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/bench/results"
)

// Contention measures every strategy at the base point and at the points that differ from it in one factor. It returns the
// plots. If ctx ends, Contention returns its error within a second or two; the document and the plots have the points that
// were complete.
func Contention(ctx context.Context, o Options, d *results.Document) ([]*NamedPlot, error) {
	all := map[workload]map[string][]*slice{}
	var err error
	for _, w := range allPoints() {
		if !o.wants(w.String()) {
			continue
		}
		var found map[string][]*slice
		if found, err = measurePoint(ctx, &o, w, d); err != nil {
			break
		}
		all[w] = found
	}
	if len(d.Sections) > 0 {
		first := d.Sections[0]
		for _, c := range contestants() {
			if c.lacks != "" {
				first.Note("%s has no %s", c.name, c.lacks)
			}
		}
		first.Note("violations are operations that ran when a revocation had returned, or began after it and before the next grant, in the run that is timed; an update is a revocation and a grant; calls that came between are refused, and not counted as operations")
	}
	return plots(all), err
}

// measurePoint measures every strategy under a workload. It adds a section when all are complete.
func measurePoint(ctx context.Context, o *Options, w workload, d *results.Document) (map[string][]*slice, error) {
	all := map[string][]*slice{}
	s := &results.Section{Name: w.String()}
	add := func(c *contestant, w workload, name, keeps string) error {
		found, err := unlessDone(ctx, memoryGrace, func() []*slice { return measure(ctx, c, w, o.Slices, o.Slice) })
		if err == nil {
			all[name] = found
			addCell(s.Add(name, results.Fact{Name: "keeps", Text: keeps}), found)
		}
		return err
	}
	for _, c := range contestants() {
		if err := add(&c, w, c.name, c.keeps); err != nil {
			return nil, err
		}
	}
	bare := w
	bare.updates, bare.role = 0, false
	if err := add(nil, bare, "the measuring itself", "–"); err != nil {
		return nil, err
	}
	d.Sections = append(d.Sections, s)
	return all, nil
}

// addCell adds the figures of a cell to its row.
func addCell(r *results.Row, slices []*slice) {
	rate := &results.Metric{Name: "operations/s", Unit: "1/s", More: true}
	var violations, updates, refused, operations int64
	quantile := func(name string, q float64, of func(*slice) *hdrhistogram.Histogram) *results.Metric {
		var all []float64
		for _, s := range slices {
			if h := of(s); h.TotalCount() > 0 {
				all = append(all, float64(h.ValueAtQuantile(q)))
			}
		}
		return seconds(name, all)
	}
	latency := func(s *slice) *hdrhistogram.Histogram { return s.latency }
	for _, s := range slices {
		rate.Samples = append(rate.Samples, float64(s.operations)/s.took.Seconds())
		violations += s.violations
		updates += s.updates
		refused += s.refused
		operations += s.operations
	}
	r.Add(rate, quantile("p50", 50, latency), quantile("p99", 99, latency))
	if updates > 0 {
		r.Add(quantile("update p50", 50, func(s *slice) *hdrhistogram.Histogram { return s.change }))
		r.Add(once("updates", "", float64(updates)), once("refused, %", "", 100*float64(refused)/float64(refused+operations)))
		r.Add(once("violations", "", float64(violations)))
	}
}

// NamedPlot is a plot with the name of its file.
type NamedPlot struct {
	Name string
	results.Plot
}

// plots draws how throughput, latency and cost depend on a factor; a plot of which fewer
// than two points were measured is left out.
func plots(all map[workload]map[string][]*slice) []*NamedPlot {
	var drawn []*NamedPlot
	for _, p := range []struct {
		name, title, y, factor string
		of                     func([]*slice) float64
	}{
		{"throughput-by-callers", "Throughput against callers", "operations a second", "callers", throughput},
		{"p99-by-updates", "Latency against the share of updates", "p99 of an operation, µs", "updates, %", p99},
		{"cost-by-principals", "Cost against principals", "time for each operation, 64 callers, µs", "principals", cost},
	} {
		plot := &NamedPlot{Name: p.name, Plot: results.Plot{Title: p.title, X: p.factor, Y: p.y}}
		points := pointsOf(p.factor, plot, all)
		if len(points) < 2 {
			continue
		}
		for _, c := range contestants() {
			line := results.Line{Name: c.name, Dashed: !strings.Contains(c.keeps, "G2")}
			if line.Dashed {
				line.Name += " (racy)"
			}
			for _, w := range points {
				line.Values = append(line.Values, p.of(all[w][c.name]))
			}
			plot.Lines = append(plot.Lines, line)
		}
		drawn = append(drawn, plot)
	}
	return drawn
}

// pointsOf returns the workloads that differ from the base point in a factor alone, and
// puts the factor's values on the plot's axis.
func pointsOf(name string, plot *NamedPlot, all map[workload]map[string][]*slice) []workload {
	var points []workload
	for _, f := range factors() {
		for i := range f.values {
			w := basePoint()
			f.set(&w, i)
			if f.name == name && all[w] != nil {
				points = append(points, w)
				plot.Ticks = append(plot.Ticks, f.values[i])
			}
		}
	}
	return points
}

func throughput(slices []*slice) float64 {
	n, took := int64(0), 0.0
	for _, s := range slices {
		n += s.operations
		took += s.took.Seconds()
	}
	return float64(n) / took
}

func cost(slices []*slice) float64 {
	if t := throughput(slices); t > 0 {
		return 1e6 / t
	}
	return math.NaN()
}

func p99(slices []*slice) float64 {
	h := newSlice().latency
	for _, s := range slices {
		h.Merge(s.latency)
	}
	return float64(h.ValueAtQuantile(99)) / 1e3
}
