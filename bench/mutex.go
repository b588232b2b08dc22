package bench

import (
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// mutexes is a mutex for each principal, held over check and use.
type mutexes struct {
	of          *directory[mutexed]
	authorities *authorities
}

type mutexed struct {
	mu  sync.Mutex
	may *authority
}

func startMutex(w *world) strategy {
	return &mutexes{newDirectory(w, func(p *mutexed, may *authority) { p.may = may }), w.compiled()}
}

func (m *mutexes) use(req *actors.Request, operation actors.Func) bool {
	p := m.of.find(req.Principal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.may.allows(req) {
		return false
	}
	_ = operation(background)
	return true
}

func (m *mutexes) change(who policy.Principal, allowed bool) {
	m.of.find(who).set(m.authorities.authorized(who, allowed))
}

func (m *mutexes) changeRole(allowed bool) {
	for who := range m.authorities.of {
		m.of.find(who).set(m.authorities.byRole(who, allowed))
	}
}

func (p *mutexed) set(may *authority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.may = may
}

func (m *mutexes) close() {}
