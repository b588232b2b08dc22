package results

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"
)

// confidence of all intervals.
const confidence = 0.95

// Summary is the median of the samples with its 95 % interval, by order statistics; with
// few samples the interval is without bounds.
func (m *Metric) Summary() (low, median, high float64) {
	s := benchmath.AssumeNothing.Summary(m.sample(), confidence)
	return s.Lo, s.Center, s.Hi
}

func (m *Metric) sample() *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(m.Samples), &benchmath.DefaultThresholds)
}

// Met reports whether the target is met: it is missed only if the whole interval lies
// beyond it. Where the samples are too few for an interval, the median decides.
func (m *Metric) Met() bool {
	low, median, high := m.Summary()
	if math.IsInf(low, 0) || math.IsInf(high, 0) {
		low, high = median, median
	}
	switch {
	case m.Target == nil:
		return true
	case m.Target.AtLeast:
		return high >= m.Target.Limit
	}
	return low <= m.Target.Limit
}

// String is the median with its interval and what became of the target.
func (m *Metric) String() string {
	low, median, high := m.Summary()
	text := inUnit(median, m.Unit)
	if !math.IsInf(low, 0) && !math.IsInf(high, 0) && low != high {
		text += fmt.Sprintf(" (%s–%s)", inUnit(low, m.Unit), inUnit(high, m.Unit))
	}
	if m.Target == nil {
		return text
	}
	sign, verdict := "≤", "met"
	if m.Target.AtLeast {
		sign = "≥"
	}
	if !m.Met() {
		verdict = "**missed**"
	}
	return fmt.Sprintf("%s; %s %s %s", text, sign, inUnit(m.Target.Limit, m.Unit), verdict)
}

// inUnit writes a value with as many digits as mean something.
func inUnit(v float64, unit string) string {
	switch unit {
	case "s":
		return inPrefix(v*1e9, []string{" ns", " µs", " ms", " s"})
	case "1/s":
		return inPrefix(v, []string{"", " k", " M", " G"})
	case "B":
		return inPrefix(v, []string{" B", " kB", " MB", " GB"})
	}
	if v == math.Trunc(v) && unit == "" {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v) + unit
}

func inPrefix(v float64, prefixes []string) string {
	n := 0
	for math.Abs(v) >= 1000 && n < len(prefixes)-1 {
		v /= 1000
		n++
	}
	digits := 0
	if math.Abs(v) < 10 && v != math.Trunc(v) {
		digits = 2
	} else if math.Abs(v) < 100 && v != math.Trunc(v) {
		digits = 1
	}
	return fmt.Sprintf("%.*f%s", digits, v, prefixes[n])
}

// Caption says where the figures come from.
func (d *Document) Caption() string {
	return fmt.Sprintf("`%s`, commit %s, %s, %s, %s", d.Command, d.Commit, d.Go, d.Machine, d.Time.Format("2006-01-02"))
}

// Markdown writes the tables.
func (d *Document) Markdown(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s. Medians with their 95 %% intervals.\n", d.Caption())
	for _, s := range d.Sections {
		if err == nil {
			err = s.markdown(w)
		}
	}
	return err
}

func (s *Section) markdown(w io.Writer) error {
	var facts, metrics []string
	for _, r := range s.Rows {
		for _, f := range r.Facts {
			facts = with(facts, f.Name)
		}
		for _, m := range r.Metrics {
			metrics = with(metrics, m.Name)
		}
	}
	var out strings.Builder
	columns := slices.Concat([]string{""}, facts, metrics)
	fmt.Fprintf(&out, "\n## %s\n\n| %s |\n|%s\n", s.Name, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range s.Rows {
		cells := append([]string{r.Name}, make([]string, len(facts)+len(metrics))...)
		for _, f := range r.Facts {
			cells[1+slices.Index(facts, f.Name)] = f.Text
		}
		for _, m := range r.Metrics {
			cells[1+len(facts)+slices.Index(metrics, m.Name)] = m.String()
		}
		fmt.Fprintf(&out, "| %s |\n", strings.Join(cells, " | "))
	}
	for i, n := range s.Notes {
		if i == 0 {
			out.WriteByte('\n')
		}
		fmt.Fprintf(&out, "- %s\n", n)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func with(names []string, name string) []string {
	if slices.Contains(names, name) {
		return names
	}
	return append(names, name)
}
