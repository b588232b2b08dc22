package httpapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// ConnectionLimits bound the connections of one server. What is zero gets the value that
// stands in its comment.
type ConnectionLimits struct {
	// Max bounds the open connections, those in their handshake included: 16,384. A further
	// one is closed at once.
	Max int
	// PerPrincipal bounds the connections of one principal: 1,024. Requests on a further one
	// are answered with 429.
	PerPrincipal int
	// Age is for how long a connection is used, more or less by a tenth, so that those which
	// were made together do not end together: 1 hour. The next answer then closes it (HTTP/2:
	// GOAWAY), and what is under way goes on to its end.
	Age time.Duration
}

// ConnectionCounts is what has become of connections since the start.
type ConnectionCounts struct {
	// Open are open now.
	Open int64
	// Refused were one too many, of a server or of a principal; Aged were told to close when
	// they had their age; Ended when their credential ended.
	Refused, Aged, Ended uint64
}

// Attach looks after the connections of a server, which must not serve yet: it identifies
// each once, bounds them, and closes them when their credential ends. [NewServer] does it.
// The server's ConnContext and ConnState are used for it and must not be replaced.
func (c *Connections) Attach(server *http.Server, limits ConnectionLimits, log *slog.Logger) {
	c.attach(server, limits, nil, log)
}

func (c *Connections) attach(server *http.Server, limits ConnectionLimits, proxied *Proxied, log *slog.Logger) {
	d := &door{
		callers: c, proxied: proxied, log: cmp.Or(log, slog.Default()), of: map[policy.Principal]int{},
		limits: ConnectionLimits{
			Max: cmp.Or(limits.Max, 16384), PerPrincipal: cmp.Or(limits.PerPrincipal, 1024), Age: cmp.Or(limits.Age, time.Hour),
		},
	}
	c.mu.Lock()
	c.doors = append(c.doors, d)
	c.mu.Unlock()
	server.ConnContext, server.ConnState = d.enter, d.changed
}

// CloseEnded implements [actors.Connections].
func (c *Connections) CloseEnded(ended func(*actors.Credential) bool) int {
	c.ended.Store(&ended)
	closed := 0
	for _, d := range c.all() {
		d.conns.Range(func(_, value any) bool {
			if value.(*connection).closeIf(ended) {
				closed++
			}
			return true
		})
	}
	return closed
}

// Counts returns what is known of the connections of all servers.
func (c *Connections) Counts() ConnectionCounts {
	var sum ConnectionCounts
	for _, d := range c.all() {
		sum.Open += d.open.Load()
		sum.Refused += d.refused.Load()
		sum.Aged += d.aged.Load()
		sum.Ended += d.ended.Load()
	}
	return sum
}

func (c *Connections) all() []*door {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doors
}

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

// connectionKey is the context's key of a *connection.
type connectionKey struct{}

// connection is one of them. What is found of its caller is found once.
type connection struct {
	door   *door
	conn   net.Conn
	found  atomic.Pointer[finding]
	fate   atomic.Int32
	busy   atomic.Bool // a request is under way
	met    bool        // the server\'s own goroutine for the connection alone uses it
	once   sync.Once   // closes it
	aging  *time.Timer
	behind sightings // the clients of a proxy

	// Under the lock of the door.
	left    bool
	counted *policy.Principal // as whose it counts
	ending  *time.Timer       // for the end of the certificate
}

// What is to become of a connection.
const (
	stands  int32 = iota
	aged          // the next answer closes it
	crowded       // the same: its principal has too many
	ended         // the same, or nothing if it is idle: its credential has ended
)

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
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
	if c.counted == nil {
		return
	}
	if d.of[*c.counted]--; d.of[*c.counted] == 0 {
		delete(d.of, *c.counted)
	}
}

// meet finds the caller, when the handshake is over.
func (c *connection) meet() {
	secure, ok := c.conn.(*tls.Conn)
	if !ok {
		return
	}
	state := secure.ConnectionState()
	if len(state.VerifiedChains) == 0 {
		return
	}
	found := c.door.callers.find(state.VerifiedChains[0])
	c.found.Store(found)
	if found.err != nil {
		return
	}
	if !c.count(found.caller) {
		c.doom(crowded)
		c.door.refuse("a principal has too many connections", slog.Int("limit", c.door.limits.PerPrincipal),
			slog.String("principal", found.caller.Principal.String()))
	}
	if ended := c.door.callers.ended.Load(); ended != nil {
		c.closeIf(*ended)
	}
}

// count adds the connection to those of its principal, and reports whether that may have it.
func (c *connection) count(caller *Caller) bool {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.left {
		return true
	}
	c.counted = &caller.Principal
	d.of[caller.Principal]++
	c.ending = time.AfterFunc(time.Until(caller.Credential.NotAfter()), func() { c.end() })
	return d.of[caller.Principal] <= d.limits.PerPrincipal
}

func (c *connection) age() {
	if c.doom(aged) {
		c.door.aged.Add(1)
	}
}

// doom decides what becomes of the connection; the last word is the worst.
func (c *connection) doom(fate int32) bool {
	for {
		now := c.fate.Load()
		if now >= fate {
			return false
		}
		if c.fate.CompareAndSwap(now, fate) {
			return true
		}
	}
}

// closeIf closes the connection if its credential has ended, and reports whether it did.
func (c *connection) closeIf(ended func(*actors.Credential) bool) bool {
	found := c.found.Load()
	return found != nil && found.err == nil && ended(found.caller.Credential) && c.end()
}

// end closes the connection: at once if it is idle, else when what is under way is over.
func (c *connection) end() bool {
	if !c.doom(ended) {
		return false
	}
	c.door.ended.Add(1)
	if !c.busy.Load() {
		c.close(0)
	}
	return true
}

const (
	// lastFrames is the time that net/http needs to write the end of an answer of HTTP/2
	// after it has called the connection idle.
	lastFrames = 100 * time.Millisecond
	// farewell is the time that a client of HTTP/2 has to read what it is told at the end, and
	// to close the connection itself.
	farewell = time.Second
)

// goAway is a frame of HTTP/2 (RFC 9113, section 6.8): there is no error, and what was sent
// and not answered so far may be sent anew elsewhere. That is true of an ended credential,
// by which nothing is done any more.
var goAway = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

// close closes an idle connection after a while; it does not wait for that.
func (c *connection) close(after time.Duration) {
	c.once.Do(func() { time.AfterFunc(after, c.sayFarewell) })
}

func (c *connection) sayFarewell() {
	if secure, ok := c.conn.(*tls.Conn); !ok || secure.ConnectionState().NegotiatedProtocol != "h2" {
		_ = c.conn.Close()
		return
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(farewell))
	_, _ = c.conn.Write(goAway) // who cannot be told sees the end all the same
	time.AfterFunc(farewell, func() { _ = c.conn.Close() })
}

// closing reports whether an answer has to say that it is the connection's last.
func (c *connection) closing() bool { return c != nil && c.fate.Load() != stands }
