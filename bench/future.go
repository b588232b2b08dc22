package bench

import (
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// futures is an ordinary actor for each principal: check and use run in its Receive, and a
// caller waits for a future.
type futures struct {
	system      *actor.ActorSystem
	of          *directory[asked]
	authorities *authorities
}

// asked is one principal's actor, spawned when it is first needed.
type asked struct {
	once sync.Once
	pid  *actor.PID
	may  *authority // the actor's own
}

type askedUse struct {
	req       *actors.Request
	operation actors.Func
}

func startFutures(w *world) strategy {
	return &futures{
		system:      actor.NewActorSystem(actor.WithLoggerFactory(discard)),
		of:          newDirectory(w, func(a *asked, may *authority) { a.may = may }),
		authorities: w.compiled(),
	}
}

// Receive implements [actor.Actor].
func (a *asked) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *askedUse:
		allowed := a.may.allows(m.req)
		if allowed {
			_ = m.operation(background)
		}
		c.Respond(allowed)
	case *authority:
		a.may = m
		c.Respond(true)
	}
}

// ask sends a message to a principal's actor and waits for the answer.
func (f *futures) ask(who policy.Principal, message any) bool {
	a := f.of.find(who)
	a.once.Do(func() {
		a.pid = f.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return a }))
	})
	answer := must(f.system.Root.RequestFuture(a.pid, message, time.Minute).Result())
	return answer.(bool)
}

func (f *futures) use(req *actors.Request, operation actors.Func) bool {
	return f.ask(req.Principal, &askedUse{req, operation})
}

func (f *futures) change(who policy.Principal, allowed bool) {
	f.ask(who, f.authorities.authorized(who, allowed))
}

func (f *futures) changeRole(allowed bool) {
	for who := range f.authorities.of {
		f.ask(who, f.authorities.byRole(who, allowed))
	}
}

func (f *futures) close() { f.system.Shutdown() }
