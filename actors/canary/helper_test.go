package canary_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/canary"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const interval = 10 * time.Second

var probe = policy.MustPrincipal("interlock-canary:server")

func newEngine(t testing.TB, o actors.Options) *actors.Engine {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := actors.New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Close(ctx))
	})
	return e
}

// start runs a canary until the returned function is called, or the test ends.
func start(t testing.TB, o canary.Options) (c *canary.Canary, log *lines, stop func()) {
	t.Helper()
	log = &lines{}
	o.Logger = slog.New(slog.NewTextHandler(log, nil))
	if o.Interval == 0 {
		o.Interval = interval
	}
	c, err := canary.New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	t.Cleanup(stop)
	return c, log, stop
}

// lines are the lines of a log.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

func update(t testing.TB, e *actors.Engine, changes ...policy.Change) {
	t.Helper()
	_, err := e.Update(t.Context(), actors.Update{Changes: changes})
	require.NoError(t, err)
}

// memory is a log in memory that keeps the policy of every revision.
type memory struct {
	*oplog.Memory
	mu    sync.Mutex
	drawn []policy.View // by revision; the first is empty
}

func newMemory(t testing.TB) *memory {
	m := &memory{Memory: oplog.NewMemory()}
	require.NoError(t, oplog.NewMemory().View(func(empty policy.View) { m.drawn = []policy.View{empty} }))
	return m
}

func (m *memory) Open(events oplog.Events) (oplog.InitialState, error) {
	deliver := events.Deliver
	events.Deliver = func(list []oplog.Outcome) {
		m.mu.Lock()
		for _, o := range list {
			if !o.Applied() {
				continue
			}
			d := policy.NewDraft(m.drawn[len(m.drawn)-1], o.Revision)
			for _, c := range o.Change.Changes {
				if err := d.Apply(c); err != nil {
					panic(err)
				}
			}
			m.drawn = append(m.drawn, d)
		}
		m.mu.Unlock()
		deliver(list)
	}
	return m.Memory.Open(events)
}

func (m *memory) At(revision uint64, look func(policy.View)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	look(m.drawn[revision])
	return nil
}

func (m *memory) Entries(uint64, func(*oplog.Entry) bool) error { return oplog.ErrNoHistory }

func (m *memory) Oldest() uint64 { return 1 }
