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
// ratio, each a median over the rounds with its 95 % interval, and our allocations, -1 if
// they were not counted.
type Result struct {
	Pair         *Pair
	Ours, Theirs interval
	Ratio        interval
	Allocs       int64
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

// Run measures both sides by [testing.Benchmark].
func (p *Pair) Run(rounds int) *Result {
	sides := [2]side{p.ours(), p.theirs()}
	defer sides[0].close()
	defer sides[1].close()
	var last testing.BenchmarkResult
	r := p.compare(rounds, func(_, n int) float64 {
		x := testing.Benchmark(sides[n].run)
		if n == 0 {
			last = x
		}
		return nanoseconds(x)
	})
	r.OursName, r.TheirsName = sides[0].name, sides[1].name
	r.Allocs = last.AllocsPerOp()
	return r
}

// compare measures both sides in turn, 0 for ours and 1 for theirs, so that what slows the
// machine down slows both down. The order within a round changes from round to round.
func (p *Pair) compare(rounds int, measure func(round, side int) float64) *Result {
	var values [2][]float64
	var ratios []float64
	for round := range rounds {
		first := round % 2
		var x [2]float64
		for _, side := range []int{first, 1 - first} {
			x[side] = measure(round, side)
			values[side] = append(values[side], x[side])
		}
		ratio := x[0] / x[1]
		if p.Above {
			ratio = x[1] / x[0]
		}
		ratios = append(ratios, ratio)
	}
	return &Result{
		Pair: p, Rounds: rounds, Allocs: -1,
		Ours: medianInterval(values[0]), Theirs: medianInterval(values[1]), Ratio: medianInterval(ratios),
	}
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
	allocs := ""
	if r.Allocs >= 0 {
		allocs = fmt.Sprintf(", %d allocs", r.Allocs)
	}
	return fmt.Sprintf("| %s | %s %s%s | %s %s | %.2f (%.2f–%.2f) | %s | %s |",
		r.Pair.Name, r.OursName, inWords(r.Ours.median), allocs, r.TheirsName, inWords(r.Theirs.median),
		r.Ratio.median, r.Ratio.low, r.Ratio.high, target, verdict)
}

// inWords writes nanoseconds with as many digits as mean something.
func inWords(nanoseconds float64) string {
	switch {
	case nanoseconds < 10_000:
		return fmt.Sprintf("%.0f ns", nanoseconds)
	case nanoseconds < 10e6:
		return fmt.Sprintf("%.1f µs", nanoseconds/1e3)
	}
	return fmt.Sprintf("%.1f ms", nanoseconds/1e6)
}
