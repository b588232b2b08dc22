package actors

import (
	"sync"
)

// controlPool runs the control turns of idle mailboxes for whoever posts to many of them,
// on a bounded number of goroutines. No user's code runs in such a turn, so none of them
// is ever held up.
type controlPool struct {
	mu      sync.Mutex
	queue   []*principal
	workers int
	most    int
}

// run has p's control messages taken in; it never blocks.
func (c *controlPool) run(p *principal) {
	c.mu.Lock()
	c.queue = append(c.queue, p)
	start := c.workers < c.most
	if start {
		c.workers++
	}
	c.mu.Unlock()
	if start {
		go c.work()
	}
}

func (c *controlPool) work() {
	for {
		c.mu.Lock()
		n := min(len(c.queue), 64)
		if n == 0 {
			c.queue = nil
			c.workers--
			c.mu.Unlock()
			return
		}
		batch := c.queue[:n]
		c.queue = c.queue[n:]
		c.mu.Unlock()
		for _, p := range batch {
			p.workControl()
		}
	}
}
