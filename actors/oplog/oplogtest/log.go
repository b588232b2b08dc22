package oplogtest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Store is an empty place for a log.
type Store struct {
	// Open opens the log in the store. If Durable is set, a second call after Close opens
	// the same log again.
	Open    func() (oplog.Log, error)
	Durable bool
}

// TestLog checks an implementation of [oplog.Log]. newStore returns a new empty store for
// each check. The error names each check that failed and why.
//
// It does not check what only a crash or a full disk shows.
func TestLog(newStore func() Store) error {
	var errs []error
	for _, check := range []struct {
		name string
		run  func(Store) error
	}{
		{"open", checkOpen},
		{"outcomes", checkOutcomes},
		{"order", checkOrder},
		{"preconditions", checkPreconditions},
		{"refusals", checkRefusals},
		{"abandoned proposals", checkAbandoned},
		{"idempotency keys", checkKeys},
		{"reads", checkReads},
		{"close", checkClose},
		{"reopen", checkReopen},
	} {
		if err := check.run(newStore()); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", check.name, err))
		}
	}
	return errors.Join(errs...)
}

// with runs a check on the probe of an open log, and closes it.
func with(s Store, run func(*probe) error) error {
	log, err := s.Open()
	if err != nil {
		return err
	}
	p, err := openProbe(log, nil)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	return errors.Join(run(p), p.close())
}

func checkOpen(s Store) error {
	return with(s, func(p *probe) error {
		if _, err := p.log.Open(oplog.Events{Deliver: p.deliver, Failed: p.failed}); err == nil {
			return errors.New("a second call of Open succeeded")
		}
		_, err := p.apply(policy.PutRole(role("a"), ""))
		return err
	})
}

