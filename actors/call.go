package actors

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors/policy"
)

// call is a request that waits in a mailbox. The poster and the owner of the turn claim
// it by one compare-and-swap, so that it either runs or is abandoned, never both. It goes
// back to its pool only when it has been popped from its lane.
type call struct {
	next  *call
	since int64 // when it was queued, on the monotonic clock
	claim atomic.Uint32
	ready chan struct{}

	ctx   context.Context
	req   Request
	fn    Func    // Execute
	lease *Lease  // Admit
	batch []*item // DecideAll

	decision policy.Decision
	err      error
}

const (
	callWaits uint32 = iota
	callTaken
	callAbandoned
	callAnswered // of updates: it takes effect, and the answer follows at once
)

// item is one request of a batch.
type item struct {
	req      *Request
	decision *policy.Decision
}

// callPool belongs to one engine: a channel that was made in a bubble of testing/synctest
// must not come up outside it.
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

// put takes the call back. Nobody else may hold it any more.
func (p *callPool) put(c *call) {
	ready := c.ready
	*c = call{ready: ready}
	p.pool.Put(c)
}

// take claims the call for running it.
func (c *call) take() bool { return c.claim.CompareAndSwap(callWaits, callTaken) }

// answer ends a call that was taken: its poster goes on, and owns it.
func (c *call) answer(err error) {
	c.err = err
	c.ready <- struct{}{}
}

// wait returns when the call was answered, or abandons it when ctx is done before it was
// taken. Only an abandoned call gives an error here, and it belongs to the lane then.
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
