package bench

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
)

// cell is a strategy under a workload.
type cell struct {
	strategy
	workload workload
	requests []actors.Request
	work     actors.Func
	subjects []subject
	role     subject
	runs     uint64 // that were seeded
}

// subject is what an update concerns: a principal, or all holders of the role. Its updates
// come one at a time.
type subject struct {
	changing sync.Mutex
	// forbidden is set when a revocation has returned, and taken back before the next grant
	// is sent: an operation that sees it set, when it begins or when it ends, runs after it
	// was forbidden.
	forbidden atomic.Bool
	// revocations counts returned revocations. If it changes during an operation, the
	// operation was running when a revocation returned.
	revocations atomic.Uint64
}

// slice is what a cell came to in one stretch of time.
type slice struct {
	took       time.Duration
	operations int64
	refused    int64
	updates    int64
	violations int64
	latency    *hdrhistogram.Histogram // of operations
	change     *hdrhistogram.Histogram // of updates: a revocation and a grant
}

func newCell(c *contestant, w workload) *cell {
	world := eightPermissions(w.principals)
	s := &cell{
		workload: w, requests: world.queries, work: w.operation.operation(),
		subjects: make([]subject, w.principals),
	}
	if c != nil {
		s.strategy = c.start(world)
	} else {
		s.strategy = floor{}
	}
	return s
}

// floor is no strategy: what the measuring costs by itself.
type floor struct{ strategy }

func (floor) use(_ *actors.Request, operation actors.Func) bool {
	_ = operation(background)
	return true
}

func (floor) close() {}

// caller is one goroutine of a cell.
type caller struct {
	*cell
	rng  *rand.Rand
	pick func() int
	own  *slice
	who  int // whose operation runs
	fn   actors.Func
}

func (c *cell) newCaller(n uint64) *caller {
	rng := rand.New(rand.NewPCG(n, c.runs))
	p := &caller{cell: c, rng: rng, pick: c.workload.pick(rng), own: newSlice()}
	p.fn = p.operation // once: a closure for each call would be measured too
	return p
}

// newSlice makes histograms of two digits: a thousand callers have two each.
func newSlice() *slice {
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 2) }
	return &slice{latency: histogram(), change: histogram()}
}

// operation runs the work, and looks at its begin and at its end whether it may.
func (p *caller) operation(ctx context.Context) error {
	s := &p.subjects[p.who]
	if p.workload.role {
		s = &p.role
	}
	late, before := s.forbidden.Load(), s.revocations.Load()
	err := p.work(ctx)
	if late || s.revocations.Load() != before {
		p.own.violations++
	}
	return err
}

// update revokes and grants again. Between the two its own request has to be refused. It
// does nothing, and says so, while another update of the same subject is under way: callers
// that queue here would measure this queue.
func (p *caller) update() bool {
	s := &p.subjects[p.who]
	change := func(allowed bool) { p.change(p.requests[p.who].Principal, allowed) }
	if p.workload.role {
		s, change = &p.role, p.changeRole
	}
	if !s.changing.TryLock() {
		return false
	}
	defer s.changing.Unlock()
	change(false)
	s.forbidden.Store(true)
	s.revocations.Add(1)
	p.use(&p.requests[p.who], p.fn)
	s.forbidden.Store(false)
	change(true)
	return true
}

// call makes one call, which was due at a moment.
func (p *caller) call(due time.Time) {
	p.who = p.pick()
	if p.workload.updates > 0 && p.rng.Float64()*100 < p.workload.updates && p.update() {
		p.own.updates++
		_ = p.own.change.RecordValue(max(1, int64(time.Since(due))))
		return
	}
	if !p.use(&p.requests[p.who], p.fn) {
		p.own.refused++
		return
	}
	p.own.operations++
	_ = p.own.latency.RecordValue(max(1, int64(time.Since(due))))
}

// closed calls as fast as it can.
func (p *caller) closed(end time.Time) {
	for now := time.Now(); now.Before(end); now = time.Now() {
		p.call(now)
	}
}

// open calls at fixed times, and counts latency from these: a call that could not be made
// in time because the ones before took too long counts with all its delay.
func (p *caller) open(start, end time.Time, n int) {
	every := time.Duration(p.workload.callers) * time.Second / time.Duration(p.workload.rate)
	for due := start.Add(every * time.Duration(n) / time.Duration(p.workload.callers)); due.Before(end); due = due.Add(every) {
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		p.call(due)
	}
}

// run lets the callers work for a time.
func (c *cell) run(d time.Duration) *slice {
	c.runs++
	var (
		callers = make([]*caller, c.workload.callers)
		wait    sync.WaitGroup
		start   = time.Now()
	)
	for n := range callers {
		callers[n] = c.newCaller(uint64(n))
		wait.Go(func() {
			if c.workload.rate > 0 {
				callers[n].open(start, start.Add(d), n)
			} else {
				callers[n].closed(start.Add(d))
			}
		})
	}
	wait.Wait()
	all := newSlice()
	all.took = time.Since(start)
	for _, p := range callers {
		all.operations += p.own.operations
		all.refused += p.own.refused
		all.updates += p.own.updates
		all.violations += p.own.violations
		all.latency.Merge(p.own.latency)
		all.change.Merge(p.own.change)
	}
	return all
}

// measure sets a cell up, warms it, and measures it in slices, in fewer if ctx ends.
func measure(ctx context.Context, c *contestant, w workload, slices int, each time.Duration) []*slice {
	runtime.GC() // what the one before has left is not this one's
	cell := newCell(c, w)
	defer cell.close()
	for i := range cell.requests { // principals are active, goroutines started
		cell.use(&cell.requests[i], nothing)
	}
	cell.run(each / 2)
	var all []*slice
	for len(all) < slices && ctx.Err() == nil {
		all = append(all, cell.run(each))
	}
	return all
}
