package bench

import (
	"sync"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// channels is a goroutine for each principal, which takes requests and changes from a
// channel and answers by another.
type channels struct {
	of          *directory[channelled]
	authorities *authorities
	ended       chan struct{}
	running     sync.WaitGroup
	calls       sync.Pool
}

// channelled is one principal's goroutine, started when it is first needed.
type channelled struct {
	once sync.Once
	in   chan *channelCall
	may  *authority // the goroutine's own
}

// channelCall is a use, or with a new authority a change.
type channelCall struct {
	req       *actors.Request
	operation actors.Func
	next      *authority
	answer    chan bool
}

func startChannels(w *world) strategy {
	return &channels{
		of:          newDirectory(w, func(c *channelled, may *authority) { c.may = may }),
		authorities: w.compiled(), ended: make(chan struct{}),
		calls: sync.Pool{New: func() any { return &channelCall{answer: make(chan bool, 1)} }},
	}
}

func (c *channelled) serve(ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case call := <-c.in:
			if call.next != nil {
				c.may = call.next
				call.answer <- true
				continue
			}
			allowed := c.may.allows(call.req)
			if allowed {
				_ = call.operation(background)
			}
			call.answer <- allowed
		}
	}
}

func (c *channels) ask(who policy.Principal, req *actors.Request, operation actors.Func, next *authority) bool {
	p := c.of.find(who)
	p.once.Do(func() {
		p.in = make(chan *channelCall)
		c.running.Go(func() { p.serve(c.ended) })
	})
	call := c.calls.Get().(*channelCall)
	defer c.calls.Put(call)
	call.req, call.operation, call.next = req, operation, next
	p.in <- call
	return <-call.answer
}

func (c *channels) use(req *actors.Request, operation actors.Func) bool {
	return c.ask(req.Principal, req, operation, nil)
}

func (c *channels) change(who policy.Principal, allowed bool) {
	c.ask(who, nil, nil, c.authorities.authorized(who, allowed))
}

func (c *channels) changeRole(allowed bool) {
	for who := range c.authorities.of {
		c.ask(who, nil, nil, c.authorities.byRole(who, allowed))
	}
}

func (c *channels) close() {
	close(c.ended)
	c.running.Wait()
}
