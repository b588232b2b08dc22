package main

import (
	"fmt"
	"io"
	"runtime"
	"time"
)

// options of a comparison.
type options struct {
	rounds   int
	each     time.Duration
	progress io.Writer
}

// contestant is a started engine with what was measured of it.
type contestant struct {
	peer
	engine engine
	// serial and parallel are seconds a check by the share of updates, update seconds an
	// update.
	serial, parallel map[int][]float64
	update           []float64
	// began and running are uses after a revocation, for each of them, by round.
	began, running []float64
	stale          stale
}

// comparison is the world and all who are in it.
type comparison struct {
	options
	world       *world
	probe       probe
	contestants []*contestant
}

// prepare starts the peers and checks that they agree with interlock on every query.
func prepare(w *world, chosen []peer, o options) (*comparison, error) {
	reference, err := newExecute(w)
	if err != nil {
		return nil, err
	}
	defer reference.Close()
	expected, err := answers(reference, w.queries)
	if err != nil {
		return nil, err
	}
	c := &comparison{options: o, world: w}
	if c.probe, err = findProbe(w, reference); err != nil {
		return nil, err
	}
	for _, p := range chosen {
		begin := time.Now()
		if err := c.admit(p, expected); err != nil {
			c.close()
			return nil, err
		}
		fmt.Fprintf(o.progress, "%s agrees on %d queries, after %.1fs\n", p.name, len(w.queries), time.Since(begin).Seconds())
	}
	return c, nil
}

// admit starts one, and sees that it agrees and that its answers follow its updates. Where
// they need not, since they are kept, the probe would only leave a wrong one behind.
func (c *comparison) admit(p peer, expected []bool) error {
	e, err := p.start(c.world)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	c.contestants = append(c.contestants, &contestant{
		peer: p, engine: e, serial: map[int][]float64{}, parallel: map[int][]float64{},
	})
	if err := agree(e, c.world.queries, expected); err != nil {
		return err
	}
	if p.cached {
		return nil
	}
	return c.probe.holds(e)
}

func (c *comparison) close() {
	for _, o := range c.contestants {
		o.engine.Close()
	}
}

// run measures all in turn, in as many rounds as were asked for.
func (c *comparison) run() error {
	for round := range c.rounds {
		for _, o := range c.contestants {
			runtime.GC() // each engine pays for its own garbage
			if err := c.measure(o, round); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.progress, "round %d of %d\n", round+1, c.rounds)
	}
	return nil
}

// measure is one contestant's share of a round.
func (c *comparison) measure(o *contestant, round int) error {
	for _, share := range shares {
		t := &turn{world: c.world, engine: o.engine, share: share, from: round * 997, lasts: c.each}
		checks, updates, err := t.run(1)
		if err != nil {
			return err
		}
		o.serial[share] = append(o.serial[share], checks.each())
		if share == shares[len(shares)-1] {
			o.update = append(o.update, updates.each())
		}
		if o.single {
			continue
		}
		if checks, _, err = t.run(2); err != nil {
			return err
		}
		o.parallel[share] = append(o.parallel[share], checks.each())
	}
	if o.single {
		return nil
	}
	return c.race(o)
}

// race adds the contestant's stale uses. One that promises none must have none.
func (c *comparison) race(o *contestant) error {
	s, err := c.probe.race(o.engine, c.each)
	if err != nil {
		return err
	}
	o.stale.add(s)
	o.began = append(o.began, s.each(s.began))
	o.running = append(o.running, s.each(s.running))
	if o.atomic && s.began+s.running > 0 {
		return fmt.Errorf("%s: of %d revocations %d were followed by a use and %d acknowledged during one: "+
			"a promise is broken, see G1 and G2", o.name, s.revocations, s.began, s.running)
	}
	return nil
}
