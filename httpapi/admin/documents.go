package admin

import (
	"cmp"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func receiptDocument(r *actors.Receipt) *client.Receipt {
	doc := &client.Receipt{
		Revision: r.Revision, Quiesced: r.Quiesced, Unchanged: r.Unchanged, Restarted: r.Restarted,
		Ended: make([]client.EndedLease, len(r.Ended)), EndedCount: r.EndedCount, Connections: r.Connections,
		Running: leaseDocuments(r.Running), RunningCount: r.RunningCount,
		StillGrantedBy: make([]policy.GrantSpec, len(r.StillGrantedBy)),
	}
	for i := range r.Ended {
		e := &r.Ended[i]
		doc.Ended[i] = client.EndedLease{
			Lease: e.ID, Principal: e.Principal.String(), Action: e.Action, Resource: e.Resource, How: e.How, After: rounded(e.After).String(),
		}
	}
	for i := range r.StillGrantedBy {
		doc.StillGrantedBy[i] = policy.SpecOfGrant(&r.StillGrantedBy[i])
	}
	return doc
}

// rounded keeps about three digits of a duration.
func rounded(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}

func leaseDocuments(leases []actors.LeaseInfo) []client.Lease {
	docs := make([]client.Lease, len(leases))
	for i := range leases {
		l := &leases[i]
		docs[i] = client.Lease{
			Lease: l.ID, Principal: l.Principal.String(), Action: l.Action, Resource: l.Resource,
			Revision: l.Revision, Since: l.Since.UTC(), Revoked: l.Revoked, Certificate: l.Credential,
		}
	}
	slices.SortFunc(docs, func(a, b client.Lease) int { return cmp.Compare(a.Lease, b.Lease) })
	return docs
}

func entryDocument(e *oplog.Entry) client.Entry {
	return client.Entry{
		Revision: e.Revision, Previous: e.Previous, Time: e.Time,
		Author: e.Author.Principal.String(), Certificate: e.Author.Credential,
		Changes: e.Changes, Count: e.Count, Hash: e.Hash,
	}
}
