package authzen

import (
	"context"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/question"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// inquiry is one request to the API: its caller and its options.
type inquiry struct {
	engine  *actors.Engine
	ctx     context.Context
	caller  *httpapi.Caller
	explain bool
}

// one answers a single evaluation, which must be complete.
func (q *inquiry) one(e *question.Evaluation) (client.Decision, error) {
	req, err := e.Request()
	if err != nil {
		return client.Decision{}, err
	}
	if err := q.authorize([]actors.Request{req}); err != nil {
		return client.Decision{}, err
	}
	d, err := q.decide(q.asCaller(req))
	if err != nil {
		return client.Decision{}, err
	}
	return q.answer(&d), nil
}

// asCaller adds the caller's credential to a question about the caller itself.
func (q *inquiry) asCaller(req actors.Request) actors.Request {
	if req.Principal == q.caller.Principal {
		req.Credential = q.caller.Credential
	}
	return req
}

// authorize checks, before anything else is decided, that the caller may ask all questions and
// have them explained. The zero principal marks a malformed question, which needs no right.
func (q *inquiry) authorize(questions []actors.Request) error {
	var rights []actors.Request
	asked := map[policy.Principal]bool{q.caller.Principal: true, {}: true}
	for i := range questions {
		if who := questions[i].Principal; !asked[who] {
			asked[who] = true
			rights = append(rights, q.caller.Request(control.ActionDecide, control.PrincipalResource(who)))
		}
	}
	if q.explain {
		rights = append(rights, q.caller.Request(control.ActionRead, control.ResourcePolicy))
	}
	return web.Authorize(q.ctx, q.engine, rights...)
}

// decide asks the engine one question.
func (q *inquiry) decide(req actors.Request) (policy.Decision, error) {
	d, err := q.engine.Decide(q.ctx, req)
	if err != nil {
		return policy.Decision{}, err
	}
	return d, web.Undecided(&d, &req)
}

func (q *inquiry) answer(d *policy.Decision) client.Decision {
	if !q.explain {
		return client.Decision{Decision: d.Allowed}
	}
	ex := d.Explain()
	context := &client.DecisionContext{Reason: ex.Reason.String(), Role: ex.Role, Revision: ex.Revision}
	if ex.Permission != nil {
		context.Permission = ex.Permission.String()
	}
	return client.Decision{Decision: d.Allowed, Context: context}
}
