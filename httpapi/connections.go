package httpapi

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Connections is the [Identifier] for mutual TLS. It also manages the connections of the
// servers that it is attached to, which [NewServer] does: it examines the certificate of such a
// connection once, not once for each request. It is safe for concurrent use.
//
// It is the [actors.Connections] of an engine: in [actors.Options] it closes connections whose
// certificate is revoked.
type Connections struct {
	identifier atomic.Pointer[certs.Identifier]
	ended      atomic.Pointer[func(*actors.Credential) bool]

	mu      sync.Mutex
	servers []*serverConns

	chains identifiedChains // of connections of other servers

	issuers     sync.Map // policy.CertificateID of a CA in a chain, to nothing
	issuerCount atomic.Int32
}

// NewConnections identifies callers by id; nil for SPIFFE IDs only.
func NewConnections(id *certs.Identifier) *Connections {
	if id == nil {
		id = &certs.Identifier{}
	}
	c := &Connections{}
	c.Use(id)
	return c
}

// Use identifies callers by id from now on. An open connection is identified again at its next
// request.
func (c *Connections) Use(id *certs.Identifier) { c.identifier.Store(id) }

// identification is a caller, or why there is none, with the verified chain that it was read
// from and the identifier that read it.
type identification struct {
	chain  []*x509.Certificate
	by     *certs.Identifier
	caller *Caller
	err    error
}

// Identify implements [Identifier]. It reads the first verified chain of the request's TLS
// state and nothing else. The error wraps [certs.ErrNoIdentity] and says why there is no
// identity.
//
// On a server for proxies ([ServerOptions]) the caller is the client that the proxy names.
func (c *Connections) Identify(r *http.Request) (*Caller, error) {
	if client := forwardedCaller(r.Context()); client != nil {
		return client.caller, client.err
	}
	return c.peer(r.Context(), verifiedChain(r))
}

// IdentifyChain is [Connections.Identify] for a call of another protocol, such as gRPC. ctx is
// the context of the call. chain is the verified chain of its connection as crypto/tls made it,
// empty for none. The chain of a connection that is not one of an attached server is identified
// once as well: IdentifyChain recognizes the slice, so pass the same one for each call.
func (c *Connections) IdentifyChain(ctx context.Context, chain []*x509.Certificate) (*Caller, error) {
	if client := forwardedCaller(ctx); client != nil {
		return client.caller, client.err
	}
	if conn := connectionOf(ctx); len(chain) > 0 && (conn == nil || conn.server.callers != c) {
		id := c.chains.identify(c, chain)
		return id.caller, id.err
	}
	return c.peer(ctx, chain)
}

// peer returns the caller that made the connection.
func (c *Connections) peer(ctx context.Context, chain []*x509.Certificate) (*Caller, error) {
	if len(chain) == 0 {
		_, err := c.identifier.Load().Identify(nil)
		return nil, err
	}
	conn := connectionOf(ctx)
	if conn == nil || conn.server.callers != c {
		id := c.identify(chain)
		return id.caller, id.err
	}
	if conn.state.Load() == overLimit {
		return nil, web.NewProblem(http.StatusTooManyRequests, "too-many-connections", "Too many connections",
			"You have too many connections. Use the open ones.")
	}
	id := conn.identification.Load()
	if id == nil || id.chain[0] != chain[0] || id.by != c.identifier.Load() {
		id = c.identify(chain)
		conn.adopt(id)
	}
	return id.caller, id.err
}

func (c *Connections) identify(chain []*x509.Certificate) *identification {
	id := &identification{chain: chain, by: c.identifier.Load()}
	id.caller, id.err = CallerFromChain(id.by, chain)
	if id.err == nil {
		c.rememberIssuers(id.caller.Credential)
	}
	return id
}

// maxIssuers bounds the CAs that are remembered. Clients can bring chains of their own only below
// a trust anchor, so it is not reached in practice.
const maxIssuers = 10_000

// rememberIssuers remembers what stands above the leaf, which has the first two IDs.
func (c *Connections) rememberIssuers(leaf *actors.Credential) {
	for _, id := range leaf.IDs()[2:] {
		if _, known := c.issuers.Load(id); !known && c.issuerCount.Load() < maxIssuers {
			if _, known = c.issuers.LoadOrStore(id, nil); !known {
				c.issuerCount.Add(1)
			}
		}
	}
}

// IsIssuer reports whether a client's certificate depends on this one: it was above the leaf in
// the chain of a client, since the start.
func (c *Connections) IsIssuer(id policy.CertificateID) bool {
	_, known := c.issuers.Load(id)
	return known
}

func verifiedChain(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0]
}

// DefaultMaxConnections is the default of [ConnectionLimits.Max].
const DefaultMaxConnections = 16384

