package bench

import (
	"fmt"
	"testing"
)

// Pair is a comparison: two sides, and the ratio that the first shall not exceed. Above
// says that the ratio is meant the other way round: how many times as fast we are.
type Pair struct {
	Name   string
	Target float64
	Above  bool
	ours   func() side
	theirs func() side
}

// Result is what a comparison came to: nanoseconds per operation of both sides and their
// ratio, each a median over the rounds with its 95 % interval, and our allocations.
type Result struct {
	Pair         *Pair
	Ours, Theirs interval
	Ratio        interval
	Allocs       int64
	Bytes        int64
	OursName     string
	TheirsName   string
	Rounds       int
}

// Met reports whether the target is met: it is missed only if the whole interval of the
// ratio lies beyond it.
func (r *Result) Met() bool {
	if r.Pair.Target == 0 {
		return true
	}
	if r.Pair.Above {
		return r.Ratio.high >= r.Pair.Target
	}
	return r.Ratio.low <= r.Pair.Target
}

// Run runs both sides in turn, so that what slows the machine down slows both down. The
// order within a round changes from round to round.
func (p *Pair) Run(rounds int) *Result {
	ours, theirs := p.ours(), p.theirs()
	defer ours.close()
	defer theirs.close()
	r := &Result{Pair: p, OursName: ours.name, TheirsName: theirs.name, Rounds: rounds}
	var a, b, ratios []float64
	for i := range rounds {
		var x, y testing.BenchmarkResult
		if i%2 == 0 {
			x, y = testing.Benchmark(ours.run), testing.Benchmark(theirs.run)
		} else {
			y, x = testing.Benchmark(theirs.run), testing.Benchmark(ours.run)
		}
		a, b = append(a, nanoseconds(x)), append(b, nanoseconds(y))
		ratio := a[i] / b[i]
		if p.Above {
			ratio = b[i] / a[i]
		}
		ratios = append(ratios, ratio)
		r.Allocs, r.Bytes = x.AllocsPerOp(), x.AllocedBytesPerOp()
	}
	r.Ours, r.Theirs, r.Ratio = medianInterval(a), medianInterval(b), medianInterval(ratios)
	return r
}

func nanoseconds(r testing.BenchmarkResult) float64 {
	return float64(r.T.Nanoseconds()) / float64(r.N)
}

// Pairs are the comparisons of `make bench`, with their targets.
func Pairs() []*Pair {
	return []*Pair{
		{"one hot principal, one caller: times as fast as an actor through RequestFuture", 40, true,
			func() side { return executeSide("Execute", eightPermissions(1)) },
			func() side { return futureSide("RequestFuture", eightPermissions(1)) }},
		{"one hot principal, one caller", 0, false,
			func() side { return executeSide("Execute", eightPermissions(1)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1)) }},
		{"at random over 1,000 principals", 1.6, false,
			func() side { return executeSide("Execute", eightPermissions(1000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1000)) }},
		{"at random over 10,000 principals", 2.5, false,
			func() side { return executeSide("Execute", eightPermissions(10000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(10000)) }},
		{"50 roles of 20, 3 held: check and use, beside the check alone", 1, false,
			func() side { return executeSide("Execute", random(1000, 50, 20, 3)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 50, 20, 3)) }},
		{"100 roles of 1,000, all held: check and use, beside the check alone", 1.5, false,
			func() side { return executeSide("Execute", random(1000, 100, 1000, 100)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 100, 1000, 100)) }},
		{"Admit and Release over 1,000 principals, beside Execute", 2.2, false,
			func() side { return admitSide("Admit, Release", eightPermissions(1000)) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"a decision of 1,000 permissions of one principal, beside 10", 1.5, false,
			func() side { return decideSide("1,000 permissions", permissions(1000)) },
			func() side { return decideSide("10 permissions", permissions(10)) }},
		{"a decision of 100,000 permissions of one principal, beside 10", 1.5, false,
			func() side { return decideSide("100,000 permissions", permissions(100_000)) },
			func() side { return decideSide("10 permissions", permissions(10)) }},
		{"64 callers on one principal, empty operations, no updates", 2, false,
			func() side { return contendedExecute("Execute", eightPermissions(1)) },
			func() side { return contendedRead("RWMutex held", eightPermissions(1)) }},
	}
}

// permissions gives one principal so many, and asks for the same few of them each time.
func permissions(n int) *world {
	w := random(1, 1, n, 1)
	w.queries = w.queries[:64]
	return w
}

// String is a row of the table in Markdown.
func (r *Result) String() string {
	sign, verdict := "≤", "met"
	if r.Pair.Above {
		sign = "≥"
	}
	if !r.Met() {
		verdict = "**missed**"
	}
	target := "–"
	if r.Pair.Target != 0 {
		target = fmt.Sprintf("%s %g", sign, r.Pair.Target)
	} else {
		verdict = ""
	}
	return fmt.Sprintf("| %s | %s %.0f ns, %d allocs | %s %.0f ns | %.2f (%.2f–%.2f) | %s | %s |",
		r.Pair.Name, r.OursName, r.Ours.median, r.Allocs, r.TheirsName, r.Theirs.median,
		r.Ratio.median, r.Ratio.low, r.Ratio.high, target, verdict)
}
