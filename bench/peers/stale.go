package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

const (
	// usesLast is the work of a use.
	usesLast = 50 * time.Microsecond
	// dwell is the time between a change and the next, opposite one.
	dwell = 2 * time.Millisecond
)

// interval is a stretch of time; for a revocation from its acknowledgment to the sending
// of the next grant, for a use from its first to its last instant.
type interval struct{ from, to time.Time }

// stale are the uses that ran after a revocation was acknowledged.
type stale struct {
	revocations int
	began       int // after the acknowledgment, before the next grant was sent
	running     int // begun before, and not ended at the acknowledgment
}

func (s *stale) add(other stale) {
	s.revocations += other.revocations
	s.began += other.began
	s.running += other.running
}

// each counts uses for each revocation.
func (s stale) each(uses int) float64 { return float64(uses) / float64(s.revocations) }

// count looks for stale uses. Both lists are in the order of time, without overlaps.
func count(uses, revoked []interval) stale {
	s := stale{revocations: len(revoked)}
	i := 0
	for _, r := range revoked {
		for ; i < len(uses) && uses[i].from.Before(r.to); i++ {
			switch u := uses[i]; {
			case !u.from.Before(r.from):
				s.began++
			case u.to.After(r.from):
				s.running++
			}
		}
	}
	return s
}

// probe is a query that is allowed for as long as its principal has the role.
type probe struct {
	query query
	role  string
}

// findProbe looks for the first one, by an engine that it leaves as it was.
func findProbe(w *world, e engine) (probe, error) {
	for _, q := range w.queries {
		for _, r := range w.member(q.who).roles {
			p := probe{q, r}
			if a, err := p.ask(e); err != nil || a == followed {
				return p, err
			}
		}
	}
	return probe{}, errors.New("no query depends on a single role: draw another world")
}

// asked are the answers to a probe: with the role, without it, and with it again.
type asked struct{ with, without, again bool }

var followed = asked{with: true, again: true}

// ask takes the role away and gives it back.
func (p probe) ask(e engine) (a asked, err error) {
	steps := []struct {
		change func(policy.Principal, string) error
		answer *bool
	}{
		{func(policy.Principal, string) error { return nil }, &a.with}, {e.Revoke, &a.without}, {e.Grant, &a.again},
	}
	for _, s := range steps {
		if err := s.change(p.query.who, p.role); err != nil {
			return a, fmt.Errorf("%s: %w", e.Name(), err)
		}
		if *s.answer, err = e.Check(p.query); err != nil {
			return a, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	return a, nil
}

// holds checks that the engine's answer follows the role.
func (p probe) holds(e engine) error {
	a, err := p.ask(e)
	if err == nil && a != followed {
		err = fmt.Errorf("%s answers %v with role %s, %v without it, %v with it again: %s",
			e.Name(), a.with, p.role, a.without, a.again, p.query)
	}
	return err
}

// race lets a caller check and use for the time, while an updater revokes and grants.
func (p probe) race(e engine, lasts time.Duration) (stale, error) {
	var (
		done   atomic.Bool
		uses   []interval
		failed error
		ended  = make(chan struct{})
	)
	go func() {
		defer close(ended)
		for !done.Load() && failed == nil {
			failed = use(e, p.query, func() { uses = append(uses, work()) })
		}
	}()
	revoked, err := p.flip(e, lasts)
	done.Store(true)
	<-ended
	if err == nil {
		err = failed
	}
	if err != nil {
		return stale{}, fmt.Errorf("%s: %w", e.Name(), err)
	}
	return count(uses, revoked), nil
}

// flip revokes and grants for the time, once at least, and says when the role was known to
// be gone.
func (p probe) flip(e engine, lasts time.Duration) (revoked []interval, err error) {
	for start := time.Now(); len(revoked) == 0 || time.Since(start) < lasts; {
		time.Sleep(dwell)
		if err := e.Revoke(p.query.who, p.role); err != nil {
			return nil, err
		}
		acknowledged := time.Now()
		time.Sleep(dwell)
		sent := time.Now()
		if err := e.Grant(p.query.who, p.role); err != nil {
			return nil, err
		}
		revoked = append(revoked, interval{acknowledged, sent})
	}
	return revoked, nil
}

// work is the use: it keeps a processor busy.
func work() interval {
	w := interval{from: time.Now()}
	for w.to = w.from; w.to.Sub(w.from) < usesLast; {
		w.to = time.Now()
	}
	return w
}
