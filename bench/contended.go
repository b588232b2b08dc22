package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
)

// contest is one strategy under 64 callers on one principal.
type contest struct {
	strategy
	world  *world
	update func(i int) // a change that takes nothing away
}

const callers = 64

// latencies of one run: of the operations, and of the updates apart.
type latencies struct {
	operations, updates *hdrhistogram.Histogram
}

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 3) }

// run lets the callers work for the time. A share of their calls are updates; their time is
// counted apart.
func (c *contest) run(d time.Duration, share float64, work actors.Func) *latencies {
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
				c.use(&c.world.queries[0], work)
				_ = own.operations.RecordValue(max(1, int64(time.Since(start))))
			}
			mu.Lock()
			defer mu.Unlock()
			all.operations.Merge(own.operations)
			all.updates.Merge(own.updates)
		})
	}
	wait.Wait()
	return all
}

func (l *latencies) String() string {
	q := func(p float64) time.Duration { return time.Duration(l.operations.ValueAtQuantile(p)) }
	return fmt.Sprintf("mean %.0f ns, p50 %v, p99 %v, p99.9 %v, max %v",
		l.operations.Mean(), q(50), q(99), q(99.9), time.Duration(l.operations.Max()))
}

// spin works for about ten microseconds.
func spin(context.Context) error {
	for end := time.Now().Add(10 * time.Microsecond); time.Now().Before(end); {
		continue
	}
	return nil
}

// contention compares the two under a share of updates.
type contention struct {
	name   string
	target float64
	share  float64
	work   actors.Func
}

func contentions() []contention {
	return []contention{
		{"empty operations, no updates", 0, 0, nothing},
		{"empty operations, 1 % updates", 1.2, 0.01, nothing},
		{"empty operations, 10 % updates", 1.2, 0.1, nothing},
		{"operations of 10 µs, no updates", 1, 0, spin},
	}
}

// run compares mean latencies of operations, and also returns those of the last round.
func (c contention) run(ctx context.Context, rounds int, each time.Duration) (r *outcome, last [2]*latencies) {
	w := eightPermissions(1)
	who := w.queries[0].Principal
	engine, mutex := newExecuting(w), startMutex(w)
	sides := [2]*contest{
		{engine, w, func(i int) { update(engine.Engine, regrant(who, i)) }},
		{mutex, w, func(int) { mutex.change(who, true) }},
	}
	defer sides[0].close()
	defer sides[1].close()
	p := &pair{name: c.name, target: c.target}
	r = p.compare(ctx, rounds, func(_, side int) float64 {
		last[side] = sides[side].run(each, c.share, c.work)
		return last[side].operations.Mean()
	})
	r.names = [2]string{"Execute", "Mutex held"}
	return r, last
}
