package httpapi

import (
	"context"
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

// forwarded finds the caller that a proxy names; nil if this is no proxy's connection. It
// removes from the request what proxies, or who would like to be one, say of the client.
func (c *connection) forwarded(r *http.Request) *finding {
	if c == nil || c.door.proxied == nil {
		forwarded.Remove(r.Header)
		return nil
	}
	defer c.door.proxied.Reader.Remove(r.Header)
	proxy, err := c.door.callers.peerOf(r)
	if err != nil {
		return &finding{err: err}
	}
	if !slices.Contains(c.door.proxied.Proxies, proxy.Principal) {
		return &finding{err: notForwarded("%.120q is not one of the proxies that this listener is for; callers go to the other one", proxy.Principal.String())}
	}
	return c.behind.find(c.door, proxy, r.Header)
}

// viaProxy reports whether a request came through a proxy.
func viaProxy(ctx context.Context) bool {
	s := scopeOf(ctx)
	return s != nil && s.forwarded != nil
}

// maxSightings bounds the clients that are remembered for one connection of a proxy.
const maxSightings = 1024

// sightings remember the clients of one connection of a proxy, by what the proxy said of
// them: to verify a chain for each request would cost more than everything else. Requests
// take no lock: many clients share the connection.
type sightings struct {
	all   atomic.Pointer[sync.Map] // of text to *finding
	count atomic.Int32
}

// find finds the client in the headers of a request.
func (s *sightings) find(d *door, proxy *Caller, h http.Header) *finding {
	said, by := d.proxied.Reader.Text(h), d.callers.identifier.Load()
	if all := s.all.Load(); all != nil {
		if known, ok := all.Load(said); ok && known.(*finding).by == by {
			return known.(*finding)
		}
	}
	found := &finding{by: by}
	if found.caller, found.err = forwardedCaller(by, d.proxied, proxy, h); found.err == nil {
		s.remember(said, found)
	}
	return found
}

// remember forgets all others when there are too many.
func (s *sightings) remember(said string, found *finding) {
	all := s.all.Load()
	if all == nil || s.count.Add(1) > maxSightings {
		all = &sync.Map{}
		s.all.Store(all)
		s.count.Store(1)
	}
	all.Store(said, found)
}

func forwardedCaller(by *certs.Identifier, p *Proxied, proxy *Caller, h http.Header) (*Caller, error) {
	given, err := p.Reader.Chain(h)
	if err != nil {
		return nil, notForwarded("%v", err)
	}
	chain, err := by.Verify(given, time.Now())
	if err != nil {
		return nil, err
	}
	return identify(by, chain, proxy.Credential)
}

func notForwarded(format string, args ...any) error {
	return &certs.IdentityError{Reason: certs.ReasonNotForwarded, Detail: fmt.Sprintf(format, args...)}
}
