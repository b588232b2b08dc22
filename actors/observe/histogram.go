package observe

import (
	"slices"
	"sync/atomic"
	"time"
)

const bounds = 19

// Bounds returns the upper bounds of the buckets of every [Durations], from 50 µs to 60 s. A duration
// that is equal to a bound is in its bucket.
func Bounds() []time.Duration { return slices.Clone(upper[:]) }

var upper = [bounds]time.Duration{
	50 * time.Microsecond, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute,
}

// Histogram counts durations in buckets. Its zero value is empty. It is safe for concurrent use.
type Histogram struct {
	counts [bounds + 1]atomic.Uint64
	sum    atomic.Int64
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	n := 0
	for n < bounds && d > upper[n] {
		n++
	}
	h.counts[n].Add(1)
	h.sum.Add(int64(d))
}

// Durations returns what was counted. Durations that are added meanwhile may be counted in part.
func (h *Histogram) Durations() (d Durations) {
	h.addTo(&d)
	return d
}

func (h *Histogram) addTo(d *Durations) {
	for i := range h.counts {
		d.Counts[i] += h.counts[i].Load()
	}
	d.Sum += time.Duration(h.sum.Load())
}

// Durations are durations by bucket.
type Durations struct {
	// Counts are the numbers of durations in each bucket, and last those over the last bound.
	Counts [bounds + 1]uint64
	Sum    time.Duration
}

// Count returns the number of durations.
func (d *Durations) Count() (n uint64) {
	for _, c := range d.Counts {
		n += c
	}
	return n
}
