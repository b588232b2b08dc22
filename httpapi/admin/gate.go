package admin

import (
	"net/http"
	"sync"

	"golang.org/x/time/rate"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// smallBody is how long a body may be that needs no place among the large ones, in bytes. So a
// revocation never waits for such a place.
const smallBody = 64 << 10

// gates bound what callers have in work at once. Each bounds every caller to a part of the
// whole, so that one cannot take the places of all others.
type gates struct {
	large   gate // bodies that are read, parsed and compared
	updates gate // updates in the log, and the waits for their receipts
	feeds   gate // streams of changes
}

func newGates() gates {
	return gates{large: gate{most: 4, mostOfEach: 2}, updates: gate{most: 2048, mostOfEach: 256}, feeds: gate{most: 1024, mostOfEach: 64}}
}

// gate bounds something in all and for each principal. It is safe for concurrent use.
type gate struct {
	most, mostOfEach int

	mu   sync.Mutex
	all  int
	each map[policy.Principal]int
}

// busy is answered with Retry-After.
func busy() error {
	return web.NewProblem(http.StatusServiceUnavailable, "busy", "Busy", "Too many requests of this kind are in work. Try again.")
}

// enter takes a place. leave gives it back, and may be called more than once.
func (g *gate) enter(who policy.Principal) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == g.most || g.each[who] == g.mostOfEach {
		return nil, busy()
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

// enterLarge takes a place for the body of r if it may be large.
func (g *gates) enterLarge(r *http.Request, who policy.Principal) (leave func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return func() {}, nil
	}
	return g.large.enter(who)
}

// pace bounds the rate of each author's updates, so that nobody can push the history of its own
// actions out of the log. It is safe for concurrent use.
type pace struct {
	limit rate.Limit
	burst int

	mu   sync.Mutex
	each map[policy.Principal]*rate.Limiter
}

func newPace(limit float64) pace {
	if limit < 0 {
		return pace{limit: rate.Inf}
	}
	return pace{limit: rate.Limit(limit), burst: int(10 * limit)}
}

// maxPaced is the number of authors at which those are forgotten that have made no update for long.
const maxPaced = 1000

// check takes an update of the author from its rate.
func (p *pace) check(who policy.Principal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.each == nil {
		p.each = map[policy.Principal]*rate.Limiter{}
	}
	l := p.each[who]
	if l == nil {
		if len(p.each) >= maxPaced {
			p.forget()
		}
		l = rate.NewLimiter(p.limit, p.burst)
		p.each[who] = l
	}
	if l.Allow() {
		return nil
	}
	return web.NewProblem(http.StatusTooManyRequests, "too-many-updates", "Too many updates",
		"You make updates faster than the server allows. Put more changes into one update, or wait.")
}

// forget removes authors whose whole burst is available again.
func (p *pace) forget() {
	for who, l := range p.each {
		if l.Tokens() >= float64(p.burst) {
			delete(p.each, who)
		}
	}
}
