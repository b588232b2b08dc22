package bench

import (
	"context"
	"fmt"
	"testing"

	"github.com/interlock-authz/interlock/bench/results"
)

// pair is a comparison: two sides, and the ratio that the first shall not exceed. With
// above the ratio is meant the other way round: how many times as fast we are.
type pair struct {
	name   string
	target float64
	above  bool
	ours   func() side
	theirs func() side
}

// outcome is what a comparison came to: nanoseconds per operation of both sides and their
// ratio, each by round, and our allocations, -1 if they were not counted.
type outcome struct {
	pair         *pair
	ours, theirs []float64
	ratio        []float64
	allocs       int64
	names        [2]string
}

// run measures both sides by [testing.Benchmark], in fewer rounds if ctx ends.
func (p *pair) run(ctx context.Context, rounds int) *outcome {
	sides := [2]side{p.ours(), p.theirs()}
	defer sides[0].close()
	defer sides[1].close()
	var last testing.BenchmarkResult
	r := p.compare(ctx, rounds, func(_, n int) float64 {
		x := testing.Benchmark(sides[n].run)
		if n == 0 {
			last = x
		}
		return nanoseconds(x)
	})
	r.names = [2]string{sides[0].name, sides[1].name}
	r.allocs = last.AllocsPerOp()
	return r
}

// compare measures both sides in turn, 0 for ours and 1 for theirs, so that what slows the
// machine down slows both down. The order within a round changes from round to round. If ctx ends, compare stops after
// the measurement in progress and returns the complete rounds.
func (p *pair) compare(ctx context.Context, rounds int, measure func(round, side int) float64) *outcome {
	r := &outcome{pair: p, allocs: -1}
	for round := range rounds {
		first := round % 2
		var x [2]float64
		for _, side := range []int{first, 1 - first} {
			if ctx.Err() != nil {
				return r
			}
			x[side] = measure(round, side)
		}
		r.ours, r.theirs = append(r.ours, x[0]), append(r.theirs, x[1])
		ratio := x[0] / x[1]
		if p.above {
			ratio = 1 / ratio
		}
		r.ratio = append(r.ratio, ratio)
	}
	return r
}

func nanoseconds(r testing.BenchmarkResult) float64 {
	return float64(r.T.Nanoseconds()) / float64(r.N)
}

