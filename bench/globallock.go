package bench

import (
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// globalLock is one RWMutex over everything, held for reading over check and use.
type globalLock struct {
	mu          sync.RWMutex
	may         map[policy.Principal]*authority
	authorities *authorities
}

func startGlobal(w *world) strategy {
	a := w.compiled()
	g := &globalLock{authorities: a, may: make(map[policy.Principal]*authority, len(a.of))}
	for who, may := range a.of {
		g.may[who] = may
	}
	return g
}

func (g *globalLock) use(req *actors.Request, operation actors.Func) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.may[req.Principal].allows(req) {
		return false
	}
	_ = operation(background)
	return true
}

func (g *globalLock) change(who policy.Principal, allowed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.may[who] = g.authorities.authorized(who, allowed)
}

func (g *globalLock) changeRole(allowed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for who := range g.may {
		g.may[who] = g.authorities.byRole(who, allowed)
	}
}

func (g *globalLock) close() {}
