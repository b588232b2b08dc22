package actors

import (
	"log/slog"
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// This file holds everything about protoactor: the actor system, the actors' props, and the
// mailbox of a principal as protoactor uses it.

// resumeAlways keeps an actor whose Receive panicked. A stopped or replaced actor would lose
// the messages that are posted to it.
var resumeAlways = actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.ResumeDirective })

// spawner makes protoactor use an existing mailbox: its props return the principal that it
// holds during one call of Spawn.
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

// spawn starts the principal's actor, under a name that is never reused.
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

// Receive implements [actor.Actor]. Only the engine stops a principal. If other code does, the
// principal denies, its leases lose their authority, and its mailbox stays for their release.
func (p *principal) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Stopping); ok && p.state.Load()&closed == 0 {
		p.fault("its actor was stopped from outside")
	}
}

// PostUserMessage implements [actor.Mailbox]. Requests do not use it. A message of other code
// goes to Receive.
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

// stopActor ends the actor of a closed mailbox.
func (p *principal) stopActor() {
	if p.invoker != nil {
		p.invoker.InvokeSystemMessage(&actor.Stop{})
	}
}

// foreign is a message of protoactor itself, or of other code.
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
