package bench

import (
	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// authority is what a principal may do, compiled: what those strategies keep that decide
// without the engine, by the engine's own policy code.
type authority struct {
	table *policy.Table
	held  *policy.Effective
}

func (a *authority) allows(req *actors.Request) bool {
	q := policy.Query{Principal: req.Principal, Action: req.Action, Resource: req.Resource}
	d := a.table.Decide(a.held, &q)
	return d.Allowed
}

// authorities are those of a world.
type authorities struct {
	of map[policy.Principal]*authority
	// nothing is that of a principal without a grant, and without that of one whose role has
	// lost its permissions.
	nothing, without *authority
}

// compiled compiles the world, once.
func (w *world) compiled() *authorities {
	if w.authorities != nil {
		return w.authorities
	}
	t, held := w.table()
	a := &authorities{of: make(map[policy.Principal]*authority, len(held)), nothing: &authority{t, &policy.Effective{}}}
	shared := map[*policy.Effective]*authority{}
	for who, e := range held {
		if shared[e] == nil {
			shared[e] = &authority{t, e}
		}
		a.of[who] = shared[e]
	}
	emptied := must(policy.NewTable(2, []*policy.Role{w.emptied()}, nil))
	sample := &policy.Record{Grants: []policy.Grant{{Principal: principalNumber(0), Role: w.roles[0].Name()}}}
	a.without = &authority{emptied, emptied.Compile(emptied.Hold(principalNumber(0), sample, 0))}
	w.authorities = a
	return a
}

// emptied is the world's first role with one permission that no request uses.
func (w *world) emptied() *policy.Role {
	return must(policy.NewRole(w.roles[0].Name(), nil, []policy.Permission{permissionOf("bench:nothing", "nothing")}))
}

// principals are the principals with a grant.
func (w *world) principals() map[policy.Principal]*authority { return w.compiled().of }
