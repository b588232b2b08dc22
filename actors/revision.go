package actors

import (
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// revision is one delivered update, or a publication of CRLs, as principals see it. All
// principals share it. It is immutable after it is published.
type revision struct {
	number  uint64
	table   *policy.Table // of this revision; nil if only credentials can have ended
	tracker *tracker
	changes []policy.Change
	grace   *time.Duration // nil if the update left it to the operations

	// The following fields tell which principals a change of shared state concerns.
	shape        uint64  // of the previous table
	roles        []int32 // the numbers of the changed roles
	patterns     []policy.PrincipalPattern
	certificates map[policy.CertificateID]struct{}
	lists        RevocationLists // nil unless it is a publication of CRLs
	unknown      bool            // its changes are unknown: it may concern every principal
	fence        bool            // it ends all leases, also those of its own number
}

// newRevision describes an outcome that is applied to the previous table.
func newRevision(o *oplog.Outcome, before *policy.Table) *revision {
	r := &revision{number: o.Revision, tracker: newTracker(o.Revision), shape: before.Shape()}
	// A change without effect has a table too: it waits for what an earlier one forbids.
	if len(o.Records) > 0 || len(o.Roles) > 0 || namesPattern(o.Change) || o.Change == nil {
		r.table = before.Next(o.Revision, o.Roles, o.Patterns)
	}
	if len(o.Roles) > 0 {
		r.roles = append(before.Numbers(o.Roles), r.table.Numbers(o.Roles)...)
	}
	if o.Change == nil {
		r.unknown = true
		return r
	}
	r.changes = o.Change.Changes
	r.grace = o.Change.Grace
	for _, id := range o.Certificates {
		r.revokes(id)
	}
	for i := range r.changes {
		c := &r.changes[i]
		if !c.Grant.Principals.IsZero() {
			r.patterns = append(r.patterns, c.Grant.Principals)
		}
		if c.Op == policy.OpRevokeCertificate {
			r.revokes(c.Certificate)
		}
	}
	return r
}

// namesPattern reports whether a change is of a pattern grant.
func namesPattern(c *oplog.Change) bool {
	return c != nil && slices.ContainsFunc(c.Changes, func(c policy.Change) bool { return !c.Grant.Principals.IsZero() })
}

func (r *revision) revokes(id policy.CertificateID) {
	if r.certificates == nil {
		r.certificates = map[policy.CertificateID]struct{}{}
	}
	r.certificates[id] = struct{}{}
}

// shared reports whether the revision changed shared state. Then a sweep must find the
// principals that it concerns.
func (r *revision) shared() bool {
	return len(r.roles) > 0 || len(r.patterns) > 0 || r.certificates != nil || r.lists != nil || r.unknown
}

// concerns reports whether the revision may have changed what a principal holds, or ended a
// credential of one of its leases. It reads what the principal published with
// [principal.show], and returns true if that is not conclusive.
func (r *revision) concerns(p *principal) bool {
	if r.certificates != nil || r.lists != nil || r.unknown {
		return true
	}
	for i := range r.patterns {
		if r.patterns[i].Matches(p.who) {
			return true
		}
	}
	if len(r.roles) == 0 {
		return false
	}
	shown := p.shown.Load()
	if shown == nil || shown.Shape() < r.shape || shown.Shape() > r.number {
		return true
	}
	return shown.HoldsAny(r.roles)
}

// endsCredential reports whether the revision revokes a credential.
func (r *revision) endsCredential(c *Credential) bool {
	if c == nil || (r.certificates == nil && r.lists == nil) {
		return false
	}
	for _, id := range c.ids {
		if _, ok := r.certificates[id]; ok {
			return true
		}
		if id.Serial != "" && r.lists != nil && r.lists.Revoked(id.Issuer, id.Serial) {
			return true
		}
	}
	return false
}

// graceOf returns the grace of a lease that the revision takes the authority of. ended means that
// the revision revokes its credential: then only the update can give a grace.
func (r *revision) graceOf(l *Lease, ended bool) time.Duration {
	switch {
	case !ended:
		return graceOf(l, r.grace)
	case r.grace != nil:
		return *r.grace
	default:
		return 0
	}
}

// repeats reports whether the revision revokes again what an earlier revision revoked from a
// lease. Then its grace counts too. It revokes a role that allowed the operation, or it puts
// a role and sets a grace.
func (r *revision) repeats(who policy.Principal, l *Lease) bool {
	for i := range r.changes {
		c := &r.changes[i]
		switch c.Op {
		case policy.OpPutRole, policy.OpDeleteRole:
			if r.grace != nil {
				return true
			}
		case policy.OpRevoke:
			if c.Grant.Principal != who && !c.Grant.Principals.Matches(who) {
				continue
			}
			d := l.Decision()
			if path := d.Explain().Path; len(path) > 0 && path[0] == c.Grant.Role {
				return true
			}
		}
	}
	return false
}
