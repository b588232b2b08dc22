package demo

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// guarded is form (d): each request is an operation that the engine admits, and a
// revocation returns when none is running any more.
type guarded struct {
	engine *actors.Engine
	guard  *httpapi.Guard
	grant  policy.Grant
}

const (
	roleName = "writer"
	action   = "ledger:write"
	resource = "ledger/entries"
)

func newGuarded() (*guarded, error) {
	role, err := policy.RoleSpec{Permissions: []policy.PermissionSpec{{
		Actions: []string{action}, Resources: []string{resource},
	}}}.Role(roleName)
	if err != nil {
		return nil, err
	}
	memory, err := oplog.NewMemoryWith([]*policy.Role{role}, nil)
	if err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	engine, err := actors.New(actors.Options{Log: memory, Logger: quiet})
	if err != nil {
		return nil, err
	}
	who, err := policy.ParsePrincipal(callerID)
	if err != nil {
		return nil, err
	}
	return &guarded{
		engine: engine, guard: httpapi.NewGuard(engine, nil, quiet),
		grant: policy.Grant{Principal: who, Role: roleName},
	}, nil
}

func (g *guarded) set(allowed bool) error {
	change := policy.RevokeRole(g.grant)
	if allowed {
		change = policy.GrantRole(g.grant)
	}
	_, err := g.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{change}})
	return err
}

func (g *guarded) protect(next http.HandlerFunc) http.Handler {
	return g.guard.Protect(httpapi.Rule{Action: action, Resource: resource}, next)
}

func (g *guarded) close() error { return g.engine.Close(context.Background()) }
