package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

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
	name           string
	quantile       float64
	most           int    // calls of one measurement; 0 for no limit
	prepare        func() // before each call, and not measured; nil for nothing
	call           func()
	alone, changes []float64
}

// crowd changes a role that n active principals hold. It measures principals that do not hold
// it: activations, revocations and operations.
func crowd(ctx context.Context, n, rounds int, each time.Duration) *crowdCost {
	const activations = 2000 // of one measurement; a principal is activated once
	w := eightPermissions(n)
	w.roles = append(w.roles, must(policy.NewRole("other", nil, w.roles[0].Permissions())))
	idle := make([]policy.Principal, 2*rounds*activations)
	for i := range idle {
		idle[i] = principalNumber(n + 2 + i)
		w.grants = append(w.grants, policy.Grant{Principal: idle[i], Role: "other"})
	}
	held, busy := policy.Grant{Principal: principalNumber(n), Role: "other"}, principalNumber(n+1)
	w.grants = append(w.grants, policy.Grant{Principal: busy, Role: "other"})
	e := w.engine()
	defer func() { _ = e.Close(background) }()
	execute := func(who policy.Principal) {
		mustDecide(e.Execute(background, actors.Request{Principal: who, Action: "orders:do3", Resource: "orders/area-3/42"}, nothing))
	}
	for i := range n {
		execute(w.queries[i].Principal)
	}
	c := &crowdCost{others: []*disturbance{
		{name: "activation of another, p99", quantile: 99, most: activations, call: func() {
			who := idle[0]
			idle = idle[1:]
			execute(who)
		}},
		{
			name: "revocation of a named principal, p50", quantile: 50,
			prepare: func() { update(e, policy.GrantRole(held)); execute(held.Principal) },
			call:    func() { update(e, policy.RevokeRole(held)) },
		},
		{name: "Execute of another, p99.9", quantile: 99.9, call: func() { execute(busy) }},
	}}
	for round := range rounds {
		for _, d := range c.others {
			if ctx.Err() != nil {
				return c
			}
			d.alone = append(d.alone, d.measure(each))
			c.quiesced = append(c.quiesced, whileChanging(ctx, e, round, func() {
				d.changes = append(d.changes, d.measure(each))
			})...)
		}
	}
	return c
}

// whileChanging changes the role until measure returns, at least once, and returns how long each
// update took.
func whileChanging(ctx context.Context, e *actors.Engine, round int, measure func()) (quiesced []float64) {
	var over atomic.Bool
	var changing sync.WaitGroup
	changing.Go(func() {
		for i := round; i == round || !over.Load() && ctx.Err() == nil; i++ {
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
	h := newHistogram()
	end := time.Now().Add(each)
	for i := 0; time.Now().Before(end) && (d.most == 0 || i < d.most); i++ {
		if d.prepare != nil {
			d.prepare()
		}
		start := time.Now()
		d.call()
		_ = h.RecordValue(max(1, int64(time.Since(start))))
	}
	return float64(h.ValueAtQuantile(d.quantile))
}

// addTo adds the rows to a table.
func (c *crowdCost) addTo(s *results.Section) {
	for _, d := range c.others {
		ratio := &results.Metric{Name: "ratio"}
		for i := range d.changes {
			ratio.Samples = append(ratio.Samples, d.changes[i]/d.alone[i])
		}
		s.Add(d.name).Add(seconds("alone", d.alone), seconds("while the role changes", d.changes), atMost(2, ratio))
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
