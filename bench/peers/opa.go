package main

import (
	"context"
	_ "embed"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/interlock-authz/interlock/actors/policy"
)

//go:embed models/opa.rego
var opaModel string

// opaEngine is a prepared query over the store in memory, which keeps its values in the
// form that evaluation reads.
type opaEngine struct {
	store storage.Store
	query rego.PreparedEvalQuery
}

func newOPA(w *world) (engine, error) {
	store := inmem.NewFromObjectWithOpts(w.data(), inmem.OptReturnASTValuesOnRead(true))
	prepared, err := rego.New(rego.Query("data.peers.allow"), rego.Module("opa.rego", opaModel), rego.Store(store)).
		PrepareForEval(context.Background())
	return &opaEngine{store, prepared}, err
}

// data is the world as the rules read it: the roles of each principal, and for each role and
// action the allowed and the denied prefixes.
func (w *world) data() map[string]any {
	allow, deny, holds := map[string]any{}, map[string]any{}, map[string]any{}
	for _, r := range w.roles {
		allowed, denied := map[string]any{}, map[string]any{}
		for _, p := range r.permissions {
			under := allowed
			if p.deny {
				under = denied
			}
			if under[p.action] == nil {
				under[p.action] = map[string]any{}
			}
			under[p.action].(map[string]any)[p.prefix+"/"] = true
		}
		allow[r.name], deny[r.name] = allowed, denied
	}
	for _, m := range w.members {
		held := map[string]any{}
		for _, r := range m.roles {
			held[r] = true
		}
		holds[m.who.String()] = held
	}
	return map[string]any{"allow": allow, "deny": deny, "holds": holds}
}

func (o *opaEngine) Name() string { return "OPA" }

func (o *opaEngine) Check(q query) (bool, error) {
	input := ast.NewObject(
		[2]*ast.Term{ast.InternedTerm("principal"), ast.StringTerm(q.who.String())},
		[2]*ast.Term{ast.InternedTerm("action"), ast.StringTerm(q.action)},
		[2]*ast.Term{ast.InternedTerm("resource"), ast.StringTerm(q.resource)},
	)
	results, err := o.query.Eval(context.Background(), rego.EvalParsedInput(input))
	return results.Allowed(), err
}

func (o *opaEngine) Revoke(who policy.Principal, role string) error {
	return storage.WriteOne(context.Background(), o.store, storage.RemoveOp, held(who, role), nil)
}

func (o *opaEngine) Grant(who policy.Principal, role string) error {
	return storage.WriteOne(context.Background(), o.store, storage.AddOp, held(who, role), true)
}

func held(who policy.Principal, role string) storage.Path {
	return storage.Path{"holds", who.String(), role}
}

func (o *opaEngine) Close() {}
