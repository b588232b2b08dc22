package actors

import (
	"sync"
)

// controlPool runs the control turns of idle mailboxes, on a bounded number of goroutines. No
// user's function runs in such a turn, so the turns are short.
type controlPool struct {
	mu      sync.Mutex
	queue   []*principal
	workers int
	most    int
}

// run schedules a control turn of p. It never blocks.
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
