package canary_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/policy"
)

// deliveries is an observer that tells when a revision is delivered.
type deliveries struct {
	observe.Nothing
	mu sync.Mutex
	of map[uint64]chan struct{}
}

func newDeliveries() *deliveries { return &deliveries{of: map[uint64]chan struct{}{}} }

func (d *deliveries) delivered(revision uint64) chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[revision] == nil {
		d.of[revision] = make(chan struct{})
	}
	return d.of[revision]
}

func (d *deliveries) Delivered(u actors.AppliedUpdate) { close(d.delivered(u.Revision)) }

// background runs an update and returns a channel with its revision, as soon as it is ordered, or
// with 0 if it fails before.
func background(ctx context.Context, e *actors.Engine, u actors.Update, all *sync.WaitGroup, hold time.Duration) <-chan uint64 {
	ordered := make(chan uint64, 2)
	after := u.After
	u.After = func(tip, next policy.View) error {
		if err := after(tip, next); err != nil {
			return err
		}
		ordered <- next.Revision()
		if hold > 0 {
			pass(hold)
		}
		return nil
	}
	all.Go(func() {
		_, _ = e.Update(context.WithoutCancel(ctx), u)
		ordered <- 0
	})
	return ordered
}

// impatient has an Update that does not wait for leases and turns.
type impatient struct {
	*actors.Engine
	deliveries *deliveries
	all        sync.WaitGroup
}

func (b *impatient) Update(ctx context.Context, u actors.Update) (actors.Receipt, error) {
	if u.After == nil {
		return b.Engine.Update(ctx, u)
	}
	revision := <-background(ctx, b.Engine, u, &b.all, 0)
	if revision == 0 {
		return b.Engine.Update(ctx, u) // for its error
	}
	<-b.deliveries.delivered(revision)
	return actors.Receipt{Revision: revision, Quiesced: true}, nil
}

// premature has an Update that returns before its revision is delivered.
type premature struct {
	*actors.Engine
	all sync.WaitGroup
	op  policy.Op // of the updates that it returns from
}

func (b *premature) Update(ctx context.Context, u actors.Update) (actors.Receipt, error) {
	if u.After == nil || u.Changes[len(u.Changes)-1].Op != b.op {
		return b.Engine.Update(ctx, u)
	}
	revision := <-background(ctx, b.Engine, u, &b.all, 5*time.Millisecond)
	if revision == 0 {
		return b.Engine.Update(ctx, u)
	}
	return actors.Receipt{Revision: revision, Quiesced: true}, nil
}

// checkThenAct has an Execute that decides first and then runs the function outside of the turn.
type checkThenAct struct{ *actors.Engine }

func (b checkThenAct) Execute(ctx context.Context, req actors.Request, fn actors.Func) error {
	d, err := b.Decide(ctx, req)
	if err != nil {
		return err
	}
	if !d.Allowed {
		return &actors.DeniedError{Decision: d}
	}
	return fn(ctx)
}

// cached has a Decide that remembers its last answer of one kind for a while.
type cached struct {
	*actors.Engine
	allowed bool
	last    atomic.Pointer[policy.Decision]
	until   atomic.Int64
}

func (b *cached) Decide(ctx context.Context, req actors.Request) (policy.Decision, error) {
	if last := b.last.Load(); last != nil && time.Now().UnixNano() < b.until.Load() {
		return *last, nil
	}
	d, err := b.Engine.Decide(ctx, req)
	if err == nil && d.Allowed == b.allowed {
		b.last.Store(&d)
		b.until.Store(time.Now().Add(20 * time.Millisecond).UnixNano())
	}
	return d, err
}

// relabeled has a Decide that names an older revision than the one that it uses.
type relabeled struct{ *actors.Engine }

func (b relabeled) Decide(ctx context.Context, req actors.Request) (policy.Decision, error) {
	d, err := b.Engine.Decide(ctx, req)
	d.Revision -= min(d.Revision, 2)
	return d, err
}

// TestBrokenEnginesAreFound shows that each broken engine is found within a few rounds.
func TestBrokenEnginesAreFound(t *testing.T) {
	const rounds = 3
	for name, test := range map[string]struct {
		make          func(t *testing.T) canary.Engine
		promise, mode string
		what          string
		also          string // another mode that the log names
	}{
		"Update does not wait for leases": {
			make: func(t *testing.T) canary.Engine {
				d := newDeliveries()
				b := &impatient{Engine: newEngine(t, actors.Options{Log: newMemory(t), Observer: d}), deliveries: d}
				t.Cleanup(b.all.Wait)
				return b
			}, promise: "G2", what: "an operation runs although its revocation has returned", also: "Admit",
		},
		"a revocation returns before delivery": {
			make: func(t *testing.T) canary.Engine {
				b := &premature{Engine: newEngine(t, actors.Options{Log: newMemory(t)}), op: policy.OpRevoke}
				t.Cleanup(b.all.Wait)
				return b
			}, promise: "G2", what: "an operation runs although its revocation has returned",
		},
		"a grant returns before delivery": {
			make: func(t *testing.T) canary.Engine {
				b := &premature{Engine: newEngine(t, actors.Options{Log: newMemory(t)}), op: policy.OpGrant}
				t.Cleanup(b.all.Wait)
				return b
			}, promise: "G4", what: "a decision names a revision before an update that had returned",
		},
		"Execute checks and then acts": {
			make:    func(t *testing.T) canary.Engine { return checkThenAct{newEngine(t, actors.Options{Log: newMemory(t)})} },
			promise: "G2", mode: "Execute", what: "an operation runs although its revocation has returned",
		},
		"Decide remembers what was allowed": {
			make: func(t *testing.T) canary.Engine {
				return &cached{Engine: newEngine(t, actors.Options{Log: newMemory(t)}), allowed: true}
			},
			promise: "G4", mode: "Decide", what: "a decision names a revision before an update that had returned",
		},
		"Decide remembers what was denied": {
			make: func(t *testing.T) canary.Engine {
				return &cached{Engine: newEngine(t, actors.Options{Log: newMemory(t)})}
			},
			promise: "G4", mode: "Decide", what: "a decision names a revision before an update that had returned",
		},
		"Decide names older revisions": {
			make:    func(t *testing.T) canary.Engine { return relabeled{newEngine(t, actors.Options{Log: newMemory(t)})} },
			promise: "G4", mode: "Decide", what: "a decision names a revision before an update that had returned",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, log, stop := start(t, canary.Options{Engine: test.make(t)})
				pass(rounds * interval)
				stop()
				require.Error(t, c.Violation(), log.String())
				v, ok := c.Violation().(*canary.Violation)
				require.True(t, ok)
				require.Contains(t, log.String(), test.what)
				require.Equal(t, test.promise, v.Promise, v)
				if test.mode != "" {
					require.Equal(t, test.mode, v.Operation, v)
				}
				n := c.Counts()
				require.NotZero(t, n.Violated)
				require.GreaterOrEqual(t, n.Violations, n.Violated)
				require.Contains(t, log.String(), "level=ERROR")
				if test.also != "" {
					require.Contains(t, log.String(), "operation="+test.also)
				}
				t.Log(v)
			})
		})
	}
}
