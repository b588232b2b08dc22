package race

import (
	"cmp"
	"slices"
)

// Span is a stretch of time, from a reading of [Now] to another.
type Span struct {
	Start int64 `json:"start"`
	End   int64 `json:"end"`
}

// within reports whether the whole span lies in another.
func (s Span) within(o Span) bool { return o.Start <= s.Start && s.End <= o.End }

// outcome is how a call was answered.
type outcome uint8

const (
	// other is neither: an error, or an answer that the target's description does not know.
	other outcome = iota
	// allowed is as the target's description says.
	allowed
	// denied likewise.
	denied
)

// call is one call of the protected operation.
type call struct {
	Span
	outcome outcome
	use     Span // zero if the target does not stamp it
}

// flip is a change of the permission: when it was sent, and when it was acknowledged.
type flip struct {
	Span
	grant bool
}

// probe is a look at the effects.
type probe struct {
	Span
	value string
}

// echo is a nonce that was sent after the acknowledgment of a revocation, and came back.
type echo struct {
	sent, back int64
}

// history is everything that a run recorded. Flips are in their order and take turns.
type history struct {
	calls   []call
	flips   []flip
	probes  []probe
	entries []Span // uses, by the probe of effects
	echoes  []echo
}

// window is the time from the acknowledgment of a change to the sending of the next.
type window struct {
	Span
	grant bool
}

// windows of all changes but the last, which has none that follows.
func (h *history) windows() []window {
	var all []window
	for i := 1; i < len(h.flips); i++ {
		all = append(all, window{Span{h.flips[i-1].End, h.flips[i].Start}, h.flips[i-1].grant})
	}
	return all
}

// windowAt finds the last window that begins at or before a moment; nil if none does.
func windowAt(all []window, moment int64) *window {
	n, _ := slices.BinarySearchFunc(all, moment+1, func(w window, t int64) int { return cmp.Compare(w.Start, t) })
	if n == 0 {
		return nil
	}
	return &all[n-1]
}

// Kind is the evidence that a violation rests on: see the package documentation.
type Kind string

// The kinds. All but RunningUse are stale: they happened after the acknowledgment as a
// whole. RunningUse is a use that a revocation forbids, and that ended after its
// acknowledgment.
const (
	RunningUse  Kind = "running"
	StaleUse    Kind = "use"
	StaleEffect Kind = "effect"
	StaleEcho   Kind = "echo"
	StaleAllow  Kind = "allowed"
	StaleDenial Kind = "refused"
)

// Violation is something that happened after the target had acknowledged that it cannot.
type Violation struct {
	Kind Kind `json:"kind"`
	// Acknowledged is when the change was acknowledged that forbids it, and Next when the
	// opposite change was sent.
	Acknowledged int64 `json:"acknowledged"`
	Next         int64 `json:"next"`
	// Span is when it happened: between these two, except that a RunningUse began before.
	Span
}

// violations finds the stale evidence in a history, in the order of time.
func (h *history) violations() []Violation {
	all := h.windows()
	f := &finder{windows: all, stamped: map[Span]bool{}}
	for _, c := range h.calls {
		f.call(c)
	}
	for _, use := range h.entries {
		if !f.stamped[use] {
			f.add(StaleUse, use, false)
		}
	}
	for i := 1; i < len(h.probes); i++ {
		if before, after := h.probes[i-1], h.probes[i]; before.value != after.value {
			f.add(StaleEffect, Span{before.Start, after.End}, false)
		}
	}
	for _, e := range h.echoes {
		f.add(StaleEcho, Span{e.sent, e.back}, false)
	}
	slices.SortStableFunc(f.found, func(a, b Violation) int { return cmp.Compare(a.Start, b.Start) })
	return f.found
}

type finder struct {
	windows []window
	stamped map[Span]bool // uses of calls, which a ledger lists once more
	found   []Violation
}

func (f *finder) call(c call) {
	switch c.outcome {
	case allowed:
		if c.use != (Span{}) {
			f.stamped[c.use] = true
			if f.add(StaleUse, c.use, false) {
				return
			}
		}
		f.add(StaleAllow, c.Span, false)
	case denied:
		f.add(StaleDenial, c.Span, true)
	}
}

// add adds a violation if the span lies as a whole in a window after a grant, or after a
// revocation.
func (f *finder) add(kind Kind, s Span, granted bool) bool {
	w := windowAt(f.windows, s.Start)
	if w == nil || w.grant != granted || !s.within(w.Span) {
		return false
	}
	f.found = append(f.found, Violation{Kind: kind, Acknowledged: w.Start, Next: w.End, Span: s})
	return true
}

// latencies are, for each revocation that a grant follows, the time from its
// acknowledgment to the last moment at which something that it forbids was certainly not
// over yet, 0 if there was none: for a use that the target stamps its end, or, if it
// lasted longer, the sending of the next grant; for what is not stamped the begin of a call
// that succeeded, the look before the one that saw a change, and the sending of bytes that
// came back.
func (h *history) latencies() []int64 {
	var revoked []window
	for _, w := range h.windows() {
		if !w.grant {
			revoked = append(revoked, w)
		}
	}
	last := make([]int64, len(revoked))
	for _, use := range h.uses() {
		for n := firstAfter(revoked, use.Start); n < len(revoked) && revoked[n].Start < use.End; n++ {
			last[n] = max(last[n], min(use.End, revoked[n].End)-revoked[n].Start)
		}
	}
	for _, v := range h.violations() {
		if v.Kind == StaleAllow || v.Kind == StaleEffect || v.Kind == StaleEcho {
			n := firstAfter(revoked, v.Start)
			last[n] = max(last[n], v.Start-revoked[n].Start)
		}
	}
	return last
}

// firstAfter finds the first window that ends after a moment.
func firstAfter(all []window, moment int64) int {
	n, _ := slices.BinarySearchFunc(all, moment+1, func(w window, t int64) int { return cmp.Compare(w.End, t) })
	return n
}

// uses are all that were stamped, those of a ledger and those of answers, each once.
func (h *history) uses() []Span {
	uses := slices.Clone(h.entries)
	seen := make(map[Span]bool, len(uses))
	for _, use := range uses {
		seen[use] = true
	}
	for _, c := range h.calls {
		if c.outcome == allowed && c.use != (Span{}) && !seen[c.use] {
			uses = append(uses, c.use)
		}
	}
	return uses
}

// running finds the uses that began before a revocation was acknowledged and ended after, in
// the order of time. A revocation that waits until it is quiescent has none.
func (h *history) running() []Violation {
	all := h.windows()
	var found []Violation
	for _, use := range h.uses() {
		for i := firstAfter(all, use.Start); i < len(all) && all[i].Start < use.End; i++ {
			if w := all[i]; !w.grant && use.Start < w.Start {
				found = append(found, Violation{Kind: RunningUse, Acknowledged: w.Start, Next: w.End, Span: use})
				break
			}
		}
	}
	slices.SortStableFunc(found, func(a, b Violation) int { return cmp.Compare(a.Start, b.Start) })
	return found
}

// throughput is how many calls a second succeeded while the permission was granted.
func (h *history) throughput() float64 {
	all := h.windows()
	granted, n := int64(0), 0
	for _, w := range all {
		if w.grant {
			granted += w.End - w.Start
		}
	}
	for _, c := range h.calls {
		if w := windowAt(all, c.Start); c.outcome == allowed && w != nil && w.grant && c.within(w.Span) {
			n++
		}
	}
	if granted == 0 {
		return 0
	}
	return float64(n) / (float64(granted) / 1e9)
}
