package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// decide is interlock's engine asked for answers alone, as the others are.
type decide struct{ engine *actors.Engine }

// execute is interlock's engine as it is meant to be used: check and use are one turn.
type execute struct{ decide }

func newDecide(w *world) (engine, error) {
	d, err := newActors(w)
	if err != nil {
		return nil, err
	}
	return d, nil
}

func newExecute(w *world) (engine, error) {
	d, err := newActors(w)
	if err != nil {
		return nil, err
	}
	return &execute{*d}, nil
}

func newActors(w *world) (*decide, error) {
	roles, grants, err := w.policy()
	if err != nil {
		return nil, err
	}
	log, err := oplog.NewMemoryWith(roles, grants)
	if err != nil {
		return nil, err
	}
	e, err := actors.New(actors.Options{Log: log, Logger: slog.New(slog.DiscardHandler)})
	return &decide{e}, err
}

// policy is the world in interlock's words.
func (w *world) policy() (roles []*policy.Role, grants []policy.Grant, err error) {
	for _, r := range w.roles {
		var permissions []policy.Permission
		for _, p := range r.permissions {
			action := must(policy.ParseActionPattern(p.action))
			resource := must(policy.ParseResourcePattern(p.prefix + "/**"))
			q := policy.Permission{Actions: []policy.ActionPattern{action}, Resources: []policy.ResourcePattern{resource}}
			if p.deny {
				q.Effect = policy.Deny
			}
			permissions = append(permissions, q)
		}
		made, err := policy.NewRole(r.name, nil, permissions)
		if err != nil {
			return nil, nil, err
		}
		roles = append(roles, made)
	}
	for _, m := range w.members {
		for _, r := range m.roles {
			grants = append(grants, policy.Grant{Principal: m.who, Role: r})
		}
	}
	return roles, grants, nil
}

func (q query) request() actors.Request {
	return actors.Request{Principal: q.who, Action: q.action, Resource: q.resource}
}

func (d *decide) Name() string { return "interlock Decide" }

func (d *decide) Check(q query) (bool, error) {
	answer, err := d.engine.Decide(context.Background(), q.request())
	return answer.Allowed, err
}

func (d *decide) Revoke(who policy.Principal, role string) error {
	return d.change(policy.RevokeRole(policy.Grant{Principal: who, Role: role}))
}

func (d *decide) Grant(who policy.Principal, role string) error {
	return d.change(policy.GrantRole(policy.Grant{Principal: who, Role: role}))
}

func (d *decide) change(c policy.Change) error {
	_, err := d.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{c}})
	return err
}

func (d *decide) Close() { _ = d.engine.Close(context.Background()) }

func (e *execute) Name() string { return "interlock Execute" }

// Check executes nothing: it costs what a check with its use costs, but for the use.
func (e *execute) Check(q query) (allowed bool, err error) {
	err = e.engine.Execute(context.Background(), q.request(), nothing)
	if err == nil {
		return true, nil
	}
	return false, ignoreDenied(err)
}

func (e *execute) Use(q query, use func()) error {
	return ignoreDenied(e.engine.Execute(context.Background(), q.request(), func(context.Context) error {
		use()
		return nil
	}))
}

func nothing(context.Context) error { return nil }

// ignoreDenied lets refusals by other reasons than the policy through: a fault would be
// fast.
func ignoreDenied(err error) error {
	var denied *actors.DeniedError
	if errors.As(err, &denied) {
		return nil
	}
	return err
}
