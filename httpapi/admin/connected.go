package admin

import (
	"sync"

	"github.com/interlock-authz/interlock/actors/policy"
)

// connected remembers the principals that used a right on the admin API since the server
// started, for [control.Author.Connected]. It is safe for concurrent use.
type connected struct {
	mu   sync.Mutex
	seen map[policy.Principal]struct{}
}

// maxConnected bounds the set. Administrators are few, so it is not reached in practice;
// later ones are not remembered.
const maxConnected = 10_000

func (c *connected) add(p policy.Principal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[policy.Principal]struct{}{}
	}
	if len(c.seen) < maxConnected {
		c.seen[p] = struct{}{}
	}
}

func (c *connected) has(p policy.Principal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.seen[p]
	return ok
}
