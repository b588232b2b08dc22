package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// turnContext is the context of a function that runs in a turn. It is done when the turn ends
// or the caller's context is done. Each is used once, so that a function that leaks its
// context never sees the values of another. They are allocated in chunks.
type turnContext struct {
	parent   context.Context
	engine   *Engine
	revision uint64
	// done is nil until the channel is needed, and ended if it was not needed in the turn.
	done atomic.Pointer[doneState]
}

type doneState struct {
	mu     sync.Mutex
	ch     chan struct{}
	err    error
	stop   func() bool
	after  map[*func()]struct{}
	closed bool
}

// ended is the state of every turn that ended without needing a channel.
var ended = &doneState{ch: closedChannel(), err: context.Canceled, closed: true}

func closedChannel() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}

const (
	chunkSize = 8
	// A principal is used often if it runs more than this many functions between two ticks.
	often = 64
)

type contextChunk struct {
	contexts [chunkSize]turnContext
	used     int
}

var chunks = sync.Pool{New: func() any { return new(contextChunk) }}

// turnContext returns the context for the function of this turn. A principal that is used
// often keeps its chunk of contexts. The others share the pool.
func (p *principal) turnContext(parent context.Context, at *moment) *turnContext {
	c := p.chunk
	if c == nil {
		c = chunks.Get().(*contextChunk)
	}
	t := &c.contexts[c.used]
	c.used++
	p.recent++
	switch {
	case c.used == chunkSize:
		p.chunk = nil
	case p.chunk != nil || p.recent > often:
		p.chunk = c
	default:
		chunks.Put(c)
	}
	t.parent, t.engine, t.revision = parent, p.engine, at.table.Revision()
	return t
}

type (
	turnKey     struct{}
	revisionKey struct{}
)

// RevisionOf returns the revision that admitted the operation to which ctx belongs: a function
// in its turn, or a lease. It returns false for other contexts.
func RevisionOf(ctx context.Context) (uint64, bool) {
	revision, ok := ctx.Value(revisionKey{}).(uint64)
	return revision, ok
}

// HasAuthority reports whether the operation to which ctx belongs still has the authority that
// admitted it. It is false from the moment at which a lease was revoked, although a grace may keep
// its context open. It is true during a turn, for the context of its function, and false for all
// other contexts.
func HasAuthority(ctx context.Context) bool {
	if l, ok := ctx.Value(leaseKey{}).(*Lease); ok {
		return l.revokedAt.Load() == 0 && l.Context().Err() == nil
	}
	t, ok := ctx.Value(turnKey{}).(*turnContext)
	return ok && t.Err() == nil
}

// Deadline implements [context.Context].
func (t *turnContext) Deadline() (time.Time, bool) { return t.parent.Deadline() }

// Value implements [context.Context].
func (t *turnContext) Value(key any) any {
	switch key.(type) {
	case turnKey:
		return t
	case revisionKey:
		return t.revision
	}
	return t.parent.Value(key)
}

// Err implements [context.Context].
func (t *turnContext) Err() error {
	s := t.done.Load()
	if s == nil {
		if t.parent.Err() == nil {
			return nil
		}
		s = t.state() // the error has to stay the same from now on
	}
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err == nil && t.parent.Err() != nil {
		s.finish(t.parent.Err())
		return t.Err()
	}
	return err
}

// Done implements [context.Context].
func (t *turnContext) Done() <-chan struct{} { return t.state().ch }

// AfterFunc spares derived contexts a goroutine. f runs on a goroutine of its own.
func (t *turnContext) AfterFunc(f func()) (stop func() bool) { return t.state().afterFunc(f) }

func (t *turnContext) state() *doneState {
	if s := t.done.Load(); s != nil {
		return s
	}
	s := &doneState{ch: make(chan struct{})}
	if !t.done.CompareAndSwap(nil, s) {
		return t.done.Load()
	}
	s.follow(t.parent)
	return s
}

// end is called when the turn is over.
func (t *turnContext) end() {
	if !t.done.CompareAndSwap(nil, ended) {
		t.done.Load().finish(context.Canceled)
	}
}

// follow finishes the state when the parent is done.
func (s *doneState) follow(parent context.Context) {
	if parent.Done() == nil {
		return
	}
	stop := context.AfterFunc(parent, func() { s.finish(parent.Err()) })
	s.mu.Lock()
	s.stop = stop
	over := s.closed
	s.mu.Unlock()
	if over {
		stop()
	}
}

// finish closes the channel with err, once; it reports whether it did.
func (s *doneState) finish(err error) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed, s.err = true, err
	close(s.ch)
	after, stop := s.after, s.stop
	s.after = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	for f := range after {
		go (*f)()
	}
	return true
}

func (s *doneState) afterFunc(f func()) (stop func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		go f()
		return func() bool { return false }
	}
	if s.after == nil {
		s.after = map[*func()]struct{}{}
	}
	key := &f
	s.after[key] = struct{}{}
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, waits := s.after[key]
		delete(s.after, key)
		return waits
	}
}
