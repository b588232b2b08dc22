package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/bench/results"
)

// crowdCost is what the change of a role came to that many principals hold, and what it cost
// others, by round.
type crowdCost struct {
	quiesced []float64 // nanoseconds
	others   []*disturbance
}

// disturbance is a quantile of the latency of one kind of call: alone, and while the role
// changes.
type disturbance struct {
	name            string
	quantile        float64
	call            func(i int)
	alone, meantime []float64
}

// crowd changes a role that n active principals hold. It measures principals that do not hold
// it: activations, revocations and operations.
func crowd(ctx context.Context, n, rounds int, each time.Duration) *crowdCost {
	const idle = 100_000 // to be activated
	w := eightPermissions(n)
	other := must(policy.NewRole("other", nil, w.roles[0].Permissions()))
	w.roles = append(w.roles, other)
	for i := range idle + 2 {
		w.grants = append(w.grants, policy.Grant{Principal: principalNumber(n + i), Role: "other"})
	}
	e := w.engine()
	defer func() { _ = e.Close(background) }()
	for i := range n {
		mustDecide(e.Execute(background, w.queries[i], nothing))
	}
	var activated atomic.Int64
	named, busy := principalNumber(n+idle), principalNumber(n+idle+1)
	held := policy.Grant{Principal: named, Role: "other"}
	c := &crowdCost{others: []*disturbance{
		{name: "activation of another, p99", quantile: 99, call: func(int) {
			i := n + int(activated.Add(1)%idle)
			mustDecide(e.Execute(background, askAs(principalNumber(i)), nothing))
		}},
		{name: "revocation of a named principal, p50", quantile: 50, call: func(i int) {
			if i%2 == 0 {
				update(e, policy.RevokeRole(held))
			} else {
				update(e, policy.GrantRole(held))
			}
		}},
		{name: "Execute of another, p99.9", quantile: 99.9, call: func(int) { mustDecide(e.Execute(background, askAs(busy), nothing)) }},
	}}
	for round := range rounds {
		for _, d := range c.others {
			if ctx.Err() != nil {
				return c
			}
			d.alone = append(d.alone, d.measure(each))
			c.quiesced = append(c.quiesced, whileChanging(ctx, e, round, func() {
				d.meantime = append(d.meantime, d.measure(each))
			})...)
		}
	}
	return c
}

func askAs(who policy.Principal) actors.Request {
	return actors.Request{Principal: who, Action: "orders:do3", Resource: "orders/area-3/42"}
}

// whileChanging changes the role until measure returns, and returns how long each update took.
func whileChanging(ctx context.Context, e *actors.Engine, round int, measure func()) (quiesced []float64) {
	var over atomic.Bool
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := round; !over.Load() && ctx.Err() == nil; i++ {
			role := must(policy.NewRole("worker", nil, eightPermissions(1).roles[0].Permissions()[:7+i%2]))
			start := time.Now()
			update(e, policy.PutRole(role, ""))
			quiesced = append(quiesced, nanosecondsSince(start))
		}
	})
	measure()
	over.Store(true)
	changing.Wait()
	return quiesced
}

// measure makes calls for a time, one after the other, and returns the quantile in nanoseconds.
func (d *disturbance) measure(each time.Duration) float64 {
	h := hdrhistogram.New(1, int64(time.Minute), 3)
	end := time.Now().Add(each)
	for i, start := 0, time.Now(); start.Before(end); i++ {
		d.call(i)
		now := time.Now()
		_ = h.RecordValue(max(1, int64(now.Sub(start))))
		start = now
	}
	return float64(h.ValueAtQuantile(d.quantile))
}

// addTo adds the rows to a table.
func (c *crowdCost) addTo(s *results.Section) {
	for _, d := range c.others {
		ratio := &results.Metric{Name: "ratio"}
		for i := range d.meantime {
			ratio.Samples = append(ratio.Samples, d.meantime[i]/d.alone[i])
		}
		s.Add(d.name).Add(seconds("alone", d.alone), seconds("while the role changes", d.meantime), atMost(2, ratio))
	}
	s.Note("The update itself, until quiesced: %v (median of %d).", time.Duration(median(c.quiesced)), len(c.quiesced))
}

// leasesCost is what the loss of a role came to for principals with leases, by round, in
// nanoseconds from the call.
type leasesCost struct {
	quiesced []float64
	canceled []float64 // p99
}

// revokeLeases takes the permissions from a role that n principals hold, each with a lease
// whose operation ends when it is canceled.
func revokeLeases(ctx context.Context, n, rounds int) *leasesCost {
	w := eightPermissions(n)
	e := w.engine()
	defer func() { _ = e.Close(background) }()
	c := &leasesCost{}
	for range rounds {
		if ctx.Err() != nil {
			break
		}
		h := newHistogram()
		var (
			mu      sync.Mutex
			running sync.WaitGroup
			start   time.Time
		)
		for i := range n {
			l := must(e.Admit(background, w.queries[i]))
			running.Add(1)
			context.AfterFunc(l.Context(), func() {
				defer running.Done()
				took := time.Since(start)
				l.Release()
				mu.Lock()
				defer mu.Unlock()
				_ = h.RecordValue(max(1, int64(took)))
			})
		}
		start = time.Now()
		update(e, policy.PutRole(w.emptied(), ""))
		c.quiesced = append(c.quiesced, nanosecondsSince(start))
		running.Wait()
		c.canceled = append(c.canceled, float64(h.ValueAtQuantile(99)))
		update(e, policy.PutRole(w.roles[0], ""))
	}
	return c
}

// addTo adds the row to a table.
func (c *leasesCost) addTo(s *results.Section) {
	s.Add("all canceled and released").Add(seconds("until quiesced", c.quiesced), seconds("until canceled, p99", c.canceled))
}
