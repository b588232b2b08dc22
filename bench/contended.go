package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// contest is one design under 64 callers on one principal: an operation with some work in
// it, and an update.
type contest struct {
	name    string
	execute func(work func())
	update  func(i int)
	close   func()
}

const callers = 64

// latencies of one run: of the operations, and of the updates apart.
type latencies struct {
	operations, updates *hdrhistogram.Histogram
	perOperation        float64 // mean, in nanoseconds
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 3) }

// run lets the callers work for the time. A share of their calls are updates; their time is
// counted apart.
func (c *contest) run(d time.Duration, share float64, work func()) *latencies {
	var (
		all  = &latencies{operations: newHistogram(), updates: newHistogram()}
		mu   sync.Mutex
		wait sync.WaitGroup
		end  = time.Now().Add(d)
	)
	for n := range callers {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 1))
			own := &latencies{operations: newHistogram(), updates: newHistogram()}
			for i := 0; ; i++ {
				start := time.Now()
				if start.After(end) {
					break
				}
				if share > 0 && rng.Float64() < share {
					c.update(i)
					_ = own.updates.RecordValue(int64(time.Since(start)))
					continue
				}
				c.execute(work)
				_ = own.operations.RecordValue(max(1, int64(time.Since(start))))
			}
			mu.Lock()
			defer mu.Unlock()
			all.operations.Merge(own.operations)
			all.updates.Merge(own.updates)
		})
	}
	wait.Wait()
	all.perOperation = all.operations.Mean()
	return all
}

func (l *latencies) String() string {
	q := func(p float64) time.Duration { return time.Duration(l.operations.ValueAtQuantile(p)) }
	return fmt.Sprintf("mean %.0f ns, p50 %v, p99 %v, p99.9 %v, max %v",
		l.perOperation, q(50), q(99), q(99.9), time.Duration(l.operations.Max()))
}

// contestants are the engine, and a mutex held over check and use.
func executeContest() *contest {
	w := eightPermissions(1)
	e := w.engine()
	ctx := context.Background()
	who := w.queries[0].Principal
	return &contest{
		name: "Execute",
		execute: func(work func()) {
			_ = e.Execute(ctx, w.queries[0], func(context.Context) error { work(); return nil })
		},
		update: func(i int) {
			g := policy.Grant{Principal: who, Role: "worker", Reason: fmt.Sprint(i)}
			_, _ = e.Update(ctx, actors.Update{Changes: []policy.Change{policy.GrantRole(g)}})
		},
		close: func() { _ = e.Close(ctx) },
	}
}

func mutexContest() *contest {
	w := eightPermissions(1)
	g := newGuarded(w)
	who := w.queries[0].Principal
	held := g.find(who).held
	return &contest{
		name:    "Mutex held",
		execute: func(work func()) { g.lock(w.queries[0], work) },
		update:  func(int) { g.update(who, held) },
		close:   func() {},
	}
}

// spin works for about ten microseconds.
func spin() {
	for end := time.Now().Add(10 * time.Microsecond); time.Now().Before(end); {
		continue
	}
}

// contention compares the two under a share of updates.
type contention struct {
	name   string
	target float64
	share  float64
	work   func()
}

func contentions() []contention {
	empty := func() {}
	return []contention{
		{"empty operations, no updates", 0, 0, empty},
		{"empty operations, 1 % updates", 1.5, 0.01, empty},
		{"empty operations, 10 % updates", 1.5, 0.1, empty},
		{"operations of 10 µs, no updates", 1, 0, spin},
	}
}

// run compares mean latencies of operations, and returns those of the last round besides.
func (c contention) run(rounds int, each time.Duration) (r *Result, last [2]*latencies) {
	sides := [2]*contest{executeContest(), mutexContest()}
	defer sides[0].close()
	defer sides[1].close()
	p := &Pair{Name: c.name, Target: c.target}
	r = p.compare(rounds, func(_, side int) float64 {
		last[side] = sides[side].run(each, c.share, c.work)
		return last[side].perOperation
	})
	r.OursName, r.TheirsName = sides[0].name, sides[1].name
	return r, last
}
