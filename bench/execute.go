package bench

import (
	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// executing is interlock, with operations in the turn.
type executing struct {
	*actors.Engine
	world *world
	holds map[policy.Principal][]policy.Grant
}

func startExecute(w *world) strategy { return newExecuting(w) }

func newExecuting(w *world) *executing {
	e := &executing{Engine: w.engine(), world: w, holds: make(map[policy.Principal][]policy.Grant, len(w.grants))}
	for _, g := range w.grants {
		e.holds[g.Principal] = append(e.holds[g.Principal], g)
	}
	return e
}

func (e *executing) use(req *actors.Request, operation actors.Func) bool {
	err := e.Execute(background, *req, operation)
	mustDecide(err)
	return err == nil
}

func (e *executing) change(who policy.Principal, allowed bool) {
	changes := make([]policy.Change, 0, len(e.holds[who]))
	for _, g := range e.holds[who] {
		if allowed {
			changes = append(changes, policy.GrantRole(g))
		} else {
			changes = append(changes, policy.RevokeRole(g))
		}
	}
	update(e.Engine, changes...)
}

func (e *executing) changeRole(allowed bool) {
	role := e.world.roles[0]
	if !allowed {
		role = e.world.emptied()
	}
	update(e.Engine, policy.PutRole(role, ""))
}

func (e *executing) close() {
	if err := e.Close(background); err != nil {
		panic(err)
	}
}
