package httpapi

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// door is where the connections of one server come in. No lock of it is on the path of a
// request.
type door struct {
	callers *Connections
	proxied *Proxied // nil unless proxies come in here
	limits  ConnectionLimits
	log     *slog.Logger
	conns   sync.Map // net.Conn to *connection
	open    atomic.Int64

	refused, aged, ended atomic.Uint64
	warned               atomic.Int64 // when the log spoke of refused ones last

	mu sync.Mutex
	of map[policy.Principal]int
}

// enter is called for each connection before its handshake.
func (d *door) enter(ctx context.Context, conn net.Conn) context.Context {
	c := &connection{door: d, conn: conn}
	if d.open.Add(1) > int64(d.limits.Max) {
		d.refuse("connections are refused: there are too many", slog.Int("limit", d.limits.Max), slog.String("peer", conn.RemoteAddr().String()))
		_ = conn.Close() // the server finds out at the handshake
	}
	c.aging = time.AfterFunc(jittered(d.limits.Age), c.age)
	d.conns.Store(conn, c)
	return context.WithValue(ctx, connectionKey{}, c)
}

// warnEvery is how often the log speaks of refused connections: whoever attacks by them is
// not to fill it.
const warnEvery = 10 * time.Second

// refuse counts a connection that is one too many.
func (d *door) refuse(why string, attrs ...any) {
	total := d.refused.Add(1)
	now, last := time.Now().UnixNano(), d.warned.Load()
	if now-last >= int64(warnEvery) && d.warned.CompareAndSwap(last, now) {
		d.log.Warn(why, append(attrs, slog.Uint64("refused so far", total))...)
	}
}

// jittered returns a duration, more or less by a tenth.
func jittered(d time.Duration) time.Duration {
	return d - d/10 + rand.N(max(d/5, 1))
}

// changed follows the state of a connection.
func (d *door) changed(conn net.Conn, state http.ConnState) {
	value, ok := d.conns.Load(conn)
	if !ok {
		return
	}
	c := value.(*connection)
	switch state {
	case http.StateActive:
		c.busy.Store(true)
		if !c.met {
			c.met = true
			c.meet()
		}
	case http.StateIdle:
		c.busy.Store(false)
		if c.fate.Load() == ended {
			c.close(lastFrames)
		}
	case http.StateHijacked, http.StateClosed:
		d.leave(c)
	}
}

// leave forgets a connection that is closed, or somebody else's.
func (d *door) leave(c *connection) {
	d.conns.Delete(c.conn)
	d.open.Add(-1)
	c.aging.Stop()
	d.mu.Lock()
	defer d.mu.Unlock()
	c.left = true
	if c.ending != nil {
		c.ending.Stop()
	}
	if !c.discounted {
		c.discount()
	}
}
