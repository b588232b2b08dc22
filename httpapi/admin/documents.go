package admin

import (
	"cmp"
	"slices"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/httpapi/client"
)

func leaseDocuments(leases []actors.LeaseInfo) []client.Operation {
	docs := make([]client.Operation, len(leases))
	for i := range leases {
		l := &leases[i]
		docs[i] = client.Operation{
			Lease: l.ID, Principal: l.Principal.String(), Action: l.Action, Resource: l.Resource,
			Revision: l.Revision, Since: l.Since.UTC(), Revoked: l.Revoked, Certificate: l.Credential,
		}
	}
	slices.SortFunc(docs, func(a, b client.Operation) int { return cmp.Compare(a.Lease, b.Lease) })
	return docs
}

func entryDocument(e *oplog.Entry) client.Entry {
	return client.Entry{
		Revision: e.Revision, Previous: e.Previous, Time: e.Time,
		Author: e.Author.Principal.String(), Certificate: e.Author.Credential,
		Changes: e.Changes, Count: e.Count, Hash: e.Hash,
	}
}
