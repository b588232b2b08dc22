package httpapi

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// leaseDocument is an operation in flight as the API shows it.
type leaseDocument struct {
	Lease       uint64    `json:"lease"`
	Principal   string    `json:"principal"`
	Action      string    `json:"action"`
	Resource    string    `json:"resource"`
	Revision    uint64    `json:"revision"`
	Since       time.Time `json:"since"`
	Revoked     uint64    `json:"revoked,omitzero"`
	Certificate string    `json:"certificate,omitzero"`
}

// endedDocument is an operation that an update waited for.
type endedDocument struct {
	Lease     uint64 `json:"lease"`
	Principal string `json:"principal"`
	Action    string `json:"action"`
	Resource  string `json:"resource"`
	How       string `json:"how"`
	After     string `json:"after"`
}

// receiptBody is the receipt of an update as the API shows it.
type receiptBody struct {
	Revision       uint64             `json:"revision"`
	Quiesced       bool               `json:"quiesced"`
	Ended          []endedDocument    `json:"ended"`
	EndedCount     int                `json:"endedCount"`
	Running        []leaseDocument    `json:"running"`
	RunningCount   int                `json:"runningCount"`
	Connections    int                `json:"connections"`
	StillGrantedBy []policy.GrantSpec `json:"stillGrantedBy"`
	Unchanged      bool               `json:"unchanged,omitzero"`
	Restarted      bool               `json:"restarted"`
}

// previewDocument is the answer to a dry run.
type previewDocument struct {
	DryRun   bool                `json:"dryRun"`
	At       uint64              `json:"at"`
	Changes  []policy.ChangeSpec `json:"changes"`
	WouldEnd []leaseDocument     `json:"wouldEnd"`
}

func receiptDocument(r *actors.Receipt) *receiptBody {
	doc := &receiptBody{
		Revision: r.Revision, Quiesced: r.Quiesced, Unchanged: r.Unchanged, Restarted: r.Restarted,
		Ended: make([]endedDocument, len(r.Ended)), EndedCount: r.EndedCount, Connections: r.Connections,
		Running: leaseDocuments(r.Running), RunningCount: r.RunningCount,
		StillGrantedBy: make([]policy.GrantSpec, len(r.StillGrantedBy)),
	}
	for i := range r.Ended {
		e := &r.Ended[i]
		doc.Ended[i] = endedDocument{e.ID, e.Principal.String(), e.Action, e.Resource, e.How, rounded(e.After).String()}
	}
	for i := range r.StillGrantedBy {
		doc.StillGrantedBy[i] = policy.SpecOfGrant(&r.StillGrantedBy[i])
	}
	return doc
}

// rounded keeps three digits or so of a duration that people read.
func rounded(d time.Duration) time.Duration {
	for unit := time.Microsecond; unit < time.Second; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
	return d.Round(time.Second)
}

func leaseDocuments(leases []actors.LeaseInfo) []leaseDocument {
	docs := make([]leaseDocument, len(leases))
	for i := range leases {
		l := &leases[i]
		docs[i] = leaseDocument{l.ID, l.Principal.String(), l.Action, l.Resource, l.Revision, l.Since.UTC(), l.Revoked, l.Credential}
	}
	slices.SortFunc(docs, func(a, b leaseDocument) int { return int(int64(a.Lease - b.Lease)) })
	return docs
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
