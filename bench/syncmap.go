package bench

import (
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// syncMap keeps authorities in a sync.Map. The use comes after the check, whatever has
// become of it.
type syncMap struct {
	may         sync.Map
	authorities *authorities
}

func startSyncMap(w *world) strategy {
	s := &syncMap{authorities: w.compiled()}
	for who, may := range s.authorities.of {
		s.may.Store(who, may)
	}
	return s
}

func (s *syncMap) use(req *actors.Request, operation actors.Func) bool {
	may, _ := s.may.Load(req.Principal)
	if !may.(*authority).allows(req) {
		return false
	}
	_ = operation(background)
	return true
}

func (s *syncMap) change(who policy.Principal, allowed bool) {
	s.may.Store(who, s.authorities.authorized(who, allowed))
}

func (s *syncMap) changeRole(allowed bool) {
	for who := range s.authorities.of {
		s.may.Store(who, s.authorities.byRole(who, allowed))
	}
}

func (s *syncMap) close() {}
