package admin

import (
	"net/http"
	"sync"

	"golang.org/x/time/rate"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// smallBody is how long a body may be that needs no place among the large ones, in bytes. So a
// revocation never waits for such a place.
const smallBody = 64 << 10

// gates bound what callers have in work at once.
type gates struct {
	large   *share.Shares[policy.Principal] // bodies that are read, parsed and compared
	updates *share.Shares[policy.Principal] // updates in the log, and the waits for their receipts
	feeds   *share.Shares[policy.Principal] // streams of changes
}

func newGates() gates {
	return gates{
		large: share.New[policy.Principal](4, 2), updates: share.New[policy.Principal](2048, 256), feeds: share.New[policy.Principal](1024, 64),
	}
}

// enter takes a place for a caller. The error is answered with Retry-After.
func enter(places *share.Shares[policy.Principal], who policy.Principal) (leave func(), err error) {
	leave, ok := places.Enter(who)
	if !ok {
		return nil, web.Busy()
	}
	return leave, nil
}

// enterLarge takes a place for the body of r if it may be large.
func (g *gates) enterLarge(r *http.Request, who policy.Principal) (leave func(), err error) {
	if r.ContentLength >= 0 && r.ContentLength <= smallBody {
		return func() {}, nil
	}
	return enter(g.large, who)
}

// pace bounds the rate of each author's updates, so that no author can push the history of its
// own actions out of the log. It is safe for concurrent use.
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
	return pace{limit: rate.Limit(limit), burst: max(int(10*limit), 1)}
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
