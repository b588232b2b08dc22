package actors

import (
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// holder is the state of one principal. Its methods are the turns: functions of this state,
// the moment and the message. They return the effects that the driver has to perform, and use
// no goroutine, clock, lock or actor system.
type holder struct {
	who     policy.Principal
	record  *policy.Record
	table   *policy.Table
	held    *policy.Effective
	leases  *Lease           // the newest, linked through older and newer
	expires int64            // when held has to be computed again; 0 for never
	ends    int64            // the earliest end of a lease's credential; 0 for none
	clock   func() time.Time // called only by a condition that uses now
	known   bool             // there is a grant, expired or not
	shut    policy.Reason
}

// effects are what the driver has to do after a turn.
type effects struct {
	revoked []*Lease // revoked in this turn: to be canceled after the grace
	running []*Lease // revoked and not released: what an update waits for
}

// judge decides a request. If a grant has expired, which can revoke leases, the effects are
// not nil.
func (h *holder) judge(at *moment, req *Request) (v policy.Verdict, fx *effects) {
	if at.table.Revision() > h.table.Revision() {
		h.table = at.table
	}
	if h.expires != 0 && at.now >= h.expires {
		fx = h.revalidate(at)
	}
	if h.shut != policy.ReasonUnset {
		return policy.Refuse(h.shut), fx
	}
	if c := req.Credential; c != nil {
		if why := c.check(at); why != policy.ReasonAllowed {
			return policy.Refuse(why), fx
		}
	}
	if !h.known {
		return policy.Refuse(policy.ReasonUnknownPrincipal), fx
	}
	var q policy.Query
	h.ask(&q, req)
	return h.table.Judge(h.held, &q), fx
}

// ask fills in a query in place. A copy costs as much as the rest of the turn's own work.
func (h *holder) ask(q *policy.Query, req *Request) {
	q.Principal, q.Action, q.Resource, q.Properties, q.Now = h.who, req.Action, req.Resource, req.Properties, h.clock
}

// decision returns the whole decision of a verdict.
func (h *holder) decision(v policy.Verdict, at *moment, req *Request) policy.Decision {
	var q policy.Query
	h.ask(&q, req)
	d := h.table.Decision(v, &q)
	d.AttachRecord(h.record, at.now)
	return d
}

// hold computes what the principal holds at the moment, from its record and table.
func (h *holder) hold(at *moment) {
	held := h.table.Hold(h.who, h.record, at.now)
	h.known, h.expires = held.Any, held.NextExpiry
	h.held = at.intern.effective(h.table, held)
}

// change is what the log delivered. The zero change only checks for expiry.
type change struct {
	revision uint64
	table    *policy.Table  // of that revision
	record   *policy.Record // the principal's new record; nil if it did not change
}

// apply applies a change and revalidates every lease.
func (h *holder) apply(at *moment, c *change) *effects {
	if c.record != nil && (h.record == nil || c.record.Revision > h.record.Revision) {
		h.record = c.record
	}
	if c.table != nil && c.table.Revision() > h.table.Revision() {
		h.table = c.table
	}
	return h.revalidate(at)
}

// revalidate decides every lease under what is held now. A lease that is no longer allowed is
// revoked for good. The others continue.
func (h *holder) revalidate(at *moment) *effects {
	h.hold(at)
	fx := &effects{}
	h.ends = 0
	for l := h.leases; l != nil; l = l.older {
		if l.revokedAt == 0 && !h.allows(at, l) {
			l.revokedAt = max(h.table.Revision(), 1)
			l.forbidden = true
			fx.revoked = append(fx.revoked, l)
		} else if l.revokedAt != 0 {
			l.forbidden = !h.allows(at, l)
		}
		if l.revokedAt != 0 {
			fx.running = append(fx.running, l)
			continue
		}
		h.noteEnd(l)
	}
	return fx
}

func (h *holder) allows(at *moment, l *Lease) bool {
	if h.shut != policy.ReasonUnset || !h.known || l.req.Credential.check(at) != policy.ReasonAllowed {
		return false
	}
	var q policy.Query
	h.ask(&q, &l.req)
	return h.table.Judge(h.held, &q).Allowed()
}

// recordLease records a lease.
func (h *holder) recordLease(l *Lease) {
	l.older = h.leases
	if l.older != nil {
		l.older.newer = l
	}
	h.leases = l
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
	switch {
	case l.newer != nil:
		l.newer.older = l.older
	case h.leases == l:
		h.leases = l.older
	default:
		return
	}
	if l.older != nil {
		l.older.newer = l.newer
	}
	l.older, l.newer = nil, nil
}

// due returns when a grant expires or a lease's credential ends, 0 for never.
func (h *holder) due() int64 {
	if h.ends != 0 && (h.expires == 0 || h.ends < h.expires) {
		return h.ends
	}
	return h.expires
}

// graceEnd returns when a revoked lease has to be canceled, given the grace of an update. The
// shortest of several graces counts. A lease that the update allows keeps its grace.
func graceEnd(l *Lease, now time.Time, grace time.Duration) time.Time {
	end := now.Add(grace)
	if !l.cancelAt.IsZero() && (!l.forbidden || l.cancelAt.Before(end)) {
		return l.cancelAt
	}
	return end
}
