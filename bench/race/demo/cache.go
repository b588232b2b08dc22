package demo

import (
	"net/http"
	"sync"
	"time"
)

// cache is form (c): it keeps a decision for a second, as clients of a policy server do.
type cache struct {
	*store
	mu    sync.Mutex
	known map[string]decision
}

type decision struct {
	allowed bool
	until   time.Time
}

const lifetime = time.Second

func newCache() *cache { return &cache{store: newStore(), known: map[string]decision{}} }

func (c *cache) check(r *http.Request) bool {
	principal := principalOf(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	d, ok := c.known[principal]
	if !ok || now.After(d.until) {
		d = decision{c.store.check(r), now.Add(lifetime)}
		c.known[principal] = d
	}
	return d.allowed
}

func (c *cache) protect(next http.HandlerFunc) http.Handler { return behind(c.check, next) }
