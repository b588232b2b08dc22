package actors

import (
	"errors"
	"fmt"
	"time"

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
		if reply := a.engine.callers.take(p.ID); reply != nil {
			reply <- answer{err: err}
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
			if reply := e.callers.take(o.ID); reply != nil {
				reply <- answer{err: oplog.ErrOutcomeUnknown}
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
	for _, reply := range e.callers.takeAll() {
		reply <- answer{err: fmt.Errorf("%w: %w", oplog.ErrOutcomeUnknown, err)}
	}
}

// carryOut makes one outcome take effect. Its messages are in the mailboxes of all concerned
// principals before its table is published, and its table is published before its caller is
// answered.
func (e *Engine) carryOut(o *oplog.Outcome) {
	reply := e.callers.take(o.ID) // nil if it is another engine's, or its caller has left
	answered := func(a answer) {
		if reply != nil {
			reply <- a
		}
	}
	if !o.Applied() {
		answered(answer{err: o.Err, revision: o.Revision})
		return
	}
	before := e.shared.published.Load()
	table := before.Next(o.Revision, o.Roles, o.Patterns)
	t := newTracker(o.Revision)
	t.still = stillGranted(table, o)
	t.unchanged = unchanged(before, o)
	e.delivery.begun.Store(o.Revision)
	if len(o.Certificates) > 0 {
		e.revise(func(r *revocations) *revocations { return r.with(o.Certificates) })
	}
	send := func(p *principal) {
		m := &deliveredChange{acknowledgement: acknowledgement{tracker: t}, grace: graceOf(o),
			change: change{revision: o.Revision, table: table, record: o.Records[p.who]}}
		p.posted = o.Revision
		p.tellFor(&m.acknowledgement, m)
	}
	if reach := reachOf(o); reach.broad {
		e.directory.each(func(p *principal) {
			if reach.concerns(p, before) {
				send(p)
			}
		})
	} else {
		for who := range o.Records {
			if p := e.directory.get(who, e.directory.hash(who)); p != nil {
				send(p)
				if reply != nil { // its caller handles the messages, and then drops near
					t.note(p)
				}
			}
		}
	}
	if len(o.Certificates) > 0 {
		e.closeConnections(t)
	}
	e.receipts.add(t)
	e.confirmer.follow(t)
	e.shared.published.Store(table)
	e.delivery.reached()
	t.applied()
	answered(answer{revision: o.Revision, tracker: t})
}

// graceOf returns the grace of an update, 0 if it leaves it to the operations.
func graceOf(o *oplog.Outcome) time.Duration {
	if o.Change == nil || o.Change.Grace == nil {
		return 0
	}
	return *o.Change.Grace
}

// reach tells which principals an outcome concerns.
type reach struct {
	*oplog.Outcome
	// broad means that the outcome may concern principals that it does not name.
	broad        bool
	certificates bool
	patterns     map[policy.PrincipalPattern]struct{}
}

func reachOf(o *oplog.Outcome) *reach {
	r := &reach{Outcome: o, certificates: o.Change == nil} // unknown: it may concern anybody
	for _, c := range changesOf(o) {
		if c.Op == policy.OpRevokeCertificate {
			r.certificates = true
		}
		if !c.Grant.Principals.IsZero() {
			if r.patterns == nil {
				r.patterns = map[policy.PrincipalPattern]struct{}{}
			}
			r.patterns[c.Grant.Principals] = struct{}{}
		}
	}
	r.broad = len(o.Roles) > 0 || o.Patterns != nil || r.certificates
	return r
}

// concerns reports whether a principal may hold what the outcome changed. In doubt it does:
// while the principal opens, or has not handled an earlier message.
func (r *reach) concerns(p *principal, before *policy.Table) bool {
	if !p.open.Load() || p.appliedTo.Load() < p.posted || r.certificates {
		return true
	}
	if _, ok := r.Records[p.who]; ok {
		return true
	}
	if view := p.view.Load(); view == nil || view.Holds(before, r.Roles) {
		return true
	}
	if r.Patterns == nil {
		return false
	}
	for pattern := range r.patterns {
		if pattern.Matches(p.who) {
			return true
		}
	}
	return false
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
		t.PatternGrants(c.Grant.Principal, look)
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
	return o.Patterns == nil || len(*o.Patterns) == len(before.Patterns())
}
