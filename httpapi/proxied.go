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

// Proxied says how clients come through proxies that end their TLS. Such a server believes a
// header: of a proxy that identifies itself by mutual TLS and is named here, and of nobody
// else. The certificate in it is looked at as one of a handshake is: its chain is verified by
// the authorities that the identifier of the server's [Connections] stands under, and dates
// and revocation are looked at in the turn, the proxy's own too.
type Proxied struct {
	Reader  *forwarded.Reader
	Proxies []policy.Principal
}

// forwarded finds the caller that a proxy names, and removes from the request what proxies, or
// who would like to be one, say of the client.
func (p *Proxied) forwarded(c *connection, r *http.Request) *finding {
	defer p.Reader.Remove(r.Header)
	if c == nil || c.door.proxied != p {
		return &finding{err: notForwarded("the server does not look after its connections (its ConnContext was replaced), and so believes no proxy")}
	}
	proxy, err := c.door.callers.peerOf(r)
	if err != nil {
		return &finding{err: err}
	}
	if !slices.Contains(p.Proxies, proxy.Principal) {
		return &finding{err: notForwarded("%.120q is not one of the proxies that this listener is for; callers go to the other one", proxy.Principal.String())}
	}
	return c.behind.find(c.door, proxy, r.Header)
}

// viaProxy reports whether a request came through a proxy that is known.
func viaProxy(ctx context.Context) bool {
	s := scopeOf(ctx)
	return s != nil && s.forwarded != nil && s.forwarded.by != nil
}

// maxSightings bounds the clients that are remembered for one connection of a proxy.
const maxSightings = 1024

// sightings remember the clients of one connection of a proxy, by what the proxy said of
// them: to verify a chain for each request would cost more than everything else. Requests
// take no lock: many clients share the connection.
type sightings struct {
	all   atomic.Pointer[sync.Map] // of the SHA-256 of the text to *finding
	count atomic.Int32
}

// find finds the client in the headers of a request.
func (s *sightings) find(d *door, proxy *Caller, h http.Header) *finding {
	said, by := sha256.Sum256([]byte(d.proxied.Reader.Text(h))), d.callers.identifier.Load()
	if all := s.all.Load(); all != nil {
		if known, ok := all.Load(said); ok && known.(*finding).by == by {
			return known.(*finding)
		}
	}
	found := &finding{by: by}
	if found.chain, found.caller, found.err = forwardedCaller(by, d.proxied, proxy, h); found.err == nil {
		s.remember(said, found)
	}
	return found
}

// remember forgets all others when there are too many.
func (s *sightings) remember(said [sha256.Size]byte, found *finding) {
	all := s.all.Load()
	if all == nil || s.count.Add(1) > maxSightings {
		all = &sync.Map{}
		s.all.Store(all)
		s.count.Store(1)
	}
	all.Store(said, found)
}

// each calls look with those that are remembered.
func (s *sightings) each(look func(*finding)) {
	if all := s.all.Load(); all != nil {
		all.Range(func(_, known any) bool {
			look(known.(*finding))
			return true
		})
	}
}

func forwardedCaller(by *certs.Identifier, p *Proxied, proxy *Caller, h http.Header) ([]*x509.Certificate, *Caller, error) {
	given, err := p.Reader.Chain(h)
	if err != nil {
		return nil, nil, notForwarded("%v", err)
	}
	chain, err := by.Verify(given, time.Now())
	if err != nil {
		return nil, nil, err
	}
	caller, err := identify(by, chain, proxy.Credential)
	return chain, caller, err
}

func notForwarded(format string, args ...any) error {
	return &certs.IdentityError{Reason: certs.ReasonNotForwarded, Detail: fmt.Sprintf(format, args...)}
}
