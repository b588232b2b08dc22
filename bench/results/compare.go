package results

import (
	"fmt"
	"io"
	"math"
	"strings"

	"golang.org/x/perf/benchmath"
)

// Change is the difference of one metric between two runs.
type Change struct {
	Section, Row, Metric string
	Unit                 string
	Old, New             float64 // medians
	// Ratio is New divided by Old.
	Ratio float64
	// P is the probability of this difference or a greater one if nothing changed. It comes
	// from the Mann-Whitney U test, as benchstat computes it.
	P float64
	// Beyond reports a difference beyond noise (P below 0.05). Worse reports that the
	// new value is worse.
	Beyond, Worse bool
}

// Regressed reports whether the new value is worse, beyond noise.
func (c *Change) Regressed() bool { return c.Beyond && c.Worse }

// Compare compares every metric that both runs have. missing names the metrics that only
// one has.
func Compare(old, now *Document) (changes []*Change, missing []string) {
	before := map[string]*Metric{}
	old.each(func(place string, _ *Section, _ *Row, m *Metric) { before[place] = m })
	now.each(func(place string, s *Section, r *Row, m *Metric) {
		was, ok := before[place]
		delete(before, place)
		if !ok {
			missing = append(missing, place+": not in the old run")
			return
		}
		changes = append(changes, compare(s, r, was, m))
	})
	old.each(func(place string, _ *Section, _ *Row, m *Metric) {
		if before[place] == m {
			missing = append(missing, place+": not in the new run")
		}
	})
	return changes, missing
}

func (d *Document) each(do func(place string, s *Section, r *Row, m *Metric)) {
	for _, s := range d.Sections {
		for _, r := range s.Rows {
			for _, m := range r.Metrics {
				do(strings.Join([]string{s.Name, r.Name, m.Name}, ", "), s, r, m)
			}
		}
	}
}

func compare(s *Section, r *Row, was, is *Metric) *Change {
	_, before, _ := was.Summary()
	_, after, _ := is.Summary()
	statistic := benchmath.AssumeNothing.Compare(was.sample(), is.sample())
	c := &Change{
		Section: s.Name, Row: r.Name, Metric: is.Name, Unit: is.Unit, Old: before, New: after,
		Ratio: after / before, P: statistic.P, Beyond: statistic.P < statistic.Alpha && before != after,
	}
	if before == 0 {
		c.Ratio = math.Inf(1)
		if after == 0 {
			c.Ratio = 1
		}
	}
	c.Worse = after > before
	if is.More {
		c.Worse = after < before
	}
	return c
}

// WriteChanges writes the changes as a table in Markdown.
func WriteChanges(w io.Writer, changes []*Change) error {
	var out strings.Builder
	out.WriteString("| | | | old | new | ratio | p | |\n|---|---|---|---|---|---|---|---|\n")
	for _, c := range changes {
		verdict := "~"
		switch {
		case c.Regressed():
			verdict = "**worse**"
		case c.Beyond:
			verdict = "better"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %.3f | %.3f | %s |\n",
			c.Section, c.Row, c.Metric, inUnit(c.Old, c.Unit), inUnit(c.New, c.Unit), c.Ratio, c.P, verdict)
	}
	_, err := io.WriteString(w, out.String())
	return err
}
