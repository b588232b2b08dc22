package observe_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

// page collects what a logger writes.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
	stop chan struct{} // a write waits until it is closed; nil for no wait
}

func (p *page) Write(data []byte) (int, error) {
	if p.stop != nil {
		<-p.stop
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(data)
}

// lines returns the lines with a message, without time and level.
func (p *page) lines(t testing.TB, message string) (all []map[string]any) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for text := range strings.Lines(p.text.String()) {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		if line["msg"] == message {
			require.Equal(t, "INFO", line["level"])
			delete(line, "time")
			delete(line, "level")
			delete(line, "msg")
			all = append(all, line)
		}
	}
	return all
}

func newLog(t testing.TB, o observe.LogOptions) *observe.Log {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := observe.NewLog(o)
	t.Cleanup(l.Close)
	return l
}

// newPage returns a page and a log that writes there.
func newPage(t testing.TB, o observe.LogOptions) (*page, *observe.Log) {
	p := &page{}
	o.Logger = slog.New(slog.NewJSONHandler(p, nil))
	return p, newLog(t, o)
}

type requestKey struct{}

func TestLog_Denials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := newPage(t, observe.LogOptions{RequestID: func(ctx context.Context) string {
			id, _ := ctx.Value(requestKey{}).(string)
			return id
		}})
		e := newEngine(t, l)
		require.NoError(t, e.Execute(t.Context(), write(alice, "orders/1"), nothing))
		require.Error(t, e.Execute(context.WithValue(t.Context(), requestKey{}, "r-1"), write(alice, "bills/\n1"), nothing))
		require.Error(t, e.Execute(t.Context(), write(policy.MustPrincipal("user:eve"), "orders/1"), nothing))
		synctest.Wait()
		require.Equal(t, []map[string]any{
			{"principal": "user:alice", "action": "orders:write", "resource": "bills/\n1", "allowed": false, "reason": "no-permission", "revision": 1.0, "request": "r-1"},
			{"principal": "user:eve", "action": "orders:write", "resource": "orders/1", "allowed": false, "reason": "unknown-principal", "revision": 1.0},
		}, p.lines(t, "decision"))
	})
}

func TestLog_All(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := newPage(t, observe.LogOptions{All: true})
		e := newEngine(t, l)
		require.NoError(t, e.Execute(t.Context(), write(alice, "orders/1"), nothing))
		synctest.Wait()
		require.Equal(t, []map[string]any{
			{"principal": "user:alice", "action": "orders:write", "resource": "orders/1", "allowed": true, "reason": "allowed", "revision": 1.0, "role": "writer"},
		}, p.lines(t, "decision"))
	})
}

// A log of denials that is joined with a log of everything stays one of denials.
func TestLog_Joined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		denials, first := newPage(t, observe.LogOptions{})
		everything, second := newPage(t, observe.LogOptions{All: true})
		e := newEngine(t, observe.Join(first, second))
		require.NoError(t, e.Execute(t.Context(), write(alice, "orders/1"), nothing))
		require.Error(t, e.Execute(t.Context(), write(alice, "bills/1"), nothing))
		synctest.Wait()
		require.Len(t, denials.lines(t, "decision"), 1)
		require.Len(t, everything.lines(t, "decision"), 2)
	})
}

// Lines over the limit are counted by reason. The next second has its own lines.
func TestLog_IsThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := newPage(t, observe.LogOptions{PerSecond: 3})
		e := newEngine(t, l)
		deny := func() { require.Error(t, e.Execute(t.Context(), write(alice, "bills/1"), nothing)) }
		for range 10 {
			deny()
		}
		require.Error(t, e.Execute(t.Context(), write(policy.MustPrincipal("user:eve"), "orders/1"), nothing))
		synctest.Wait()
		require.Len(t, p.lines(t, "decision"), 3)
		require.Empty(t, p.lines(t, "decisions left out of the log"))
		pass(time.Second)
		left := []map[string]any{{"no-permission": 7.0, "unknown-principal": 1.0}}
		require.Equal(t, left, p.lines(t, "decisions left out of the log"))
		deny()
		pass(time.Second)
		require.Len(t, p.lines(t, "decision"), 4)
		require.Equal(t, left, p.lines(t, "decisions left out of the log"), "nothing more was left out")
	})
}

// A logger that does not return delays no turn, and what it misses is counted.
func TestLog_ASlowLoggerDelaysNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &page{stop: make(chan struct{})}
		l := observe.NewLog(observe.LogOptions{Logger: slog.New(slog.NewJSONHandler(p, nil)), PerSecond: 5})
		e := newEngine(t, l)
		before := time.Now()
		const denials, updates = 50, 2000 // more than the buffer has room for
		for range updates {
			_, err := e.Update(t.Context(), revokeWriter(bob))
			require.NoError(t, err)
		}
		for range denials {
			require.Error(t, e.Execute(t.Context(), write(alice, "bills/1"), nothing))
		}
		require.Equal(t, before, time.Now(), "nothing has waited")
		close(p.stop)
		l.Close()
		require.Empty(t, p.lines(t, "decision"), "updates have filled the buffer")
		left := p.lines(t, "decisions left out of the log")
		require.Len(t, left, 1)
		require.EqualValues(t, denials, left[0]["no-permission"])
		require.EqualValues(t, updates-len(p.lines(t, "update")), left[0]["updates"])
	})
}

func TestLog_Updates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := newPage(t, observe.LogOptions{})
		e := newEngine(t, l)
		lease, err := e.Admit(t.Context(), write(alice, "orders/1"))
		require.NoError(t, err)
		var revoking sync.WaitGroup
		revoking.Go(func() {
			u := revokeWriter(alice)
			u.Author = oplog.Author{Principal: bob, Credential: "5f0c"}
			_, err := e.Update(t.Context(), u)
			require.NoError(t, err)
		})
		pass(2 * time.Second)
		require.Empty(t, p.lines(t, "update"))
		lease.Release()
		revoking.Wait()
		synctest.Wait()
		require.Equal(t, []map[string]any{{
			"author": "user:bob", "certificate": "5f0c", "revision": 2.0, "changes": 1.0, "quiesced-after": 2e9, "ended": 1.0,
		}}, p.lines(t, "update"))
	})
}

func TestLog_CloseWritesWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, l := newPage(t, observe.LogOptions{PerSecond: 1})
		e := newEngine(t, l)
		for range 3 {
			require.Error(t, e.Execute(t.Context(), write(alice, "bills/1"), nothing))
		}
		l.Close()
		l.Close()
		require.Len(t, p.lines(t, "decision"), 1)
		require.Equal(t, []map[string]any{{"no-permission": 2.0}}, p.lines(t, "decisions left out of the log"))
	})
}

var _ actors.Observer = (*observe.Log)(nil)
