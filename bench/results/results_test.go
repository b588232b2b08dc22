package results

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func samples(scale float64) []float64 {
	var all []float64
	for i := range 12 {
		all = append(all, scale*(1+float64(i)/100))
	}
	return all
}

func example(rate, latency float64) *Document {
	d := New("test")
	d.Add("table").Add("row", Fact{"keeps", "G1"}).Add(
		&Metric{Name: "rate", Unit: "1/s", More: true, Samples: samples(rate)},
		&Metric{Name: "p99", Unit: "s", Samples: samples(latency), Target: &Target{Limit: 1e-3}})
	d.Sections[0].Note("a note on %d", 1)
	return d
}

func TestSavedDocumentIsReadBack(t *testing.T) {
	dir := t.TempDir()
	d := example(1000, 1e-6)
	require.NoError(t, d.Save(dir, "name"))
	read, err := Read(filepath.Join(dir, "name.json"))
	require.NoError(t, err)
	require.Equal(t, d, read)
	text, err := os.ReadFile(filepath.Join(dir, "name.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "|  | keeps | rate | p99 |\n|---|---|---|---|\n| row | G1 | 1.05 k (1.02 k–1.09 k) | 1.05 µs (1.02 µs–1.09 µs); ≤ 1 ms met |\n\n- a note on 1\n")

	path := filepath.Join(dir, "other.json")
	require.NoError(t, os.WriteFile(path, []byte(`{"speed": 1}`), 0o600))
	_, err = Read(path)
	require.ErrorContains(t, err, "other.json is no result of interlock-lab bench")
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		scale  float64
		target Target
		met    bool
	}{
		{1, Target{Limit: 1.2}, true}, {1.4, Target{Limit: 1.2}, false}, {1.17, Target{Limit: 1.2}, true},
		{1, Target{Limit: 1.2, AtLeast: true}, false}, {1.3, Target{Limit: 1.2, AtLeast: true}, true},
	} {
		m := &Metric{Samples: samples(c.scale), Target: &c.target}
		require.Equal(t, c.met, m.Met(), "%v of %v", m, c.target)
		require.Equal(t, !c.met, strings.Contains(m.String(), "missed"))
	}
	few := &Metric{Samples: []float64{1.1, 1.3, 1.4}, Target: &Target{Limit: 1.2}}
	require.False(t, few.Met(), "without an interval, the median decides")
}

func TestCompareMarksChangesBeyondNoise(t *testing.T) {
	find := func(old, now *Document) map[string]*Change {
		changes, missing := Compare(old, now)
		require.Empty(t, missing)
		by := map[string]*Change{}
		for _, c := range changes {
			by[c.Metric] = c
		}
		return by
	}
	same := find(example(1000, 1e-6), example(1001, 1.001e-6))
	require.False(t, same["rate"].Beyond || same["p99"].Beyond)
	worse := find(example(1000, 1e-6), example(500, 2e-6))
	require.True(t, worse["rate"].Regressed() && worse["p99"].Regressed())
	require.InDelta(t, 0.5, worse["rate"].Ratio, 1e-9)
	better := find(example(1000, 1e-6), example(2000, 0.5e-6))
	require.True(t, better["rate"].Beyond && !better["rate"].Worse && !better["p99"].Regressed())

	var text bytes.Buffer
	changes, _ := Compare(example(1000, 1e-6), example(500, 1e-6))
	require.NoError(t, WriteChanges(&text, changes))
	require.Contains(t, text.String(), "| table | row | rate | 1.05 k | 528 | 0.500 | 0.000 | **worse** |")

	other := example(1, 1)
	other.Sections[0].Rows[0].Name = "else"
	changes, missing := Compare(example(1, 1), other)
	require.Empty(t, changes)
	require.Len(t, missing, 4)
}

func TestUnits(t *testing.T) {
	for want, text := range map[string]string{
		"1.50 ns": inUnit(1.5e-9, "s"), "12.3 µs": inUnit(12.34e-6, "s"), "2 s": inUnit(2, "s"), "999 ms": inUnit(0.999, "s"),
		"1.20 M": inUnit(1.2e6, "1/s"), "17 B": inUnit(17, "B"), "3": inUnit(3, ""), "0.33": inUnit(1.0/3, ""),
	} {
		require.Equal(t, want, text)
	}
}

func TestPlotOmitsMissingValues(t *testing.T) {
	p := &Plot{Title: "title", X: "x", Y: "y", Ticks: []string{"1", "2"}, Lines: []Line{
		{Name: "whole", Values: []float64{1, 1000}}, {Name: "half", Values: []float64{math.NaN(), 3}}, {Name: "none", Values: []float64{0, math.NaN()}},
	}}
	dir := t.TempDir()
	require.NoError(t, p.Save(dir, "plot", "the `caption`"))
	svg, err := os.ReadFile(filepath.Join(dir, "plot.svg"))
	require.NoError(t, err)
	for _, want := range []string{"<svg", "title", "whole", "half", "the caption"} {
		require.Contains(t, string(svg), want)
	}
	require.NotContains(t, string(svg), "none<")
}
