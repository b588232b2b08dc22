package race

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Report is the result of a run. Times are in nanoseconds.
type Report struct {
	Target  string    `json:"target"`
	Began   time.Time `json:"began"`
	Took    int64     `json:"took"`
	Seed    uint64    `json:"seed"`
	Callers int       `json:"callers"`
	Calls   int       `json:"calls"`
	Allowed int       `json:"allowed"`
	Denied  int       `json:"denied"`
	// Other counts calls with any other answer or none. FirstOther describes the first.
	Other      int    `json:"other"`
	FirstOther string `json:"firstOther,omitzero"`
	// Changes counts grants and revocations. Revocations counts the revocations that a
	// grant followed.
	Changes     int `json:"changes"`
	Revocations int `json:"revocations"`
	// Evidence lists the kinds of evidence that the target offers.
	Evidence []Kind `json:"evidence"`
	// Promise is the promise that the target states.
	Promise Promise `json:"promise"`
	// Stale counts operations that began after an acknowledgment. NotQuiescent counts uses
	// that were running at one and ended after it. ByKind counts both by their evidence.
	Stale        int          `json:"stale"`
	NotQuiescent int          `json:"notQuiescent"`
	ByKind       map[Kind]int `json:"byKind"`
	// ViolationCount is Stale, plus NotQuiescent unless the target promises less. Violations
	// lists the first [MaxListed] of them.
	ViolationCount int         `json:"violationCount"`
	Violations     []Violation `json:"violations"`
	// Command and Version are those of the program that made the report, if it set them.
	Command string `json:"command,omitzero"`
	Version string `json:"version,omitzero"`
	// Throughput is how many calls a second succeeded while the permission was granted.
	Throughput float64 `json:"throughput"`
	// DwellMin and DwellMax bound the times between changes, as the run used them.
	DwellMin int64 `json:"dwellMin"`
	DwellMax int64 `json:"dwellMax"`
	// Latency is the time from the acknowledgment of a revocation to the end of the last
	// operation that it forbids.
	Latency Latency `json:"latency"`
	// Latencies has all latencies, in the order of the revocations.
	Latencies []int64 `json:"latencies"`

	found []Violation // all that count
}

// MaxListed bounds the violations that a report lists one by one.
const MaxListed = 10_000

// Latency of revocations.
type Latency struct {
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
	Max int64 `json:"max"`
}

// OnlyCalls reports that the target offers no evidence except its answers.
func (r *Report) OnlyCalls() bool { return len(r.Evidence) == 2 }

func (r *runner) report(took time.Duration) *Report {
	h := &r.history
	stale, unquiesced := h.violations(), h.running()
	found := stale
	if r.target.promise() == Quiescent {
		found = slices.Concat(stale, unquiesced)
		slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Compare(a.Start, b.Start) })
	}
	p := &Report{
		Target: r.target.Name, Began: time.Now().Add(-took).UTC(), Took: int64(took), Seed: r.options.Seed, Callers: r.options.Callers,
		Calls: len(h.calls), Changes: len(h.flips), FirstOther: r.broken, Evidence: r.target.evidence(),
		ViolationCount: len(found), ByKind: map[Kind]int{}, Violations: found[:min(len(found), MaxListed)],
		Promise: r.target.promise(), Stale: len(stale), NotQuiescent: len(unquiesced), Latencies: h.latencies(), Throughput: h.throughput(),
		DwellMin: int64(r.options.DwellMin), DwellMax: int64(r.options.DwellMax), found: found,
	}
	for _, c := range h.calls {
		switch c.outcome {
		case allowed:
			p.Allowed++
		case denied:
			p.Denied++
		default:
			p.Other++
		}
	}
	for _, v := range slices.Concat(stale, unquiesced) {
		p.ByKind[v.Kind]++
	}
	p.Revocations = len(p.Latencies)
	p.Latency = latencyOf(p.Latencies)
	return p
}

// evidence returns the kinds of evidence that the description of the target makes possible.
func (t *Target) evidence() []Kind {
	kinds := []Kind{StaleAllow, StaleDenial}
	if t.Call.Use != nil || t.hasLedger() {
		kinds = append(kinds, StaleUse)
	}
	if t.Effects != nil && !t.hasLedger() {
		kinds = append(kinds, StaleEffect)
	}
	if t.Echo != nil {
		kinds = append(kinds, StaleEcho)
	}
	return kinds
}