// checkOutcomes makes every kind of change. The probe compares each outcome with a reference.
func checkOutcomes(s Store) error {
	return with(s, func(p *probe) error {
		grace := 3 * time.Second
		author := oplog.Author{Principal: who("author"), Credential: "f0f0"}
		for _, changes := range everyChange() {
			c := oplog.Change{Changes: changes, Author: author, Grace: &grace}
			o, err := p.do(&oplog.Proposal{Change: c})
			switch {
			case err != nil:
				return err
			case !o.Applied():
				return fmt.Errorf("%v was not applied: %w", changes, o.Err)
			case o.Change == nil || o.Change.Author != author || o.Change.Grace == nil || *o.Change.Grace != grace || len(o.Change.Changes) != len(changes):
				return fmt.Errorf("the outcome of %v has another change than was proposed", changes)
			}
			if err := p.differs(); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkOrder proposes many changes without waiting.
func checkOrder(s Store) error {
	return with(s, func(p *probe) error {
		if _, err := p.apply(policy.PutRole(role("a"), "")); err != nil {
			return err
		}
		var waiting []<-chan oplog.Outcome
		for i := range 300 {
			c := policy.GrantRole(policy.Grant{Principal: who(fmt.Sprint(i % 50)), Role: "a", Reason: fmt.Sprint(i)})
			outcome, err := p.propose(&oplog.Proposal{Change: oplog.Change{Changes: []policy.Change{c}}})
			if err != nil {
				return err
			}
			waiting = append(waiting, outcome)
		}
		var before uint64
		for _, w := range waiting {
			o, err := await(w)
			switch {
			case err != nil:
				return err
			case !o.Applied():
				return o.Err
			case o.Revision <= before:
				return fmt.Errorf("a later proposal got revision %d, an earlier one %d", o.Revision, before)
			}
			before = o.Revision
		}
		return p.differs()
	})
}

func checkPreconditions(s Store) error {
	return with(s, func(p *probe) error {
		if _, err := p.apply(policy.PutRole(role("a"), "")); err != nil {
			return err
		}
		base := p.last()
		stale := errors.New("stale")
		var late atomic.Bool
		var waiting []<-chan oplog.Outcome
		for i := range 20 {
			outcome, err := p.propose(&oplog.Proposal{
				Change: oplog.Change{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: who(fmt.Sprint(i)), Role: "a"})}},
				Before: func(tip policy.View) error {
					// Read after the log chose the tip: what is delivered by now may be newer,
					// but not what was when the proposal was made.
					if tip.Revision() < base {
						late.Store(true)
					}
					if tip.Revision() != base {
						return stale
					}
					return nil
				},
				After: func(tip, next policy.View) error {
					if next.Record(who(fmt.Sprint(i))) == nil || tip.Record(who(fmt.Sprint(i))) != nil {
						return errors.New("the precondition After does not get the state before and after the change")
					}
					return nil
				},
			})
			if err != nil {
				return err
			}
			waiting = append(waiting, outcome)
		}
		applied := 0
		for _, w := range waiting {
			o, err := await(w)
			switch {
			case err != nil:
				return err
			case o.Applied():
				applied++
			case !errors.Is(o.Err, stale):
				return o.Err
			}
		}
		if late.Load() {
			return errors.New("the tip of a precondition is older than what was delivered")
		}
		if applied != 1 {
			return fmt.Errorf("%d updates passed a precondition that holds for one", applied)
		}
		return nil
	})
}

func checkRefusals(s Store) error {
	return with(s, func(p *probe) error {
		bad := []policy.Change{policy.PutRole(role("a"), ""), policy.GrantRole(policy.Grant{Principal: who("x"), Role: "missing"})}
		o, err := p.do(&oplog.Proposal{Change: oplog.Change{Changes: bad}})
		if err != nil {
			return err
		}
		if !errors.Is(o.Err, policy.ErrUnknownRole) {
			return fmt.Errorf("a grant of an unknown role has the error %v", o.Err)
		}
		if err := p.differs(); err != nil { // nothing of it was applied
			return err
		}
		_, err = p.apply(policy.PutRole(role("b"), ""))
		return err
	})
}

func checkAbandoned(s Store) error {
	return with(s, func(p *probe) error {
		gone := &oplog.Proposal{Change: oplog.Change{Changes: []policy.Change{policy.PutRole(role("gone"), "")}}}
		gone.Abandon()
		outcome, err := p.propose(gone)
		if err != nil {
			return err
		}
		if _, err := p.apply(policy.PutRole(role("a"), "")); err != nil {
			return err
		}
		select {
		case <-outcome:
			return errors.New("an abandoned proposal got an outcome")
		default:
			return p.differs()
		}
	})
}

func checkKeys(s Store) error {
	return with(s, func(p *probe) error {
		if _, err := p.apply(policy.PutRole(role("a"), "")); err != nil {
			return err
		}
		keyed := func(author string, request byte) *oplog.Proposal {
			return &oplog.Proposal{Change: oplog.Change{
				Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: who("x"), Role: "a", Reason: author})},
				Author:  oplog.Author{Principal: who(author)}, Key: oplog.IdempotencyKey{Key: "k", Request: [32]byte{request}},
			}}
		}
		// Both at once: the second has to be answered after the first is delivered.
		first, err := p.propose(keyed("author", 1))
		if err != nil {
			return err
		}
		second, err := p.propose(keyed("author", 1))
		if err != nil {
			return err
		}
		a, errA := await(first)
		b, errB := await(second)
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		if errors.Is(a.Err, oplog.ErrNoKeys) && errors.Is(b.Err, oplog.ErrNoKeys) {
			return nil
		}
		if !a.Applied() || !b.Repeated || b.Revision != a.Revision {
			return fmt.Errorf("a repeated update got revision %d (%v), the first %d (%v)", b.Revision, b.Err, a.Revision, a.Err)
		}
		if o, err := p.do(keyed("author", 2)); err != nil || !errors.Is(o.Err, oplog.ErrKeyReused) {
			return fmt.Errorf("another request with the same key got %v", errors.Join(o.Err, err))
		}
		if o, err := p.do(keyed("other", 1)); err != nil || !o.Applied() {
			return fmt.Errorf("another author's request with the same key got %v", errors.Join(o.Err, err))
		}
		return nil
	})
}

// checkReads reads a record each time that it was delivered.
func checkReads(s Store) error {
	return with(s, func(p *probe) error {
		if _, err := p.apply(policy.PutRole(role("a"), "")); err != nil {
			return err
		}
		if r, err := p.log.Record(who("x")); err != nil || r != nil {
			return fmt.Errorf("a principal without grants has the record %v, %w", r, err)
		}
		for i := range 50 {
			reason := fmt.Sprint(i)
			o, err := p.apply(policy.GrantRole(policy.Grant{Principal: who("x"), Role: "a", Reason: reason}))
			if err != nil {
				return err
			}
			r, err := p.log.Record(who("x"))
			switch {
			case err != nil:
				return err
			case r == nil || r.Revision < o.Revision || r.Grants[0].Reason != reason:
				return fmt.Errorf("Record does not include revision %d, which was delivered", o.Revision)
			}
		}
		if _, err := p.apply(policy.RevokeRole(policy.Grant{Principal: who("x"), Role: "a"})); err != nil {
			return err
		}
		if r, err := p.log.Record(who("x")); err != nil || r == nil || len(r.Grants) != 0 {
			return fmt.Errorf("the record after its last grant was revoked is %v, %w; it has to be empty", r, err)
		}
		return nil
	})
}

