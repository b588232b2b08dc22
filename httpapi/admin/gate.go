package admin

import (
	"net/http"
	"sync"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Bounds on the bodies of changes and policies that are read, parsed and compared at once. A
// body of up to smallBody bytes is not counted, so a revocation never waits for a place.
const (
	smallBody      = 64 << 10
	maxLarge       = 4
	maxLargeOfEach = 2
)

// gate bounds the large bodies in work, in all and for each principal. It is safe for
// concurrent use.
type gate struct {
	mu   sync.Mutex
	all  int
	each map[policy.Principal]int
}

// errBusy is answered with Retry-After.
func errBusy() error {
	return web.NewProblem(http.StatusServiceUnavailable, "busy", "Busy", "Too many large requests are in work. Try again.")
}

// enter takes a place for the body of r if it may be large. leave gives it back and may be
// called more than once.
func (g *gate) enter(r *http.Request, who policy.Principal) (leave func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return func() {}, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == maxLarge || g.each[who] == maxLargeOfEach {
		return nil, errBusy()
	}
	if g.each == nil {
		g.each = map[policy.Principal]int{}
	}
	g.all++
	g.each[who]++
	return sync.OnceFunc(func() { g.leave(who) }), nil
}

func (g *gate) leave(who policy.Principal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.each[who]--; g.each[who] == 0 {
		delete(g.each, who)
	}
}
