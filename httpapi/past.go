package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// explainBody is the body of POST /v1/explain.
type explainBody struct {
	Principal  string         `json:"principal"`
	Action     string         `json:"action"`
	Resource   string         `json:"resource"`
	Properties map[string]any `json:"properties"`
	// At is the revision, the newest if it is not there.
	At *uint64 `json:"at"`
	// Time is when, for what expires and for conditions; now if it is not there.
	Time time.Time `json:"time"`
}

// explainDocument is a decision as it was at a revision, and what ended it.
type explainDocument struct {
	Decision    bool      `json:"decision"`
	Reason      string    `json:"reason"`
	Explanation string    `json:"explanation"`
	At          uint64    `json:"at"`
	Time        time.Time `json:"time"`
	// Until is the first later change with which the decision is another one.
	Until *entryDocument `json:"until,omitzero"`
	// Searched is the revision up to which there is no such change.
	Searched uint64 `json:"searched,omitzero"`
}

// maxSearch bounds the later changes that are looked at, one by one.
const maxSearch = 10_000

// postExplain answers what the policy of a revision says, and until when it said so.
func (a *adminAPI) postExplain(w http.ResponseWriter, r *http.Request) error {
	if _, err := a.may(r, control.ActionRead, control.ResourceChanges); err != nil {
		return err
	}
	if err := onlyQuery(r); err != nil {
		return err
	}
	var body explainBody
	if err := readJSON(w, r, a.limit, &body, knownMembersOnly); err != nil {
		return err
	}
	q, err := body.query()
	if err != nil {
		return err
	}
	at := a.engine.Revision()
	if body.At != nil {
		at = *body.At
	}
	doc, err := a.explainAt(q, at)
	if errors.Is(err, oplog.ErrCompacted) {
		return a.compacted(err)
	}
	if err != nil {
		return err
	}
	if err := a.searchUntil(q, doc); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, doc)
}

func (b *explainBody) query() (*policy.Query, error) {
	who, err := policy.ParsePrincipal(b.Principal)
	if err != nil {
		return nil, policy.At("principal", err)
	}
	if err := policy.CheckAction(b.Action); err != nil {
		return nil, policy.At("action", err)
	}
	if err := policy.CheckResource(b.Resource); err != nil {
		return nil, policy.At("resource", err)
	}
	when := b.Time
	if when.IsZero() {
		when = time.Now()
	}
	return &policy.Query{
		Principal: who, Action: b.Action, Resource: b.Resource,
		Properties: &policy.Properties{Resource: b.Properties}, Now: func() time.Time { return when },
	}, nil
}

func (a *adminAPI) explainAt(q *policy.Query, at uint64) (*explainDocument, error) {
	when := q.Now()
	doc := &explainDocument{At: at, Time: when.UTC()}
	err := a.engine.At(at, func(v policy.View) {
		d := policy.NewAsker(v, q.Principal, when.UnixNano()).Ask(q)
		if d.Reason == policy.ReasonUnknownAction && policy.NamesAction(v, q.Action) {
			d.Reason = policy.ReasonNoPermission
		}
		doc.Decision, doc.Reason, doc.Explanation = d.Allowed, d.Reason.String(), d.Explain().String()
	})
	return doc, err
}

// searchUntil looks for the first later change with which the decision is another one. It
// asks at those revisions only whose changes may concern the principal.
func (a *adminAPI) searchUntil(q *policy.Query, doc *explainDocument) error {
	var candidates []entryDocument
	seen := 0
	err := a.engine.Changes(doc.At, func(e *oplog.Entry) bool {
		doc.Searched = e.Revision
		if mayConcern(e, q.Principal) {
			candidates = append(candidates, entryDocumentOf(e))
		}
		seen++
		return seen < maxSearch
	})
	if err != nil {
		return err
	}
	for i := range candidates {
		later, err := a.explainAt(q, candidates[i].Revision)
		if err != nil {
			return err
		}
		if later.Decision != doc.Decision {
			doc.Until, doc.Searched = &candidates[i], 0
			return nil
		}
	}
	return nil
}

// mayConcern reports whether an update can have changed what the principal may do.
func mayConcern(e *oplog.Entry, who policy.Principal) bool {
	if e.Count > len(e.Changes) {
		return true // not all of it is known here
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
