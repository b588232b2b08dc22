package main

import (
	"fmt"
	"slices"
	"sync"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"

	"github.com/interlock-authz/interlock/actors/policy"
)

// cedarEngine has a policy for what each role allows and one for what it denies. Cedar
// leaves it to its caller to keep the entities: here a map behind a lock, from which each
// request gets the one principal that it is about, never changed after.
type cedarEngine struct {
	policies *cedar.PolicySet
	mu       sync.RWMutex
	users    cedar.EntityMap
}

func newCedar(w *world) (engine, error) {
	c := &cedarEngine{policies: cedar.NewPolicySet(), users: cedar.EntityMap{}}
	for _, r := range w.roles {
		c.add(r, "allow", ast.Permit(), func(p permission) bool { return !p.deny })
		c.add(r, "deny", ast.Forbid(), func(p permission) bool { return p.deny })
	}
	for _, m := range w.members {
		c.put(userOf(m.who), m.roles)
	}
	return c, nil
}

// add adds a policy for those of the role's permissions that are chosen, if there are any.
func (c *cedarEngine) add(r role, name string, p *ast.Policy, chosen func(permission) bool) {
	var cases []ast.Node
	for _, a := range actions {
		var prefixes []ast.Node
		for _, p := range r.permissions {
			if chosen(p) && p.action == a {
				pattern := cedar.NewPattern(p.prefix+"/", cedar.Wildcard{})
				prefixes = append(prefixes, ast.Context().Access("path").Like(pattern))
			}
		}
		if len(prefixes) > 0 {
			is := ast.Action().Equal(ast.EntityUID("Action", cedar.String(a)))
			cases = append(cases, is.And(either(prefixes)))
		}
	}
	if len(cases) > 0 {
		made := cedar.NewPolicyFromAST(p.PrincipalIn(roleOf(r.name)).When(either(cases)))
		c.policies.Add(cedar.PolicyID(r.name+"/"+name), made)
	}
}

func either(nodes []ast.Node) ast.Node {
	n := nodes[0]
	for _, other := range nodes[1:] {
		n = n.Or(other)
	}
	return n
}

func (c *cedarEngine) put(user cedar.EntityUID, roles []string) {
	parents := make([]cedar.EntityUID, len(roles))
	for i, r := range roles {
		parents[i] = roleOf(r)
	}
	c.users[user] = cedar.Entity{UID: user, Parents: cedar.NewEntityUIDSet(parents...)}
}

func userOf(who policy.Principal) cedar.EntityUID {
	return cedar.NewEntityUID("User", cedar.String(who.String()))
}

func roleOf(name string) cedar.EntityUID { return cedar.NewEntityUID("Role", cedar.String(name)) }

// one is a set of entities with one entity in it.
type one cedar.Entity

// Get implements [cedar.EntityGetter].
func (o *one) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	return cedar.Entity(*o), uid == o.UID
}

func (c *cedarEngine) Name() string { return "cedar-go" }

func (c *cedarEngine) Check(q query) (bool, error) {
	user := userOf(q.who)
	c.mu.RLock()
	entity := one(c.users[user])
	c.mu.RUnlock()
	decision, diagnostic := cedar.Authorize(c.policies, &entity, cedar.Request{
		Principal: user,
		Action:    cedar.NewEntityUID("Action", cedar.String(q.action)),
		Resource:  cedar.NewEntityUID("Item", cedar.String(q.resource)),
		Context:   cedar.NewRecord(cedar.RecordMap{"path": cedar.String(q.resource)}),
	})
	if len(diagnostic.Errors) > 0 {
		return false, fmt.Errorf("evaluation: %s", diagnostic.Errors[0])
	}
	return decision == cedar.Allow, nil
}

func (c *cedarEngine) Revoke(who policy.Principal, role string) error {
	c.change(who, func(parents []cedar.EntityUID) []cedar.EntityUID {
		return slices.DeleteFunc(parents, func(p cedar.EntityUID) bool { return p == roleOf(role) })
	})
	return nil
}

func (c *cedarEngine) Grant(who policy.Principal, role string) error {
	c.change(who, func(parents []cedar.EntityUID) []cedar.EntityUID { return append(parents, roleOf(role)) })
	return nil
}

// change replaces the principal's entity by one with other parents.
func (c *cedarEngine) change(who policy.Principal, change func([]cedar.EntityUID) []cedar.EntityUID) {
	user := userOf(who)
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.users[user]
	e.Parents = cedar.NewEntityUIDSet(change(slices.Collect(e.Parents.All()))...)
	c.users[user] = e
}

func (c *cedarEngine) Close() {}
