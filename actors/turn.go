package actors

import (
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// holder is the state of one principal. Its methods are the turns: functions of this state,
// the moment and the message. They return the effects that the driver has to perform, and use
// no goroutine, clock, lock or actor system.
type holder struct {
	who    policy.Principal
	record *policy.Record
	held   *policy.Effective // compiled from the record for the tables of its shape
	// leases is the newest, linked through older and newer. Only turns change the links; Close
	// reads them while a turn does not end.
	leases  leaseLink
	expires int64            // when held has to be computed again; 0 for never
	ends    int64            // the earliest end of a lease's credential; 0 for none
	clock   func() time.Time // called only by a condition that uses now
	known   bool             // there is a grant, expired or not
	expired bool             // a grant has expired
	shut    policy.Reason

	// ahead is the table of the record while it is newer than the published table.
	ahead *policy.Table
}

// effects are the leases that a message concerns, for the driver to deal with.
type effects struct {
	running  []*Lease // without authority and not released: what an update waits for
	canceled []cancellation
}

// cancellation sets the grace of a lease without authority, or shortens it.
type cancellation struct {
	lease *Lease
	grace time.Duration
}

// cancel cancels a lease after a grace.
func (fx *effects) cancel(l *Lease, grace time.Duration) {
	l.inGrace = grace > 0
	fx.canceled = append(fx.canceled, cancellation{l, grace})
}

// graceOf returns the grace of a lease that an update, or the time, takes the authority of. It is
// the shorter one of the operation's and the update's.
func graceOf(l *Lease, update *time.Duration) time.Duration {
	switch own := l.req.Grace; {
	case own == nil && update == nil:
		return 0
	case own == nil:
		return *update
	case update == nil:
		return *own
	default:
		return min(*own, *update)
	}
}

// judge decides a request.
func (h *holder) judge(at *moment, req *Request) policy.Verdict {
	if h.shut != policy.ReasonUnset {
		return policy.Refuse(h.shut)
	}
	if c := req.Credential; c != nil {
		if why := c.check(at); why != policy.ReasonAllowed {
			return policy.Refuse(why)
		}
	}
	if !h.known {
		return policy.Refuse(policy.ReasonUnknownPrincipal)
	}
	v, plain := at.table.JudgePlain(h.held, req.Action, req.Resource)
	if !plain {
		v = h.judgeConditions(at, req)
	}
	return v
}

// judgeConditions is judge for a request that conditions decide. It is not inlined, because a
// query enlarges the stack frame.
//
//go:noinline
func (h *holder) judgeConditions(at *moment, req *Request) policy.Verdict {
	var q policy.Query
	h.ask(&q, req)
	return at.table.Judge(h.held, &q)
}

// hasExpired reports whether a grant has expired since the holder was compiled.
func (h *holder) hasExpired(at *moment) bool { return h.expires != 0 && at.now >= h.expires }

// ask fills in a query in place. A copy costs as much as the rest of the turn's own work.
func (h *holder) ask(q *policy.Query, req *Request) {
	q.Principal, q.Action, q.Resource, q.Properties, q.Now = h.who, req.Action, req.Resource, req.Properties, h.clock
}

// decision writes the whole decision of a verdict to d, which is zero.
func (h *holder) decision(d *policy.Decision, v policy.Verdict, at *moment, req *Request) {
	var q policy.Query
	h.ask(&q, req)
	at.table.FillDecision(d, v, &q)
	d.AttachRecord(h.record, at.now)
}

// hold compiles what the principal holds by its record and the table.
func (h *holder) hold(at *moment, t *policy.Table) {
	held := t.Hold(h.who, h.record, at.now)
	h.known, h.expired, h.expires = held.Any, held.Expired, held.NextExpiry
	h.held = at.intern.effective(t, held)
}

// form returns what the principal holds by the table, and whether it holds any grant.
func (h *holder) form(at *moment, t *policy.Table) (*policy.Effective, bool) {
	if h.held != nil && h.held.Shape() == t.Shape() {
		return h.held, h.known
	}
	held := t.Hold(h.who, h.record, at.now)
	return at.intern.effective(t, held), held.Any
}

// applyRecord makes the record of a revision take effect and judges the leases by it.
func (h *holder) applyRecord(at *moment, r *revision, record *policy.Record) *effects {
	if record != nil && (h.record == nil || record.Revision > h.record.Revision) {
		h.record = record
		h.ahead = r.table
		h.hold(at, r.table)
	}
	return h.judgeLeases(at, r)
}

// applyShared judges the leases by a change of shared state. If the principal's record is
// newer, the message of the record has done so.
func (h *holder) applyShared(at *moment, r *revision) *effects {
	if h.record != nil && h.record.Revision > r.number && r.table != nil {
		return nil
	}
	return h.judgeLeases(at, r)
}

// judgeLeases revokes the leases that a revision forbids. It does not judge leases that were
// admitted at that revision or a later one, except by their credentials.
func (h *holder) judgeLeases(at *moment, r *revision) *effects {
	if h.leases.Load() == nil {
		return nil
	}
	var held *policy.Effective
	known := false
	if r.table != nil {
		held, known = h.form(at, r.table)
	}
	fx := &effects{}
	for l := h.leases.Load(); l != nil; l = l.older.Load() {
		ended := r.endsCredential(l.req.Credential)
		switch {
		case !ended && !r.fence && (r.table == nil || l.revision() >= r.number):
			continue
		case l.revokedAt.Load() != 0:
			if ended || r.fence || r.repeats(h.who, l) {
				fx.cancel(l, r.graceOf(l, ended))
			}
		case ended || !h.allows(at, l, r.table, held, known):
			h.revoke(l, r.number)
			fx.cancel(l, r.graceOf(l, ended))
		default:
			continue
		}
		fx.running = append(fx.running, l)
	}
	h.noteEnds()
	return fx
}

// expire ends what time has ended: grants, and leases by their grants or credentials.
func (h *holder) expire(at *moment) *effects {
	before := h.snapshot()
	h.hold(at, at.table)
	if h.leases.Load() == nil {
		return nil
	}
	fx := &effects{}
	for l := h.leases.Load(); l != nil; l = l.older.Load() {
		valid := l.req.Credential.check(at) == policy.ReasonAllowed
		switch {
		case l.revokedAt.Load() != 0:
			if l.inGrace && l.req.Credential.expired(at) {
				fx.cancel(l, 0)
			}
			continue
		case h.allows(at, l, at.table, h.held, h.known):
			continue
		case valid && before.disallowed(at, l, at.table):
			continue // a published change does it, and its sweep sets the grace
		}
		fx.running = append(fx.running, l)
		h.revoke(l, max(at.table.Revision(), 1))
		if valid {
			fx.cancel(l, graceOf(l, nil))
		} else {
			fx.cancel(l, 0)
		}
	}
	h.noteEnds()
	return fx
}

// snapshot copies what decides about a lease.
func (h *holder) snapshot() *holder {
	return &holder{who: h.who, record: h.record, held: h.held, known: h.known, clock: h.clock, shut: h.shut}
}

// disallowed reports whether the lease is not allowed by the table.
func (h *holder) disallowed(at *moment, l *Lease, t *policy.Table) bool {
	held, known := h.form(at, t)
	return !h.allows(at, l, t, held, known)
}

// revoke takes a lease's authority for good.
func (h *holder) revoke(l *Lease, revision uint64) { l.revokedAt.Store(max(revision, 1)) }

// allows reports whether a form of a table allows the lease's request.
func (h *holder) allows(at *moment, l *Lease, t *policy.Table, held *policy.Effective, known bool) bool {
	if h.shut != policy.ReasonUnset || !known || l.req.Credential.check(at) != policy.ReasonAllowed {
		return false
	}
	if at.slow != nil && l.verdict.Conditional() {
		at.slow()
	}
	var q policy.Query
	h.ask(&q, &l.req)
	v := t.Judge(held, &q)
	if at.slow != nil && v.Conditional() {
		at.slow()
	}
	return v.Allowed()
}

// noteEnds finds the earliest end of a credential that cancels a lease.
func (h *holder) noteEnds() {
	h.ends = 0
	for l := h.leases.Load(); l != nil; l = l.older.Load() {
		if l.revokedAt.Load() == 0 || l.inGrace {
			h.noteEnd(l)
		}
	}
}

// recordLease records a lease.
func (h *holder) recordLease(l *Lease) {
	if older := h.leases.Load(); older != nil {
		l.older.Store(older)
		older.newer = l
	}
	h.leases.Store(l)
	h.noteEnd(l)
}

// noteEnd keeps the earliest end of a credential.
func (h *holder) noteEnd(l *Lease) {
	if c := l.req.Credential; c != nil && (h.ends == 0 || c.notAfter < h.ends) {
		h.ends = c.notAfter
	}
}

// release removes a lease.
func (h *holder) release(l *Lease) {
	older := l.older.Load()
	switch {
	case l.newer != nil:
		l.newer.older.Store(older)
	case h.leases.Load() == l:
		h.leases.Store(older)
	default:
		return
	}
	if older != nil {
		older.newer = l.newer
	}
	l.newer = nil
	if older != nil {
		l.older.Store(nil)
	}
}

// due returns when a grant expires or a lease's credential ends, 0 for never.
func (h *holder) due() int64 {
	if h.ends != 0 && (h.expires == 0 || h.ends < h.expires) {
		return h.ends
	}
	return h.expires
}
