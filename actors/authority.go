package actors

import (
	"context"
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Update is a list of changes that is applied as a whole, as one revision, or not at all.
type Update struct {
	Changes []policy.Change
	Author  Author
	// Repeat, when it is not zero, makes it safe to ask for the update again: if it was
	// applied before, the receipt is that update's, waited for anew.
	Repeat RepeatKey
	// Grace is how long operations that lose their authority may go on before their
	// contexts are cancelled; 0 for not at all.
	Grace time.Duration
	// Before and After are preconditions: see [Proposal].
	Before func(tip policy.View) error
	After  func(tip, next policy.View) error
}

// Update applies changes and waits until they are quiesced (G2). It returns
//
//   - nil: the update stands, and nothing runs that it forbids;
//   - a [*NotQuiescedError]: it stands, and what the error lists runs still. Updates
//     called under the context of a lease do not wait for that lease;
//   - an error that wraps [ErrOutcomeUnknown]: ctx ended while the log had the update, or
//     the log failed; ask again by the revision, or repeat;
//   - any other error: it was not applied. ctx.Err() if ctx ended before the log took it,
//     [ErrNested], [ErrClosed], [ErrJournal], or the error of a change or precondition.
//
// The receipt is complete unless the update was not applied.
func (e *Engine) Update(ctx context.Context, u Update) (Receipt, error) {
	if err := e.admissible(ctx); err != nil {
		return Receipt{}, err
	}
	reply := make(chan answer, 1)
	p := &Proposal{
		Changes: u.Changes, Author: u.Author, Repeat: u.Repeat, Before: u.Before, After: u.After,
		grace: u.Grace, reply: reply,
	}
	e.system.Root.Send(e.authority, p)
	var a answer
	select {
	case a = <-reply:
	case <-ctx.Done():
		return e.abandon(p, reply, ctx, ctx.Err())
	case <-e.stopped:
		return e.abandon(p, reply, ctx, ErrClosed)
	}
	return a.settle(ctx, e)
}

// abandon ends the wait for an update's outcome: it was not applied if the log has not
// got it.
func (e *Engine) abandon(p *Proposal, reply <-chan answer, ctx context.Context, cause error) (Receipt, error) {
	if p.claim.CompareAndSwap(callWaits, callAbandoned) {
		return Receipt{}, cause
	}
	if p.claim.Load() == callAnswered { // perhaps ctx ended by this very update
		select {
		case a := <-reply:
			return a.settle(ctx, e)
		case <-e.stopped:
		}
	}
	select {
	case a := <-reply:
		return a.settle(ctx, e)
	default:
		return Receipt{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause)
	}
}

// settle waits for the update to be quiesced, if it stands.
func (a answer) settle(ctx context.Context, e *Engine) (Receipt, error) {
	if a.err != nil {
		return Receipt{Revision: a.revision}, a.err
	}
	if a.tracker == nil {
		return e.Receipt(ctx, a.revision)
	}
	for _, p := range a.tracker.near {
		p.workControl()
	}
	a.tracker.near = nil // receipts are kept, and must not keep principals
	return await(ctx, a.tracker)
}

// Receipt waits until the update with that revision is quiesced, or ctx is done, and
// returns its receipt as Update does. [ErrUnknownRevision] means that no update had it.
// Of updates that were quiesced long ago the receipt no longer lists what they ended.
func (e *Engine) Receipt(ctx context.Context, revision uint64) (Receipt, error) {
	if e.nested(ctx) {
		return Receipt{}, ErrNested
	}
	t, known := e.receipts.find(revision)
	if !known {
		return Receipt{}, ErrUnknownRevision
	}
	if t == nil {
		return Receipt{Revision: revision, Quiesced: true, Restarted: revision <= e.receipts.opened}, nil
	}
	return await(ctx, t)
}

func await(ctx context.Context, t *tracker) (Receipt, error) {
	cause := t.wait(ctx, ownLeases(ctx))
	r := t.receipt()
	if cause == nil || r.Quiesced {
		return r, nil
	}
	return r, &NotQuiescedError{Receipt: r, Cause: cause}
}

// answer is what the authority tells who waits for an update. Without an error and a
// tracker it is that the update was applied before.
type answer struct {
	revision uint64
	err      error
	tracker  *tracker
}

// deliver is where the log's outcomes come in, of one group after the other.
func (e *Engine) deliver(list []Outcome) {
	e.delivery.turn.Lock()
	defer e.delivery.turn.Unlock()
	if e.delivery.ended {
		return
	}
	for i := range list {
		e.carryOut(&list[i])
	}
}

// authority orders the updates: it hands proposals to the log.
type authority struct{ engine *Engine }

func (a *authority) propose(p *Proposal) {
	if err := a.engine.journal.Propose(p); err != nil {
		p.reply <- answer{err: err}
	}
}

// carryOut makes one outcome take effect: its messages lie in all concerned mailboxes
// before its table is published, and its table is published before anybody is answered.
func (e *Engine) carryOut(o *Outcome) {
	o.Proposal.claim.Store(callAnswered)
	if o.Err != nil {
		o.Proposal.reply <- answer{err: o.Err, revision: o.Revision}
		return
	}
	if o.Repeated {
		o.Proposal.reply <- answer{revision: o.Revision}
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
		m := &deliveredChange{acknowledgement: acknowledgement{tracker: t}, grace: o.Proposal.grace,
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
				t.note(p)
			}
		}
	}
	if len(o.Certificates) > 0 {
		e.closeConnections(t)
	}
	e.receipts.add(t)
	e.shared.published.Store(table)
	e.delivery.reached()
	t.applied()
	o.Proposal.reply <- answer{revision: o.Revision, tracker: t}
}

// reach is whom an outcome concerns.
type reach struct {
	*Outcome
	// broad means that it may concern principals that the outcome does not name.
	broad        bool
	certificates bool
	patterns     map[policy.PrincipalPattern]struct{}
}

func reachOf(o *Outcome) *reach {
	r := &reach{Outcome: o}
	for i := range o.Proposal.Changes {
		c := &o.Proposal.Changes[i]
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

// concerns reports whether a principal may hold what the outcome changed. When in doubt
// it does: while it opens, or has not taken in what was sent before.
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

// stillGranted lists the grants that give a role all the same which the update took from
// a principal by name: to a pattern, or of a role that inherits it.
func stillGranted(t *policy.Table, o *Outcome) []policy.Grant {
	var still []policy.Grant
	for i := range o.Proposal.Changes {
		c := &o.Proposal.Changes[i]
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

// unchanged reports whether an outcome left everything as it was. Only revocations can be
// told cheaply, and there it matters: somebody may have misspelt a name.
func unchanged(before *policy.Table, o *Outcome) bool {
	for i := range o.Proposal.Changes {
		if o.Proposal.Changes[i].Op != policy.OpRevoke {
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