// pairs are the comparisons in memory, with their targets. Do and Execute stand next to each
// other, because the context of a function is most of their difference.
func pairs() []*pair {
	return []*pair{
		{"one hot principal, one caller: times as fast as an actor through RequestFuture", 40, true,
			func() side { return doSide("Do", eightPermissions(1)) },
			func() side { return futureSide("RequestFuture", eightPermissions(1)) }},
		{"one hot principal, one caller", 0, false,
			func() side { return executeSide("Execute", eightPermissions(1)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1)) }},
		{"one hot principal, one caller, no context", 1.15, false,
			func() side { return doSide("Do", eightPermissions(1)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1)) }},
		{"at random over 1,000 principals", 0, false,
			func() side { return executeSide("Execute", eightPermissions(1000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1000)) }},
		{"at random over 1,000 principals, no context", 1.25, false,
			func() side { return doSide("Do", eightPermissions(1000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(1000)) }},
		{"at random over 10,000 principals", 0, false,
			func() side { return executeSide("Execute", eightPermissions(10000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(10000)) }},
		{"at random over 10,000 principals, no context", 1.4, false,
			func() side { return doSide("Do", eightPermissions(10000)) },
			func() side { return rwMutexSide("RWMutex held", eightPermissions(10000)) }},
		{"50 roles of 20, 3 held: check and use, compared with the check alone", 0, false,
			func() side { return executeSide("Execute", random(1000, 50, 20, 3)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 50, 20, 3)) }},
		{"50 roles of 20, 3 held: check and use, no context, compared with the check alone", 1.4, false,
			func() side { return doSide("Do", random(1000, 50, 20, 3)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 50, 20, 3)) }},
		{"100 roles of 1,000, all held: check and use, compared with the check alone", 0, false,
			func() side { return executeSide("Execute", random(1000, 100, 1000, 100)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 100, 1000, 100)) }},
		{"100 roles of 1,000, all held: check and use, no context, compared with the check alone", 1.5, false,
			func() side { return doSide("Do", random(1000, 100, 1000, 100)) },
			func() side { return mapSide("map behind an RWMutex", random(1000, 100, 1000, 100)) }},
		{"a denied request over 1,000 principals, compared with an allowed one", 1.3, false,
			func() side { return executeSide("Execute, denied", denied(1000)) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"callers with a certificate each, a million others revoked, compared with none, over 1,000 principals", 0, false,
			func() side { return certifiedSide("Execute, certificate", eightPermissions(1000), 1_000_000) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"Admit and Release over 1,000 principals, compared with Execute", 1.8, false,
			func() side { return admitSide("Admit, Release", eightPermissions(1000)) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"a decision of 1,000 permissions of one principal, compared with 10", 1.5, false,
			func() side { return decideSide("1,000 permissions", permissions(1000)) },
			func() side { return decideSide("10 permissions", permissions(10)) }},
		{"a decision of 100,000 permissions of one principal, compared with 10", 1.5, false,
			func() side { return decideSide("100,000 permissions", permissions(100_000)) },
			func() side { return decideSide("10 permissions", permissions(10)) }},
		{"Execute of one hot principal, counted, compared with no observer", 1.05, false,
			func() side { return counted(executeOn, "Execute, counted", eightPermissions(1)) },
			func() side { return executeSide("Execute", eightPermissions(1)) }},
		{"Execute over 1,000 principals, counted, compared with no observer", 1.05, false,
			func() side { return counted(executeOn, "Execute, counted", eightPermissions(1000)) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"Execute over 1,000 principals, counted and denials logged, compared with no observer", 1.05, false,
			func() side { return logged(executeOn, "Execute, logged", eightPermissions(1000)) },
			func() side { return executeSide("Execute", eightPermissions(1000)) }},
		{"Do of one hot principal, counted, compared with no observer", 0, false,
			func() side { return counted(doOn, "Do, counted", eightPermissions(1)) },
			func() side { return doSide("Do", eightPermissions(1)) }},
		{"a denied request over 1,000 principals, counted and logged, compared with no observer", 0, false,
			func() side { return logged(executeOn, "Execute, logged", denied(1000)) },
			func() side { return executeSide("Execute, denied", denied(1000)) }},
		{"Admit and Release over 1,000 principals, counted, compared with no observer", 0, false,
			func() side { return counted(admitOn, "Admit, Release, counted", eightPermissions(1000)) },
			func() side { return admitSide("Admit, Release", eightPermissions(1000)) }},
		{"64 callers on one principal, empty operations, no updates", 1.8, false,
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

// addTo adds the outcome to a table.
func (r *outcome) addTo(s *results.Section) {
	facts := []results.Fact{{Name: "ours", Text: r.names[0]}, {Name: "baseline", Text: r.names[1]}}
	if r.allocs >= 0 {
		facts = append(facts, results.Fact{Name: "our allocations", Text: fmt.Sprint(r.allocs)})
	}
	ratio := &results.Metric{Name: "ratio", More: r.pair.above, Samples: r.ratio}
	if r.pair.target != 0 {
		ratio.Target = &results.Target{Limit: r.pair.target, AtLeast: r.pair.above}
	}
	s.Add(r.pair.name, facts...).Add(seconds("ours takes", r.ours), seconds("baseline takes", r.theirs), ratio)
}

// seconds is a metric of times in nanoseconds.
func seconds(name string, nanoseconds []float64) *results.Metric {
	m := &results.Metric{Name: name, Unit: "s"}
	for _, v := range nanoseconds {
		m.Samples = append(m.Samples, v/1e9)
	}
	return m
}