func checkClose(s Store) error {
	log, err := s.Open()
	if err != nil {
		return err
	}
	p, err := openProbe(log, nil)
	if err != nil {
		return err
	}
	_, err = p.apply(policy.PutRole(role("a"), ""))
	if err := errors.Join(err, p.close()); err != nil {
		return err
	}
	if err := log.Propose(&oplog.Proposal{ID: newID()}); !errors.Is(err, oplog.ErrUnavailable) {
		return fmt.Errorf("Propose after Close returned %v, not ErrUnavailable", err)
	}
	return nil
}

func checkReopen(s Store) error {
	if !s.Durable {
		return nil
	}
	log, err := s.Open()
	if err != nil {
		return err
	}
	p, err := openProbe(log, nil)
	if err != nil {
		return err
	}
	for _, changes := range everyChange() {
		if _, err := p.apply(changes...); err != nil {
			return err
		}
	}
	if err := p.close(); err != nil {
		return err
	}
	if log, err = s.Open(); err != nil {
		return err
	}
	again, err := openProbe(log, p.reference)
	if err != nil {
		return err
	}
	initial := &again.initial
	switch {
	case initial.StoreID != p.initial.StoreID:
		err = errors.New("the store has another ID")
	case initial.Table.Revision() != p.delivered:
		err = fmt.Errorf("it opened at revision %d, not %d", initial.Table.Revision(), p.delivered)
	case !slices.Equal(initial.Revoked, []policy.CertificateID{certificate}):
		err = fmt.Errorf("revoked certificates are %v", initial.Revoked)
	default:
		err = again.differs()
	}
	return errors.Join(err, again.close())
}

var certificate = policy.CertificateID{SHA256: fmt.Sprintf("%064x", 7)}

// everyChange returns updates that contain every kind of change.
func everyChange() [][]policy.Change {
	everyone, err := policy.ParsePrincipalPattern("test:*")
	if err != nil {
		panic(err)
	}
	within, err := policy.ParseResourcePattern("orders/*")
	if err != nil {
		panic(err)
	}
	limited := policy.Grant{Principal: who("x"), Role: "b", Within: []policy.ResourcePattern{within}, Expires: time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)}
	return [][]policy.Change{
		{policy.PutRole(role("a"), "first"), policy.PutRole(role("b", "a"), "")},
		{policy.GrantRole(policy.Grant{Principal: who("x"), Role: "a", Reason: "why"})},
		{policy.GrantRole(limited), policy.GrantRole(policy.Grant{Principal: who("y"), Role: "b"})},
		{policy.GrantRole(policy.Grant{Principals: everyone, Role: "a"})},
		{policy.PutRole(role("a"), "again"), policy.PutRole(role("c"), "")},
		{policy.RevokeRole(policy.Grant{Principal: who("y"), Role: "b"})},
		{policy.RevokeRole(policy.Grant{Principal: who("y"), Role: "b"})}, // changes nothing
		{policy.RevokeRole(policy.Grant{Principals: everyone, Role: "a"})},
		{policy.RevokeCertificate(certificate, "lost")},
		{policy.RevokeCertificate(certificate, "lost again")},
		{policy.UnrevokeCertificate(certificate, "found"), policy.RevokeCertificate(certificate, "not found")}, // changes nothing
		{policy.UnrevokeCertificate(certificate, "found")},
		{policy.RevokeCertificate(certificate, "lost"), policy.UnrevokeCertificate(certificate, "found"), policy.RevokeCertificate(certificate, "lost")},
		{policy.DeleteRole("c", ""), policy.GrantRole(policy.Grant{Principal: who("z"), Role: "a"})},
	}
}

func who(name string) policy.Principal { return policy.MustPrincipal("test:" + name) }

func role(name string, inherits ...string) *policy.Role {
	action, err := policy.ParseActionPattern("do:" + name)
	if err != nil {
		panic(err)
	}
	resource, err := policy.ParseResourcePattern("**")
	if err != nil {
		panic(err)
	}
	r, err := policy.NewRole(name, inherits, []policy.Permission{{
		Effect: policy.Allow, Actions: []policy.ActionPattern{action}, Resources: []policy.ResourcePattern{resource}}})
	if err != nil {
		panic(err)
	}
	return r
}
