package main

import (
	_ "embed"
	"errors"

	"github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/model"

	"github.com/interlock-authz/interlock/actors/policy"
)

//go:embed models/casbin.conf
var casbinModel string

// enforcer is what the three enforcers of Casbin have in common.
type enforcer interface {
	Enforce(values ...any) (bool, error)
	AddPolicies(rules [][]string) (bool, error)
	AddGroupingPolicies(rules [][]string) (bool, error)
	AddRoleForUser(user, role string, domain ...string) (bool, error)
	DeleteRoleForUser(user, role string, domain ...string) (bool, error)
}

type casbinEngine struct {
	name     string
	enforcer enforcer
}

func newEnforcer(w *world) (engine, error) {
	e, err := casbin.NewEnforcer(must(model.NewModelFromString(casbinModel)))
	return fill(w, "Casbin Enforcer", e, err)
}

func newSynced(w *world) (engine, error) {
	e, err := casbin.NewSyncedEnforcer(must(model.NewModelFromString(casbinModel)))
	return fill(w, "Casbin SyncedEnforcer", e, err)
}

// newSyncedCached has its cache on, without an end to what is in it, as it is made.
func newSyncedCached(w *world) (engine, error) {
	e, err := casbin.NewSyncedCachedEnforcer(must(model.NewModelFromString(casbinModel)))
	return fill(w, "Casbin SyncedCachedEnforcer", e, err)
}

func fill(w *world, name string, e enforcer, err error) (engine, error) {
	if err != nil {
		return nil, err
	}
	var rules, members [][]string
	for _, r := range w.roles {
		for _, p := range r.permissions {
			effect := "allow"
			if p.deny {
				effect = "deny"
			}
			rules = append(rules, []string{r.name, p.prefix + "/*", p.action, effect})
		}
	}
	for _, m := range w.members {
		for _, r := range m.roles {
			members = append(members, []string{m.who.String(), r})
		}
	}
	if err := changed(e.AddPolicies(rules)); err != nil {
		return nil, err
	}
	if err := changed(e.AddGroupingPolicies(members)); err != nil {
		return nil, err
	}
	return &casbinEngine{name, e}, nil
}

var errUnchanged = errors.New("the rule to add is there already, or that to remove is not")

// changed makes an error of a change that changed nothing.
func changed(ok bool, err error) error {
	if err == nil && !ok {
		return errUnchanged
	}
	return err
}

func (c *casbinEngine) Name() string { return c.name }

func (c *casbinEngine) Check(q query) (bool, error) {
	return c.enforcer.Enforce(q.who.String(), q.resource, q.action)
}

func (c *casbinEngine) Revoke(who policy.Principal, role string) error {
	return changed(c.enforcer.DeleteRoleForUser(who.String(), role))
}

func (c *casbinEngine) Grant(who policy.Principal, role string) error {
	return changed(c.enforcer.AddRoleForUser(who.String(), role))
}

func (c *casbinEngine) Close() {}
