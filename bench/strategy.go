package bench

import (
	"context"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// strategy is a way to bring a check and its use together, or not. It is safe for
// concurrent use, but for changes of one principal, or of the role, at a time.
type strategy interface {
	// use runs the operation if the request is allowed, and reports whether it was.
	use(req *actors.Request, operation actors.Func) bool
	// change gives a principal all its roles, or takes them; changeRole gives the world's
	// first role its permissions, or takes them. What follows their return is held against
	// them.
	change(who policy.Principal, allowed bool)
	changeRole(allowed bool)
	close()
}

// contestant is a strategy by name, with the promises that it keeps.
type contestant struct {
	name string
	// keeps lists which of the promises G1 and G2 the strategy keeps by design, and lacks
	// what else it does not have.
	keeps, lacks string
	start        func(*world) strategy
}

// contestants are all strategies.
func contestants() []contestant {
	const bare = "leases, deadlines, expiry, credentials, panics"
	return []contestant{
		{"interlock Execute", "G1, G2", "", startExecute},
		{"interlock Admit", "G1, G2", "", startAdmit},
		{"Mutex held", "G1, G2", bare + "; operations of a principal one at a time", startMutex},
		{"RWMutex held", "G1, G2", bare, startRWMutex},
		{"global RWMutex held", "G1, G2", bare + "; a change waits for everybody's operations", startGlobal},
		{"snapshot", "neither", bare + "; a change copies everything", startSnapshot},
		{"sync.Map", "neither", bare, startSyncMap},
		{"actor, RequestFuture", "G1, G2", bare + "; operations of a principal one at a time", startFutures},
		{"goroutine and channel", "G1, G2", bare + "; operations of a principal one at a time", startChannels},
	}
}

// authorized returns what a principal may do after a change.
func (a *authorities) authorized(who policy.Principal, allowed bool) *authority {
	if allowed {
		return a.of[who]
	}
	return a.nothing
}

// byRole returns what a holder of the first role may do after a change of it.
func (a *authorities) byRole(who policy.Principal, allowed bool) *authority {
	if allowed {
		return a.of[who]
	}
	return a.without
}

// background is the context of operations that are given none.
var background = context.Background()
