package admin

import (
	"errors"
	"net/http"
	"time"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// maxExplain bounds the body of a request for an explanation, in bytes.
const maxExplain = 1 << 20

// postExplain answers with the decision of a revision, and the update that changed it.
func (a *api) postExplain(w http.ResponseWriter, r *http.Request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	var body client.ExplainRequest
	if err := web.ReadJSON(w, r, maxExplain, &body, web.KnownMembersOnly); err != nil {
		return err
	}
	if body.Time.IsZero() {
		body.Time = time.Now()
	}
	q, err := pastQuery(&body)
	if err != nil {
		return err
	}
	at := a.engine.Revision()
	if body.At != nil {
		at = *body.At
	}
	past, err := a.engine.ExplainAt(r.Context(), q, at)
	if errors.Is(err, oplog.ErrCompacted) {
		return a.compacted(err)
	}
	if err != nil {
		return err
	}
	doc := client.Explanation{
		Decision: past.Decision.Allowed, Reason: past.Decision.Reason.String(), Explanation: past.Decision.Explain().String(),
		At: at, Time: body.Time.UTC(), Searched: past.Searched,
	}
	if past.Until != nil {
		until := entryDocument(past.Until)
		doc.Until = &until
	}
	return web.WriteJSON(w, http.StatusOK, &doc)
}

func pastQuery(r *client.ExplainRequest) (*policy.Query, error) {
	who, err := policy.ParsePrincipal(r.Principal)
	if err != nil {
		return nil, policy.At("principal", err)
	}
	if err := policy.CheckAction(r.Action); err != nil {
		return nil, policy.At("action", err)
	}
	if err := policy.CheckResource(r.Resource); err != nil {
		return nil, policy.At("resource", err)
	}
	properties := &policy.Properties{Resource: r.Properties}
	if err := policy.CheckProperties(properties); err != nil {
		return nil, err
	}
	when := r.Time
	return &policy.Query{
		Principal: who, Action: r.Action, Resource: r.Resource,
		Properties: properties, Now: func() time.Time { return when },
	}, nil
}
