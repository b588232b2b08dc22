package bench

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// snapshots is a map that each change copies. The check reads the newest copy; the use
// comes after, whatever has become of it.
type snapshots struct {
	changing    sync.Mutex
	newest      atomic.Pointer[map[policy.Principal]*authority]
	authorities *authorities
}

func startSnapshot(w *world) strategy {
	s := &snapshots{authorities: w.compiled()}
	first := maps.Clone(s.authorities.of)
	s.newest.Store(&first)
	return s
}

func (s *snapshots) use(req *actors.Request, operation actors.Func) bool {
	if !(*s.newest.Load())[req.Principal].allows(req) {
		return false
	}
	_ = operation(background)
	return true
}

func (s *snapshots) change(who policy.Principal, allowed bool) {
	s.changing.Lock()
	defer s.changing.Unlock()
	next := maps.Clone(*s.newest.Load())
	next[who] = s.authorities.authorized(who, allowed)
	s.newest.Store(&next)
}

func (s *snapshots) changeRole(allowed bool) {
	s.changing.Lock()
	defer s.changing.Unlock()
	next := maps.Clone(*s.newest.Load())
	for who := range next {
		next[who] = s.authorities.byRole(who, allowed)
	}
	s.newest.Store(&next)
}

func (s *snapshots) close() {}
