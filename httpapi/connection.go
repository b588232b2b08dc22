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
	// Strange is for how long a connection is kept by which nobody has presented a certificate:
	// 10 s, and what is under way then goes on to its end.
	Strange time.Duration
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
	// they had their age; Ended when their credential ended, or none had come.
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
			Max: cmp.Or(limits.Max, 16384), PerPrincipal: cmp.Or(limits.PerPrincipal, 1024),
			Strange: cmp.Or(limits.Strange, 10*time.Second), Age: cmp.Or(limits.Age, time.Hour),
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

// Disowned looks at all callers anew, if they have to be identified in another way than they
// were, and returns the credentials of those who were somebody and are nobody now: of
// connections, and of clients that a proxy has named by one.
func (c *Connections) Disowned() []*actors.Credential {
	var lost []*actors.Credential
	by := c.identifier.Load()
	look := func(known *finding) (now *finding) {
		if known == nil || known.err != nil || known.by == by {
			return nil
		}
		now = c.find(known.chain)
		if now.err != nil {
			lost = append(lost, known.caller.Credential)
		}
		return now
	}
	for _, d := range c.all() {
		d.conns.Range(func(_, value any) bool {
			conn := value.(*connection)
			if now := look(conn.found.Load()); now != nil && now.err != nil {
				conn.found.Store(now)
				conn.end()
			}
			conn.behind.each(func(known *finding) { look(known) })
			return true
		})
	}
	return lost
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
	left       bool
	counted    *policy.Principal // as whose it counts, or has counted
	discounted bool              // it counts no more
	ending     *time.Timer       // for the end of the certificate, or of waiting for one
}

// What is to become of a connection.
const (
	stands  int32 = iota
	aged          // the next answer closes it
	crowded       // the same: its principal has too many
	ended         // the same, or nothing if it is idle: its credential has ended, or none has come
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
	if !c.discounted {
		c.discount()
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
		c.endAfter(c.door.limits.Strange)
		return
	}
	c.adopt(c.door.callers.find(state.VerifiedChains[0]))
}

// adopt takes a finding for the connection's own. A connection counts as its caller's from the
// first that is one, and lives no longer than that one's certificate.
func (c *connection) adopt(found *finding) {
	c.found.Store(found)
	if found.err != nil {
		return
	}
	fresh, counts := c.count(found.caller)
	if !counts {
		c.doom(crowded)
		c.door.refuse("a principal has too many connections", slog.Int("limit", c.door.limits.PerPrincipal),
			slog.String("principal", found.caller.Principal.String()))
	}
	if fresh {
		c.watchEnd(found.caller.Credential)
	}
}

// watchEnd closes the connection when the credential ends, if it has not by now.
func (c *connection) watchEnd(credential *actors.Credential) {
	ended := c.door.callers.ended.Load()
	if ended == nil { // there is no engine to ask
		c.endAfter(time.Until(credential.NotAfter()))
		return
	}
	if (*ended)(credential) {
		c.end()
		return
	}
	// The engine's time may be behind: nothing is closed that a turn would still admit.
	left := max(time.Until(credential.NotAfter()), endedAgain)
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left {
		c.ending = time.AfterFunc(left, func() { c.watchEnd(credential) })
	}
}

// endedAgain is how often an engine is asked whose time is behind.
const endedAgain = 100 * time.Millisecond

// count adds the connection to those of its principal, once, and reports whether that may
// have it.
func (c *connection) count(caller *Caller) (fresh, counts bool) {
	d := c.door
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.left || c.counted != nil {
		return false, true
	}
	c.counted = &caller.Principal
	if c.discounted {
		return true, true
	}
	d.of[caller.Principal]++
	return true, d.of[caller.Principal] <= d.limits.PerPrincipal
}

// discount takes the connection from those of its principal. The door's lock is the caller's.
func (c *connection) discount() {
	if c.counted == nil {
		return
	}
	of := c.door.of
	if of[*c.counted]--; of[*c.counted] <= 0 {
		delete(of, *c.counted)
	}
}

// endAfter ends the connection after a while, unless it has gone by then.
func (c *connection) endAfter(left time.Duration) {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left {
		c.ending = time.AfterFunc(left, func() { c.end() })
	}
}

// age has the next answer be the last. The principal may have another connection for it.
func (c *connection) age() {
	c.door.mu.Lock()
	defer c.door.mu.Unlock()
	if !c.left && c.doom(aged) {
		c.door.aged.Add(1)
		c.discount()
		c.discounted = true
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

// goAway is a frame of HTTP/2 (RFC 9113, section 6.8): no further requests, and no error. What
// the client has sent until it reads this is answered still.
var goAway = []byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}

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
