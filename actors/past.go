package actors

import (
	"cmp"
	"context"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// PastDecision is the decision of a revision, and the update that changed it.
type PastDecision struct {
	Decision policy.Decision
	// Until is the first later update that changed whether the query is allowed; nil if none
	// did.
	Until *oplog.Entry
	// Searched is the last revision that was examined, if Until is nil; 0 if there is no
	// later revision.
	Searched uint64
}

// maxSearched bounds the later updates that [Engine.ExplainAt] examines.
const maxSearched = 10_000

// ExplainAt decides the query by the policy of a revision, and finds the first later update
// that changed the decision. It examines at most 10,000 later updates. It reads the time from
// the query once and judges every revision at that instant, so that the expiry of a grant is
// not a change. It does not examine credentials. Errors are those of [Engine.At] and that of
// ctx, which ends the search.
func (e *Engine) ExplainAt(ctx context.Context, q *policy.Query, revision uint64) (*PastDecision, error) {
	at := q.Now().UnixNano()
	d, err := e.decideAt(q, revision, at)
	if err != nil {
		return nil, err
	}
	past := &PastDecision{Decision: d}
	var candidates []*oplog.Entry
	seen := 0
	err = e.Changes(revision, func(entry *oplog.Entry) bool {
		past.Searched = entry.Revision
		if mayAffect(entry, q.Principal) {
			candidates = append(candidates, entry)
		}
		seen++
		return seen < maxSearched && ctx.Err() == nil
	})
	if err = cmp.Or(err, ctx.Err()); err != nil {
		return nil, err
	}
	for _, entry := range candidates {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		later, err := e.decideAt(q, entry.Revision, at)
		if err != nil {
			return nil, err
		}
		if later.Allowed != d.Allowed {
			past.Until, past.Searched = entry, 0
			break
		}
	}
	return past, nil
}

// decideAt decides the query by the policy of a revision, at an instant in nanoseconds of Unix
// time.
func (e *Engine) decideAt(q *policy.Query, revision uint64, at int64) (d policy.Decision, err error) {
	err = e.At(revision, func(v policy.View) {
		d = policy.Ask(v, q, at)
		if d.Reason == policy.ReasonUnknownAction && policy.NamesAction(v, q.Action) {
			d.Reason = policy.ReasonNoPermission
		}
	})
	return d, err
}

// mayAffect reports whether the update can have changed what the principal may do.
func mayAffect(e *oplog.Entry, who policy.Principal) bool {
	if e.Count > len(e.Changes) {
		return true // not all changes are listed
	}
	for i := range e.Changes {
		c := &e.Changes[i]
		switch c.Op {
		case policy.OpPutRole, policy.OpDeleteRole:
			return true
		case policy.OpGrant, policy.OpRevoke:
			pattern, err := policy.ParsePrincipalPattern(c.Principals)
			if c.Principal == who.String() || err == nil && pattern.Matches(who) {
				return true
			}
		}
	}
	return false
}
