package historytest

import (
	"math/rand/v2"
	"sync"
)

// Load is clients that work at random on a subject, such as a gateway.
type Load struct {
	Seed       uint64
	Clients    int // at most [Clients]
	Principals int
	Turns      int // of each client
	// Use lets a client use an action of a principal, and returns when the use is over. It records
	// the use, or that it was denied. linger is a random number below 9, for the time that the use
	// takes.
	Use func(u Event, linger int)
	// Change lets a principal do an action, or forbids it, and returns the revision of the receipt.
	Change func(principal, action int, allowed bool) (revision uint64)
}

// Run runs the load and records its changes. One change is in progress at a time.
func (h *History) Run(l Load) {
	var clients sync.WaitGroup
	changing := make(chan struct{}, 1) // and no mutex, so that it works under testing/synctest
	allowed := make([][Actions]bool, l.Principals)
	for c := range l.Clients {
		rng := rand.New(rand.NewPCG(l.Seed, uint64(c)))
		clients.Go(func() {
			for range l.Turns {
				u := Event{Principal: rng.IntN(l.Principals), Client: c, Action: rng.IntN(Actions)}
				if linger := rng.IntN(9); rng.IntN(3) > 0 {
					l.Use(u, linger)
					continue
				}
				changing <- struct{}{}
				may := &allowed[u.Principal][u.Action]
				*may = !*may
				call := h.Now()
				revision := l.Change(u.Principal, u.Action, *may)
				h.update(u.Principal, revision, allowed[u.Principal], call, h.Now())
				<-changing
			}
		})
	}
	clients.Wait()
}

// update records a change of one principal.
func (h *History) update(principal int, revision uint64, allowed [Actions]bool, call, ret int64) {
	h.Ack(ret, revision)
	for _, kind := range []Kind{Apply, Quiesce} {
		h.Add(Event{Kind: kind, Principal: principal, Revision: revision, Allowed: allowed}, call, ret)
	}
}
