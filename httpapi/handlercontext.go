package httpapi

import (
	"context"
	"sync"
	"time"
)

// handlerContext is the context of a guarded handler: it ends with the lease, with the lease's
// error, or with the client. It joins the two when the handler first waits, which most handlers
// never do.
type handlerContext struct {
	lease, client context.Context

	mu     sync.Mutex
	joined context.Context // nil until the handler waits
	cancel context.CancelFunc
	over   bool // the handler has returned
}

// Deadline implements [context.Context].
func (c *handlerContext) Deadline() (time.Time, bool) { return c.client.Deadline() }

// Done implements [context.Context].
func (c *handlerContext) Done() <-chan struct{} { return c.join().Done() }

// Err implements [context.Context].
func (c *handlerContext) Err() error {
	if joined := c.ifJoined(); joined != nil {
		return joined.Err()
	}
	if !c.isOver() && c.lease.Err() == nil && c.client.Err() == nil {
		return nil
	}
	joined := c.join()
	<-joined.Done()
	return joined.Err()
}

// Value implements [context.Context].
func (c *handlerContext) Value(key any) any {
	if joined := c.ifJoined(); joined != nil {
		return joined.Value(key)
	}
	return c.lease.Value(key)
}

// ifJoined returns nil if the handler has not waited.
func (c *handlerContext) ifJoined() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.joined
}

func (c *handlerContext) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

func (c *handlerContext) join() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.joined == nil {
		c.joined, c.cancel = alsoEndedBy(c.client, c.lease)
		if c.over {
			c.cancel()
		}
	}
	return c.joined
}

// end ends the context: the handler has returned.
func (c *handlerContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.joined != nil {
		c.cancel()
	}
}

// alsoEndedBy returns a context that ends with the lease, with the lease's error, or with the
// client.
func alsoEndedBy(client, lease context.Context) (context.Context, context.CancelFunc) {
	var (
		ctx    context.Context
		cancel context.CancelFunc
	)
	if deadline, ok := client.Deadline(); ok {
		ctx, cancel = context.WithDeadline(lease, deadline)
	} else {
		ctx, cancel = context.WithCancel(lease)
	}
	stop := context.AfterFunc(client, func() {
		// A revocation ends reading, which the server takes for a client that is gone. This
		// context has its own deadline.
		if lease.Err() == nil && client.Err() != context.DeadlineExceeded {
			cancel()
		}
	})
	return ctx, func() { stop(); cancel() }
}
