package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
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
