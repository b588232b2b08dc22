package actors

import (
	"errors"
	"fmt"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// authority orders the updates of this engine: it hands proposals to the log.
type authority struct{ engine *Engine }

func (a *authority) propose(p *oplog.Proposal) {
	err := a.engine.Failure()
	if err != nil {
		err = fmt.Errorf("%w: %w", oplog.ErrUnavailable, err)
	} else {
		err = a.engine.journal.Propose(p)
	}
	if err != nil {
		if caller := a.engine.callers.take(p.ID); caller != nil {
			caller.reply <- answer{err: err}
		}
	}
}

// deliver takes the outcomes of one group from the log. It neither blocks nor panics,
// whatever the outcomes are.
func (e *Engine) deliver(list []oplog.Outcome) {
	e.delivery.turn.Lock()
	defer e.delivery.turn.Unlock()
	defer func() {
		if v := recover(); v != nil {
			e.breach(fmt.Errorf("delivery panicked: %v", v))
		}
	}()
	for i := range list {
		o := &list[i]
		if e.delivery.ended {
			if caller := e.callers.take(o.ID); caller != nil {
				caller.reply <- answer{err: oplog.ErrOutcomeUnknown}
			}
			continue
		}
		if err := e.checkOutcome(o); err != nil {
			e.breach(err)
			continue
		}
		e.carryOut(o)
	}
}

// checkOutcome checks the order of deliveries that [oplog.Events] requires.
func (e *Engine) checkOutcome(o *oplog.Outcome) error {
	delivered := e.Revision()
	switch {
	case errors.Is(o.Err, oplog.ErrOutcomeUnknown), errors.Is(o.Err, oplog.ErrUnavailable):
	case o.Applied() && o.Revision <= delivered:
		return fmt.Errorf("revision %d was delivered after revision %d", o.Revision, delivered)
	case !o.Applied() && o.Revision > delivered:
		return fmt.Errorf("an outcome named revision %d before it was delivered", o.Revision)
	}
	return nil
}

// breach ends delivery after a breach of the log contract. An outcome may be missing, so
// nothing later may take effect.
func (e *Engine) breach(err error) {
	e.delivery.ended = true
	e.fail(fmt.Errorf("%w: breach of the log contract: %w", oplog.ErrUnavailable, err))
	for _, caller := range e.callers.takeAll() {
		caller.reply <- answer{err: fmt.Errorf("%w: %w", oplog.ErrOutcomeUnknown, err)}
	}
}

// carryOut makes one outcome take effect: delivery.go says why in this order.
func (e *Engine) carryOut(o *oplog.Outcome) {
	caller := e.callers.take(o.ID) // nil if it is another engine's, or its caller has left
	answered := func(a answer) {
		if caller != nil {
			caller.reply <- a
		}
	}
	if !o.Applied() {
		answered(answer{err: o.Err, revision: o.Revision})
		return
	}
	before := e.shared.published.Load()
	r := newRevision(o, before)
	table := r.table
	if table == nil {
		table = before.Next(o.Revision, nil, nil)
	}
	t := r.tracker
	t.still = stillGranted(table, o)
	t.unchanged = unchanged(before, o)
	if len(o.Certificates) > 0 {
		e.revise(func(set *revocations) *revocations { return set.with(o.Certificates) })
	}
	if len(o.Unrevoked) > 0 {
		e.revise(func(set *revocations) *revocations { return set.without(o.Unrevoked) })
	}
	earlier := e.sweeper.unsweptRevisions()
	for who, record := range o.Records {
		p := e.directory.get(who)
		if p == nil {
			continue
		}
		m := &recordChange{acknowledgment: acknowledgment{tracker: t}, revision: r, record: record, earlier: earlier}
		p.tellFor(&m.acknowledgment, m)
		if caller != nil { // it handles the messages, and then drops near
			t.note(p)
		}
	}
	if len(o.Certificates) > 0 {
		e.closeConnections(t)
	}
	sweeps := r.shared()
	if sweeps {
		t.expect()
	}
	e.settling.hold(t)
	e.receipts.add(t)
	e.confirmer.follow(t)
	e.shared.published.Store(table)
	e.delivery.reached()
	e.observeDelivery(t, o, caller)
	if sweeps {
		e.sweeper.add(r)
	}
	t.applied()
	answered(answer{revision: o.Revision, tracker: t})
}

// changesOf returns the changes of an outcome.
func changesOf(o *oplog.Outcome) []policy.Change {
	if o.Change == nil {
		return nil
	}
	return o.Change.Changes
}

// stillGranted lists the grants that still give a role which the update revoked from a
// principal by name: pattern grants, and grants of a role that inherits it.
func stillGranted(t *policy.Table, o *oplog.Outcome) []policy.Grant {
	var still []policy.Grant
	for _, c := range changesOf(o) {
		if c.Op != policy.OpRevoke || !c.Grant.Exact() {
			continue
		}
		look := func(g *policy.Grant) {
			if t.Reaches(g.Role, c.Grant.Role) {
				still = append(still, *g)
			}
		}
		if r := o.Records[c.Grant.Principal]; r != nil {
			for j := range r.Grants {
				look(&r.Grants[j])
			}
		}
		for g := range t.Patterns().Matching(c.Grant.Principal) {
			look(g)
		}
	}
	return still
}

// unchanged reports whether an outcome of revocations changed nothing, which can mean that a
// name was misspelled. It returns false for all other outcomes.
func unchanged(before *policy.Table, o *oplog.Outcome) bool {
	changes := changesOf(o)
	if len(changes) == 0 {
		return false
	}
	for i := range changes {
		if changes[i].Op != policy.OpRevoke {
			return false
		}
	}
	for _, r := range o.Records {
		if r != nil && r.Revision == o.Revision {
			return false
		}
	}
	return len(o.Patterns) == 0
}