// ConnectionLimits bound the connections of one server. A zero field has the default in its
// comment.
type ConnectionLimits struct {
	// Max bounds the open connections, including those in their handshake: 16,384. Further
	// connections are closed at once.
	Max int
	// PerPrincipal bounds the connections of one principal: 1,024, and at most half of Max.
	// Requests on further connections are answered with 429.
	PerPrincipal int
	// UnauthenticatedTimeout closes connections that have not presented a client certificate that
	// gives an identity, and those over PerPrincipal: 10 s. A request in progress is finished
	// first. The connections without an identity, and those of one address before their handshake,
	// are at most a quarter of Max each. Further ones are closed at once.
	UnauthenticatedTimeout time.Duration
	// MaxAge closes connections of that age: 1 hour, plus or minus a random tenth. The next
	// answer closes the connection (GOAWAY with HTTP/2). Requests in progress are finished.
	MaxAge time.Duration
}

// leastShare is the least that a quarter of a limit of connections is.
const leastShare = 8

// ConnectionCounts count connections since the start.
type ConnectionCounts struct {
	// Open is the number of open connections.
	Open int64
	// Refused counts connections over a limit of a server or of a principal. MaxAge counts
	// connections that reached [ConnectionLimits.MaxAge]. Ended counts connections that were
	// closed because their credential ended, or because they presented none.
	Refused, MaxAge, Ended uint64
}

// Attach manages the connections of a server that does not serve yet: it identifies each once,
// bounds them, and closes them when their credential ends. [NewServer] calls it. It sets the
// server's ConnContext and ConnState, which must not be replaced.
func (c *Connections) Attach(server *http.Server, limits ConnectionLimits, log *slog.Logger) {
	c.attach(server, limits, nil, log)
}

func (c *Connections) attach(server *http.Server, limits ConnectionLimits, proxied *Proxied, log *slog.Logger) {
	s := &serverConns{
		callers: c, proxied: proxied, log: cmp.Or(log, slog.Default()), byPrincipal: map[policy.Principal]int{},
		limits: ConnectionLimits{
			Max: cmp.Or(limits.Max, DefaultMaxConnections), PerPrincipal: cmp.Or(limits.PerPrincipal, 1024),
			UnauthenticatedTimeout: cmp.Or(limits.UnauthenticatedTimeout, 10*time.Second),
			MaxAge:                 cmp.Or(limits.MaxAge, time.Hour),
		},
	}
	s.limits.PerPrincipal = min(s.limits.PerPrincipal, max(s.limits.Max/2, 1))
	quarter := max(s.limits.Max/4, leastShare)
	s.handshaking, s.nameless = share.New[string](math.MaxInt, quarter), share.New[struct{}](quarter, quarter)
	c.mu.Lock()
	c.servers = append(c.servers, s)
	c.mu.Unlock()
	server.ConnContext, server.ConnState = s.opened, s.stateChanged
}

// CloseEnded implements [actors.Connections].
func (c *Connections) CloseEnded(ended func(*actors.Credential) bool) int {
	c.ended.Store(&ended)
	closed := 0
	for conn := range c.all() {
		if conn.closeIf(ended) {
			closed++
		}
	}
	return closed
}

// Reidentify identifies all callers again that another identifier than the current one
// identified: those of connections, those of [Connections.IdentifyChain], and the clients that
// proxies have named. It closes the connections of callers that no longer have an identity, on the
// servers that it is attached to, and returns their credentials.
func (c *Connections) Reidentify() []*actors.Credential {
	var lost []*actors.Credential
	by := c.identifier.Load()
	again := func(known *identification) (now *identification) {
		if known == nil || known.err != nil || known.by == by {
			return nil
		}
		now = c.identify(known.chain)
		if now.err != nil {
			lost = append(lost, known.caller.Credential)
		}
		return now
	}
	for conn := range c.all() {
		if now := again(conn.identification.Load()); now != nil && now.err != nil {
			conn.identification.Store(now)
			conn.end()
		}
		conn.clients.each(func(known *identification) { again(known) })
	}
	c.chains.each(func(known *identification) { again(known) })
	return lost
}

// Counts sums the counts of all servers.
func (c *Connections) Counts() ConnectionCounts {
	var sum ConnectionCounts
	for _, s := range c.allServers() {
		sum.Open += s.open.Load()
		sum.Refused += s.refused.Load()
		sum.MaxAge += s.maxAge.Load()
		sum.Ended += s.ended.Load()
	}
	return sum
}

// all calls yield with each connection of all servers.
func (c *Connections) all() func(yield func(*connection) bool) {
	return func(yield func(*connection) bool) {
		for _, s := range c.allServers() {
			more := true
			s.conns.Range(func(_, value any) bool {
				more = yield(value.(*connection))
				return more
			})
			if !more {
				return
			}
		}
	}
}

func (c *Connections) allServers() []*serverConns {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers
}
