package race

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"time"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Parse(page))

// WriteHTML writes reports as one page that needs nothing else: no script, no other file.
func WriteHTML(w io.Writer, reports ...*Report) error {
	var views []*view
	for _, r := range reports {
		views = append(views, viewOf(r))
	}
	return pageTemplate.Execute(w, views)
}

// view is a report as the page shows it.
type view struct {
	*Report
	Verdict  string
	Rate     string
	Kinds    []kindView
	Rows     []rowView
	Height   int
	Ticks    []tickView
	Buckets  []bucketView
	P50, P99 time.Duration
	Max      time.Duration
}

type kindView struct {
	Count int
	Words string
}

// rowView is one revocation of the timeline, in the units of its drawing.
type rowView struct {
	X, Y, Width float64
	Count       int
	Bars        []barView
}

type barView struct {
	X, Y, Width float64
	Class       Kind
	Title       string
}

type tickView struct {
	X     float64
	Label string
}

type bucketView struct {
	X, Y, Width, Height float64
	Count               int
	Label               string
}

// The drawings, in their own units.
const (
	drawn     = 900.0 // width of the timeline
	margin    = 90.0  // of it, before the acknowledgment
	narrowest = 4.0   // a bar
	rowHeight = 22.0
	mostRows  = 16
	mostBars  = 300
	tall      = 160.0 // height of the histogram
)

func viewOf(r *Report) *view {
	v := &view{
		Report: r, Verdict: r.verdict(), Rate: fmt.Sprintf("%.0f", r.Throughput),
		P50: round(r.Latency.P50), P99: round(r.Latency.P99), Max: round(r.Latency.Max),
	}
	for _, k := range kinds {
		if n := r.ByKind[k]; n > 0 {
			text := words[k]
			if k == RunningUse {
				text += r.excuse()
			}
			v.Kinds = append(v.Kinds, kindView{n, text})
		}
	}
	v.timeline()
	v.histogram()
	return v
}

// timeline draws the revocations with the most violations, each from its acknowledgment to
// the sending of the next grant, with a margin before for uses that were running.
func (v *view) timeline() {
	by := map[int64][]Violation{}
	for _, x := range v.found {
		if x.Kind != StaleDenial {
			by[x.Acknowledged] = append(by[x.Acknowledged], x)
		}
	}
	worst := make([]int64, 0, len(by))
	longest := int64(1)
	for acknowledged := range by {
		worst = append(worst, acknowledged)
	}
	slices.SortFunc(worst, func(a, b int64) int { return cmp.Or(len(by[b])-len(by[a]), cmp.Compare(a, b)) })
	worst = worst[:min(len(worst), mostRows)]
	slices.Sort(worst)
	for _, acknowledged := range worst {
		longest = max(longest, by[acknowledged][0].Next-acknowledged)
	}
	scale := (drawn - margin) / float64(longest)
	for n, acknowledged := range worst {
		row := rowView{X: margin, Y: float64(n) * rowHeight, Width: float64(by[acknowledged][0].Next-acknowledged) * scale, Count: len(by[acknowledged])}
		for i, x := range by[acknowledged][:min(row.Count, mostBars)] {
			from, to := x.Start-acknowledged, x.End-acknowledged
			left := max(0, margin+float64(from)*scale)
			right := min(drawn, margin+float64(to)*scale)
			row.Bars = append(row.Bars, barView{
				X: left, Width: max(narrowest, right-left), Y: row.Y + 1.5 + float64(i%5)*3.6, Class: x.Kind,
				Title: fmt.Sprintf("%s, %v to %v after the acknowledgment", x.Kind, round(from), round(to)),
			})
		}
		v.Rows = append(v.Rows, row)
	}
	v.Height = len(v.Rows)*int(rowHeight) + 24
	for n := range 6 {
		at := time.Duration(longest) * time.Duration(n) / 5
		v.Ticks = append(v.Ticks, tickView{margin + float64(n)*(drawn-margin)/5, at.Round(100 * time.Microsecond).String()})
	}
}

// histogram counts latencies in buckets that double. The first bucket is for 0.
func (v *view) histogram() {
	limits := []time.Duration{0}
	for limit := 100 * time.Microsecond; int64(limits[len(limits)-1]) < v.Latency.Max; limit *= 2 {
		limits = append(limits, limit)
	}
	counts := make([]int, len(limits))
	most := 1
	for _, l := range v.Latencies {
		n, _ := slices.BinarySearch(limits, time.Duration(l))
		counts[n]++
		most = max(most, counts[n])
	}
	width := drawn / float64(max(8, len(limits)))
	for i, n := range counts {
		label := "≤ " + limits[i].String()
		if i == 0 {
			label = "0"
		}
		height := tall * float64(n) / float64(most)
		v.Buckets = append(v.Buckets, bucketView{X: float64(i)*width + 4, Y: tall - height + 14, Width: width - 8, Height: height, Count: n, Label: label})
	}
}