// hasLedger reports whether the target lists its uses one by one. Then the run judges each
// use, and not a value that the uses change.
func (t *Target) hasLedger() bool { return t.Effects != nil && t.Effects.Entries != "" }

func latencyOf(all []int64) Latency {
	h := hdrhistogram.New(1, int64(time.Hour), 3)
	for _, v := range all {
		_ = h.RecordValue(v)
	}
	if len(all) == 0 {
		return Latency{}
	}
	greatest := slices.Max(all)
	// The histogram rounds up.
	return Latency{P50: min(greatest, h.ValueAtQuantile(50)), P99: min(greatest, h.ValueAtQuantile(99)), Max: greatest}
}

// WriteJSON writes reports as a JSON list.
func WriteJSON(w io.Writer, reports ...*Report) error {
	err := json.MarshalWrite(w, reports, jsontext.WithIndent(" "), json.Deterministic(true))
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	return err
}

// words describes a kind of violation in a sentence.
var words = map[Kind]string{
	RunningUse:  "uses that were running at the acknowledgment and ended after it",
	StaleUse:    "uses that began and ended after the acknowledgment",
	StaleEffect: "effects that changed after the acknowledgment",
	StaleEcho:   "echoes of bytes that were sent after the acknowledgment",
	StaleAllow:  "calls that began after the revocation's acknowledgment and were allowed",
	StaleDenial: "calls that began after the grant's acknowledgment and were refused",
}

// kinds lists the kinds of violations in the order of the reports.
var kinds = []Kind{RunningUse, StaleUse, StaleEffect, StaleEcho, StaleAllow, StaleDenial}

// Text writes the report for a terminal.
func (r *Report) Text(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %d calls (%d allowed, %d denied, %d other) over %d connections and %d changes in %v, seed %d\n",
		r.Target, r.Calls, r.Allowed, r.Denied, r.Other, r.Callers, r.Changes, time.Duration(r.Took).Round(time.Millisecond), r.Seed)
	if r.FirstOther != "" {
		fmt.Fprintf(&out, "  the first other: %s\n", r.FirstOther)
	}
	if r.OnlyCalls() {
		out.WriteString("  the target offers no effects, stamps or echoes: only the answers to whole calls were judged\n")
	}
	fmt.Fprintf(&out, "promise: %s\n", r.Promise)
	fmt.Fprintf(&out, "stale: %d\n", r.Stale)
	for _, k := range kinds {
		if n := r.ByKind[k]; n > 0 && k != RunningUse {
			fmt.Fprintf(&out, "  %d %s\n", n, words[k])
		}
	}
	fmt.Fprintf(&out, "not quiescent: %d\n", r.NotQuiescent)
	if r.NotQuiescent > 0 {
		fmt.Fprintf(&out, "  %d %s%s\n", r.NotQuiescent, words[RunningUse], r.excuse())
	}
	fmt.Fprintf(&out, "verdict: %s\n", r.verdict())
	fmt.Fprintf(&out, "revocation latency, from acknowledgment to the last effect, of %d: p50 %v, p99 %v, max %v\n",
		r.Revocations, round(r.Latency.P50), round(r.Latency.P99), round(r.Latency.Max))
	_, err := io.WriteString(w, out.String())
	return err
}

// excuse explains why uses that were running are not counted. It returns "" if they are.
func (r *Report) excuse() string {
	if r.Promise == Quiescent {
		return ""
	}
	return "; not counted, because the target promises " + string(r.Promise)
}

// verdict returns the result in words.
func (r *Report) verdict() string {
	switch {
	case r.ViolationCount == 0:
		return "no violation of the promise " + string(r.Promise)
	case r.Stale > 0 && r.NotQuiescent > 0 && r.Promise == Quiescent:
		return fmt.Sprintf("stale and not quiescent, %d violations", r.ViolationCount)
	case r.Stale > 0:
		return fmt.Sprintf("stale, %d violations", r.ViolationCount)
	}
	return fmt.Sprintf("not quiescent, %d violations", r.ViolationCount)
}

// round formats nanoseconds with the digits that are significant.
func round(d int64) time.Duration { return time.Duration(d).Round(time.Microsecond) }
