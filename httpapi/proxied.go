package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
)

// Proxied makes a server accept clients of proxies that terminate TLS. The server trusts the
// header of a proxy only if mutual TLS identifies the proxy as one of Proxies. The certificate
// in the header is treated as one of a handshake: its chain is verified against the trust
// anchors of the identifier of [Connections]. The turn examines validity and revocation, also
// of the proxy's own certificate.
type Proxied struct {
	Reader  *forwarded.Reader
	Proxies []policy.Principal
}

// forwardedKey is the context key of the *identification of a proxy's client.
type forwardedKey struct{}

// forwardedCaller returns the client that a proxy names, nil on a server without proxies.
func forwardedCaller(ctx context.Context) *identification {
	id, _ := ctx.Value(forwardedKey{}).(*identification)
	return id
}

// identify identifies the client that a proxy names. It removes the identity headers from the
// request.
func (p *Proxied) identify(c *connection, r *http.Request) *identification {
	defer p.Reader.Remove(r.Header)
	if c == nil || c.server.proxied != p {
		return &identification{err: notForwarded("the server's ConnContext was replaced, so that it cannot identify proxies")}
	}
	return p.find(r.Context(), c, verifiedChain(r), r.Header)
}

// find identifies the client in the headers. chain is the verified chain of the connection.
func (p *Proxied) find(ctx context.Context, c *connection, chain []*x509.Certificate, h http.Header) *identification {
	proxy, err := c.server.callers.peer(ctx, chain)
	if err != nil {
		return &identification{err: err}
	}
	if !slices.Contains(p.Proxies, proxy.Principal) {
		return &identification{err: notForwarded("%.120q is not one of the proxies of this listener; callers use the other one", proxy.Principal.String())}
	}
	return c.clients.find(c.server, proxy, h)
}

// IdentifyForwarded identifies the client in the headers that a proxy has put into a message of
// another protocol, such as ext_authz. ctx is the context of the call that brought the message. Its
// connection must be one of a server for proxies that c is attached to, and its peer one of the
// proxies. The headers are read as those of a request to that server, and not changed. The error
// wraps [certs.ErrNoIdentity].
func (c *Connections) IdentifyForwarded(ctx context.Context, h http.Header) (*Caller, error) {
	conn := connectionOf(ctx)
	if conn == nil || conn.server.callers != c || conn.server.proxied == nil {
		return nil, notForwarded("the connection is not one of a listener for proxies")
	}
	id := conn.server.proxied.find(ctx, conn, conn.verifiedChain(), h)
	return id.caller, id.err
}

// maxForwardedClients bounds the clients that are remembered for one connection of a proxy.
const maxForwardedClients = 1024

// forwardedClients remembers the clients of one connection of a proxy, by the text of the
// proxy's header: verifying a chain for each request would be the largest cost. Requests take
// no lock: many clients share the connection.
type forwardedClients struct {
	all   atomic.Pointer[sync.Map] // SHA-256 of the text to *identification
	count atomic.Int32
}

// find identifies the client in the headers of a request.
func (f *forwardedClients) find(s *serverConns, proxy *Caller, h http.Header) *identification {
	text, by := sha256.Sum256([]byte(s.proxied.Reader.Text(h))), s.callers.identifier.Load()
	if all := f.all.Load(); all != nil {
		if known, ok := all.Load(text); ok && known.(*identification).by == by {
			return known.(*identification)
		}
	}
	id := &identification{by: by}
	if id.chain, id.caller, id.err = clientOf(by, s.proxied, proxy, h); id.err == nil {
		f.remember(text, id)
	}
	return id
}

// remember forgets all others when there are too many.
func (f *forwardedClients) remember(text [sha256.Size]byte, id *identification) {
	all := f.all.Load()
	if all == nil || f.count.Add(1) > maxForwardedClients {
		all = &sync.Map{}
		f.all.Store(all)
		f.count.Store(1)
	}
	all.Store(text, id)
}

// each calls visit with each client that is remembered.
func (f *forwardedClients) each(visit func(*identification)) {
	if all := f.all.Load(); all != nil {
		all.Range(func(_, known any) bool {
			visit(known.(*identification))
			return true
		})
	}
}

// clientOf verifies the chain in the headers and identifies its caller.
func clientOf(by *certs.Identifier, p *Proxied, proxy *Caller, h http.Header) ([]*x509.Certificate, *Caller, error) {
	given, err := p.Reader.Chain(h)
	if err != nil {
		return nil, nil, notForwarded("%v", err)
	}
	chain, err := by.Verify(given, time.Now())
	if err != nil {
		return nil, nil, err
	}
	caller, err := callerVia(by, chain, proxy.Credential)
	return chain, caller, err
}

func notForwarded(format string, args ...any) error {
	return &certs.IdentityError{Reason: certs.ReasonNotForwarded, Detail: fmt.Sprintf(format, args...)}
}
