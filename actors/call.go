package actors

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors/policy"
)

// call is a request that waits in a mailbox. The poster and the owner of the turn claim it
// with one compare-and-swap, so it either runs or is abandoned, never both (G3). It returns
// to its pool only after it was popped from its lane.
type call struct {
	next  *call
	since int64 // when it was queued, on the monotonic clock
	claim atomic.Uint32
	ready chan struct{}

	ctx context.Context
	req Request
	operation

	decision policy.Decision
	err      error
}

const (
	callWaits uint32 = iota
	callTaken
	callAbandoned
)

// callPool is a pool of calls of one engine. It is not shared, because a channel made in a
// bubble of testing/synctest must not leave the bubble.
type callPool struct{ pool sync.Pool }

func (p *callPool) get(ctx context.Context, req *Request) *call {
	c, _ := p.pool.Get().(*call)
	if c == nil {
		c = &call{ready: make(chan struct{}, 1)}
	}
	c.ctx, c.req = ctx, *req
	c.claim.Store(callWaits)
	return c
}

// put returns a call to the pool. No other goroutine may hold it.
func (p *callPool) put(c *call) {
	ready := c.ready
	*c = call{ready: ready}
	p.pool.Put(c)
}

// take claims the call for running it.
func (c *call) take() bool { return c.claim.CompareAndSwap(callWaits, callTaken) }

func (c *call) isAbandoned() bool { return c.claim.Load() == callAbandoned }

// answer ends a call that was taken. The poster owns the call afterwards.
func (c *call) answer(err error) {
	c.err = err
	c.ready <- struct{}{}
}

// wait returns nil when the call was answered. It abandons the call and returns the error of
// ctx when ctx is done before the call was taken. The lane owns an abandoned call.
func (c *call) wait(ctx context.Context) error {
	done := ctx.Done()
	if done == nil {
		<-c.ready
		return nil
	}
	select {
	case <-c.ready:
		return nil
	case <-done:
		if c.claim.CompareAndSwap(callWaits, callAbandoned) {
			return ctx.Err()
		}
		<-c.ready
		return nil
	}
}
