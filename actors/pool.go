package actors

import (
	"sync"
)

// controlPool runs the control turns of idle mailboxes, on a bounded number of goroutines. A
// turn that evaluates a condition leaves the pool, so that it delays only its own principal.
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
	c.startWorker()
	c.mu.Unlock()
}

// startWorker starts a worker if a principal is waiting for one. The caller holds mu.
func (c *controlPool) startWorker() {
	if len(c.queue) > 0 && c.workers < c.most {
		c.workers++
		go (&controlWorker{pool: c}).work()
	}
}

// next returns the next principal. It returns nil if none is waiting: then the worker has
// left the pool.
func (c *controlPool) next() *principal {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		c.queue = nil
		c.workers--
		return nil
	}
	p := c.queue[0]
	c.queue[0] = nil
	c.queue = c.queue[1:]
	return p
}

// controlWorker is a goroutine of the pool. The first slow turn is its last.
type controlWorker struct {
	pool *controlPool
	left bool
}

func (w *controlWorker) work() {
	leave := w.leave
	defer leave() // also when a turn ends this goroutine
	for !w.left {
		p := w.pool.next()
		if p == nil {
			w.left = true
			return
		}
		p.workControl(leave)
	}
}

// leave lets another worker start.
func (w *controlWorker) leave() {
	if w.left {
		return
	}
	w.left = true
	w.pool.mu.Lock()
	defer w.pool.mu.Unlock()
	w.pool.workers--
	w.pool.startWorker()
}
