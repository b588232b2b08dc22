package actors

import (
	"log/slog"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// What is protoactor's stands in this file: the actor system, the actors' props, and the
// mailbox of a principal as protoactor sees it.

// resumeAlways keeps an actor whose Receive panicked: a principal's state is the
// mailbox's, and an actor that is replaced or stopped would swallow what is posted.
var resumeAlways = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.ResumeDirective })

// spawner makes protoactor use a mailbox that exists already: its props hand out the
// principal that it holds during one call of Spawn.
type spawner struct {
	props *actor.Props
	next  *principal
}

func newSpawner() *spawner {
	s := &spawner{}
	s.props = actor.PropsFromProducer(func() actor.Actor { return s.next },
		actor.WithMailbox(func() actor.Mailbox { return s.next }))
	return s
}

func (e *Engine) startActors() {
	quiet := slog.New(slog.DiscardHandler)
	e.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }))
	e.system.Root = e.system.Root.WithGuardian(resumeAlways)
	e.spawners.New = func() any { return newSpawner() }
	a := &authority{engine: e}
	e.authority = e.system.Root.SpawnPrefix(actor.PropsFromFunc(a.receive), "authority")
}

func (e *Engine) stopActors() {
	e.delivery.end()
	_ = e.system.Root.PoisonFuture(e.authority).Wait()
	e.system.Shutdown()
}

// spawn makes an actor of the principal, under a name that is never used again.
func (e *Engine) spawn(p *principal) error {
	s := e.spawners.Get().(*spawner)
	defer e.spawners.Put(s)
	s.next = p
	_, err := e.system.Root.SpawnNamed(s.props, "p"+strconv.FormatUint(e.names.Add(1), 36))
	s.next = nil
	return err
}

func (a *authority) receive(c actor.Context) {
	if p, ok := c.Message().(*oplog.Proposal); ok {
		a.propose(p)
	}
}

// Receive implements [actor.Actor]. A principal is stopped by its engine alone; if
// anybody else does it, it denies from then on and its leases lose their authority, and
// its mailbox stays for their release.
func (p *principal) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Stopping); ok && p.state.Load()&closed == 0 {
		p.fault("its actor was stopped from outside")
	}
}

// PostUserMessage implements [actor.Mailbox]. Requests do not come this way: what does is
// somebody else's, and goes to Receive.
func (p *principal) PostUserMessage(m any) { p.tell(&node{message: &foreign{message: m}}) }

// PostSystemMessage implements [actor.Mailbox].
func (p *principal) PostSystemMessage(m any) {
	p.tell(&node{message: &foreign{message: m, system: true}})
}

// RegisterHandlers implements [actor.Mailbox].
func (p *principal) RegisterHandlers(invoker actor.MessageInvoker, _ actor.Dispatcher) {
	p.invoker = invoker
}

// Start implements [actor.Mailbox].
func (p *principal) Start() {}

// UserMessageCount implements [actor.Mailbox].
func (p *principal) UserMessageCount() int { return int(p.requests.count.Load()) }

// stopActor ends the actor behind a mailbox that has closed.
func (p *principal) stopActor() {
	if p.invoker != nil {
		p.invoker.InvokeSystemMessage(&actor.Stop{})
	}
}

// foreign is a message of protoactor's own.
type foreign struct {
	message any
	system  bool
}

func (f *foreign) drop() {}

func (f *foreign) handle(p *principal, _ moment) {
	switch f.message.(type) {
	case *actor.SuspendMailbox, *actor.ResumeMailbox:
		return
	}
	if f.system {
		p.invoker.InvokeSystemMessage(f.message)
	} else {
		p.invoker.InvokeUserMessage(f.message)
	}
}
