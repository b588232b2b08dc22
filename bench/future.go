package bench

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors"
)

// asked is a principal as an ordinary actor: check and use run in its Receive, and a
// caller waits for a future.
type asked struct {
	system *actor.ActorSystem
	pid    *actor.PID
}

type askedRequest struct {
	req actors.Request
	use func()
}

func newAsked(w *world) *asked {
	g := newGuarded(w)
	p := g.find(w.queries[0].Principal)
	a := &asked{system: actor.NewActorSystem(actor.WithLoggerFactory(discard))}
	a.pid = a.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if m, ok := c.Message().(*askedRequest); ok {
			allowed := p.allowed(g.table, &m.req)
			if allowed {
				m.use()
			}
			c.Respond(allowed)
		}
	}))
	return a
}

func (a *asked) execute(req actors.Request, use func()) bool {
	allowed, err := a.system.Root.RequestFuture(a.pid, &askedRequest{req, use}, time.Minute).Result()
	return err == nil && allowed.(bool)
}

func (a *asked) close() {
	_ = a.system.Root.StopFuture(a.pid).Wait()
	a.system.Shutdown()
}
