package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/interlock-authz/interlock/actors"
)

// workload is what the callers of a cell do.
type workload struct {
	principals int
	zipf       bool // some principals are asked for far more often than others
	callers    int
	updates    float64 // share of the calls, in percent
	operation  operationKind
	role       bool // updates change the role that all hold, not one principal's
	rate       int  // calls a second at fixed times, 0 for as fast as the callers can
}

// operationKind is what an operation does.
type operationKind string

const (
	emptyOperation operationKind = "empty"
	shortWork      operationKind = "1 µs of work"
	longWork       operationKind = "50 µs of work"
	waiting        operationKind = "1 ms of waiting"
)

// basePoint is from where one factor is varied at a time.
func basePoint() workload {
	return workload{principals: 10_000, callers: 64, updates: 1, operation: shortWork}
}

// openRate is the fixed rate of the open loop, in calls a second: what every strategy can
// serve at the base point.
const openRate = 50_000

// factor is a factor with the values that it takes, one of them the base point's.
type factor struct {
	name   string
	values []string
	set    func(w *workload, i int)
}

func factors() []factor {
	var (
		principals = []int{1, 100, 10_000, 1_000_000}
		callers    = []int{1, 8, 64, 1024}
		updates    = []float64{0, 0.1, 1, 10}
		operations = []operationKind{emptyOperation, shortWork, longWork, waiting}
	)
	return []factor{
		{"principals", names(principals), func(w *workload, i int) { w.principals = principals[i] }},
		{"callers", names(callers), func(w *workload, i int) { w.callers = callers[i] }},
		{"updates, %", names(updates), func(w *workload, i int) { w.updates = updates[i] }},
		{"operation", names(operations), func(w *workload, i int) { w.operation = operations[i] }},
		{"distribution", []string{"uniform", "Zipf"}, func(w *workload, i int) { w.zipf = i == 1 }},
		{"an update changes", []string{"one principal", "the role of all"}, func(w *workload, i int) { w.role = i == 1 }},
	}
}

func names[T any](values []T) []string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = fmt.Sprint(v)
	}
	return all
}

// basePoints are what `make bench` measures: the base point, closed and open, and one
// principal for all callers.
func basePoints() []workload {
	open, hot := basePoint(), basePoint()
	open.rate = openRate
	hot.principals = 1
	return []workload{basePoint(), open, hot}
}

// allPoints are the base points, and all that differ from the base point in one factor.
func allPoints() []workload {
	all := basePoints()
	for _, f := range factors() {
		for i := range f.values {
			w := basePoint()
			f.set(&w, i)
			all = addOnce(all, w)
		}
	}
	return all
}

func addOnce(all []workload, w workload) []workload {
	for _, known := range all {
		if known == w {
			return all
		}
	}
	return append(all, w)
}

func (w workload) String() string {
	text := strconv.Itoa(w.principals) + " principals"
	if w.principals == 1 {
		text = "1 principal"
	}
	if w.zipf {
		text += " by Zipf"
	}
	text += fmt.Sprintf(", %d callers", w.callers)
	if w.callers == 1 {
		text = text[:len(text)-1]
	}
	text += fmt.Sprintf(", %v %% updates", w.updates)
	if w.role {
		text += " of the role that all hold"
	}
	text += fmt.Sprintf(", operations: %s", w.operation)
	if w.rate > 0 {
		text += fmt.Sprintf("; at a fixed rate of %d a second", w.rate)
	}
	return text
}

// pick returns a function that draws a principal's number.
func (w workload) pick(rng *rand.Rand) func() int {
	if w.zipf && w.principals > 1 {
		z := rand.NewZipf(rng, 1.1, 1, uint64(w.principals-1))
		return func() int { return int(z.Uint64()) }
	}
	return func() int { return rng.IntN(w.principals) }
}

// operation returns the operation itself.
func (k operationKind) operation() actors.Func {
	turns := 0
	switch k {
	case emptyOperation:
		return nothing
	case waiting:
		return func(context.Context) error { time.Sleep(time.Millisecond); return nil }
	case shortWork:
		turns = turnsPerMicrosecond()
	case longWork:
		turns = 50 * turnsPerMicrosecond()
	}
	return func(context.Context) error {
		if turn(turns) == 0 {
			return errors.New("a shift register has come to 0")
		}
		return nil
	}
}

// turn is work that takes processor time, and not time alone: Marsaglia's xorshift. It never
// comes to 0.
//
//go:noinline
func turn(n int) uint64 {
	x := uint64(n) | 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

var turnsPerMicrosecond = sync.OnceValue(func() int {
	const n = 1 << 16
	best := time.Duration(1 << 62)
	for range 50 { // the quickest was not interrupted
		start := time.Now()
		if turn(n) != 0 {
			best = min(best, time.Since(start))
		}
	}
	return max(1, int(n*time.Microsecond/best))
})
