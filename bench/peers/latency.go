package main

import (
	"fmt"
	"sync"
	"time"
)

// shares are the per cents of all operations that are updates.
var shares = []int{0, 1, 10}

// span is how long some operations took, and how many they were.
type span struct {
	time  time.Duration
	count int
}

func (s *span) add(d time.Duration, count int) {
	s.time += d
	s.count += count
}

// each is how long one took, in seconds.
func (s *span) each() float64 { return s.time.Seconds() / float64(s.count) }

// turn is one engine's turn to be measured: checks, and among them updates.
type turn struct {
	world  *world
	engine engine
	share  int           // per cent of updates
	from   int           // the first query
	lasts  time.Duration // at least
}

// run lets that many goroutines work, and sums up what each saw.
func (t *turn) run(goroutines int) (checks, updates span, err error) {
	var (
		mu   sync.Mutex
		wait sync.WaitGroup
	)
	for n := range goroutines {
		wait.Go(func() {
			c, u, failed := t.work(n, goroutines)
			mu.Lock()
			defer mu.Unlock()
			checks.add(c.time, c.count)
			updates.add(u.time, u.count)
			if failed != nil {
				err = fmt.Errorf("%s: %w", t.engine.Name(), failed)
			}
		})
	}
	wait.Wait()
	return checks, updates, err
}

// work is what one goroutine of several does. Each updates principals of its own, for the
// number of all divides evenly, so that none takes a role that is gone.
func (t *turn) work(n, goroutines int) (checks, updates span, err error) {
	together := 100 // checks in a row, timed as one: a clock costs as much as a fast check
	if t.share > 0 {
		together = 100/t.share - 1
	}
	next := t.from + n*len(t.world.queries)/goroutines
	for start := time.Now(); checks.count == 0 || time.Since(start) < t.lasts; {
		begin := time.Now()
		for range together {
			if _, err := t.engine.Check(t.world.queries[next%len(t.world.queries)]); err != nil {
				return checks, updates, err
			}
			next++
		}
		checks.add(time.Since(begin), together)
		if t.share == 0 {
			continue
		}
		begin = time.Now()
		if err := t.update(n + updates.count*goroutines); err != nil {
			return checks, updates, err
		}
		updates.add(time.Since(begin), 1)
	}
	return checks, updates, nil
}

// update takes a role from a principal and gives it back.
func (t *turn) update(i int) error {
	m := t.world.members[i%len(t.world.members)]
	role := m.roles[i%len(m.roles)]
	if err := t.engine.Revoke(m.who, role); err != nil {
		return err
	}
	return t.engine.Grant(m.who, role)
}
