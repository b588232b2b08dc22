package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// lastWait is how long Close waits, after its context is done, for the release of what it
// canceled, and then for what stops.
const lastWait = time.Second

// errOtherClose is why a Close that is called by an operation does not wait for another Close.
var errOtherClose = errors.New("another Close waits for the operation under whose context this one was called")

// Close stops admitting and waits for the operations in flight, until ctx is done. Then it
// cancels the remaining ones with the cause [ErrClosed], waits up to a second for their
// release, and ends the engine. It does not close the log. It does not wait for leases under
// whose contexts it is called, and not longer than about two seconds after ctx is done. The
// error is a [*NotQuiescedError] if operations remain, or [ErrNested].
//
// A call during another one, or after it, waits until that one has ended or its own ctx is
// done, and returns nil or a [*NotQuiescedError].
func (e *Engine) Close(ctx context.Context) error {
	if e.nested(ctx) {
		return ErrNested
	}
	if !e.shared.closing.CompareAndSwap(false, true) {
		return e.awaitClosed(ctx)
	}
	close(e.leaving)
	t := newTracker(e.Revision())
	e.directory.each(func(p *principal) {
		t.expectTurn(p)
		p.tell(&node{message: &shutdown{of: p, tracker: t}})
	})
	t.applied()
	cause := t.wait(ctx, ownLeases(ctx))
	if cause != nil {
		e.cancelLeases()
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWait)
		defer cancel()
		_ = t.wait(moment, nil)
		e.directory.each(func(p *principal) { p.reportLeases(t) })
	}
	e.stop(ctx)
	close(e.stopped)
	if r := t.receipt(); !r.Quiesced {
		return &NotQuiescedError{Receipt: r, Cause: fmt.Errorf("closing: %w", cause)}
	}
	return nil
}

// awaitClosed waits for another Close.
func (e *Engine) awaitClosed(ctx context.Context) error {
	cause := errOtherClose
	if len(ownLeases(ctx)) == 0 {
		select {
		case <-e.stopped:
			return nil
		case <-ctx.Done():
			cause = ctx.Err()
		}
	}
	select {
	case <-e.stopped:
		return nil
	default:
		return &NotQuiescedError{Receipt: Receipt{Revision: e.Revision()}, Cause: fmt.Errorf("closing: %w", cause)}
	}
}

// stop ends the goroutines of the engine. A precondition that hangs can keep one of them; stop
// then returns when ctx is done and lastWait has passed.
func (e *Engine) stop(ctx context.Context) {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		e.sweeper.wait()
		e.ticker.close()
		e.stopActors()
		e.confirmer.close()
	}()
	select {
	case <-stopped:
		return
	case <-ctx.Done():
	}
	last := time.NewTimer(lastWait)
	defer last.Stop()
	select {
	case <-stopped:
	case <-last.C:
	}
}

// shutdown is the message that makes a principal stop admitting.
type shutdown struct {
	of      *principal
	tracker *tracker
}

func (s *shutdown) drop() { s.tracker.turned(s.of) }

func (s *shutdown) handle(p *principal, _ moment) {
	defer s.tracker.turned(s.of)
	p.shut = policy.ReasonClosed
	for l := p.leases.Load(); l != nil; l = l.older.Load() {
		l.watch(s.tracker)
		s.tracker.runs(l)
		if p.engine.canceling.Load() {
			l.cancel(ErrClosed)
		}
	}
}

// cancelLeases cancels all leases, also those of principals whose turns do not end.
func (e *Engine) cancelLeases() {
	e.canceling.Store(true)
	e.directory.each(func(p *principal) {
		p.walkLeases(func(l *Lease) { l.cancel(ErrClosed) })
		p.tell(&node{message: cancelAll{}}) // for those that the walk missed
	})
}

// cancelAll is the message that cancels the leases of a principal.
type cancelAll struct{}

func (cancelAll) drop() {}

func (cancelAll) handle(p *principal, _ moment) {
	for l := p.leases.Load(); l != nil; l = l.older.Load() {
		l.cancel(ErrClosed)
	}
}

// reportLeases adds the leases of a principal whose turn did not end to a tracker.
func (p *principal) reportLeases(t *tracker) {
	if p.isRunning() {
		p.walkLeases(func(l *Lease) { t.runsAs(l, l.description()) })
	}
}

// walkLeases visits the leases from outside a turn. A lease that a turn releases meanwhile has
// no link to the others, so the walk begins again, up to 100 times. What is admitted meanwhile
// can be missed: the engine admits nothing any more.
func (p *principal) walkLeases(visit func(*Lease)) {
	for again, left := true, 100; again && left > 0; left-- {
		again = false
		for l := p.leases.Load(); l != nil; {
			next := l.older.Load() // before the lease can be released
			if l.isFreed() {
				again = true
			} else {
				visit(l)
			}
			l = next
		}
	}
}
