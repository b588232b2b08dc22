package bench

import (
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// rwMutexes is an RWMutex for each principal, held for reading over check and use.
type rwMutexes struct {
	of          *directory[rwMutexed]
	authorities *authorities
}

type rwMutexed struct {
	mu  sync.RWMutex
	may *authority
}

func startRWMutex(w *world) strategy {
	return &rwMutexes{newDirectory(w, func(p *rwMutexed, may *authority) { p.may = may }), w.compiled()}
}

func (m *rwMutexes) use(req *actors.Request, operation actors.Func) bool {
	p := m.of.find(req.Principal)
	p.mu.RLock()
	defer p.mu.RUnlock()
	if !p.may.allows(req) {
		return false
	}
	_ = operation(background)
	return true
}

func (m *rwMutexes) change(who policy.Principal, allowed bool) {
	m.of.find(who).set(m.authorities.authorized(who, allowed))
}

func (m *rwMutexes) changeRole(allowed bool) {
	for who := range m.authorities.of {
		m.of.find(who).set(m.authorities.byRole(who, allowed))
	}
}

func (p *rwMutexed) set(may *authority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.may = may
}

func (m *rwMutexes) close() {}
