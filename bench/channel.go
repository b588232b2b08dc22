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
	calls       sync.Pool

	mu      sync.Mutex
	started []chan *channelCall
	running sync.WaitGroup
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
		authorities: w.compiled(),
		calls:       sync.Pool{New: func() any { return &channelCall{answer: make(chan bool, 1)} }},
	}
}

func (c *channelled) serve() {
	for call := range c.in {
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

// start starts a principal's goroutine.
func (c *channels) start(p *channelled) {
	p.in = make(chan *channelCall)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started = append(c.started, p.in)
	c.running.Go(p.serve)
}

func (c *channels) ask(who policy.Principal, req *actors.Request, operation actors.Func, next *authority) bool {
	p := c.of.find(who)
	p.once.Do(func() { c.start(p) })
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
	for _, in := range c.started {
		close(in)
	}
	c.running.Wait()
}
