package gateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// Config is the routes and upstreams of a gateway. [New] and [Gateway.Use] check it.
type Config struct {
	// Upstreams are the servers that requests are sent to, by name.
	Upstreams map[string]Upstream
	// Routes are tried in this order. The first one that matches a request serves it.
	Routes []Route
}

// Protocol is the version of HTTP that an upstream speaks.
type Protocol string

// The protocols.
const (
	HTTP1 Protocol = "http1" // HTTP/1.1, the default
	HTTP2 Protocol = "http2" // HTTP/2, without TLS by prior knowledge
)

// Identity says how an upstream learns the caller's certificate.
type Identity string

// The headers with the caller's certificate. Interlock-Principal and Interlock-Revision are sent
// with each of them.
const (
	ClientCert Identity = "client-cert" // Client-Cert (RFC 9440), the default
	XFCC       Identity = "xfcc"        // X-Forwarded-Client-Cert with Hash, URI and Cert, as Envoy writes it
	NoCert     Identity = "none"        // no certificate
)

// Upstream is a group of servers with the same content. A zero field has the default in its
// comment.
type Upstream struct {
	// Addresses are host:port. Requests go to the healthy ones in turn.
	Addresses []string
	// TLS is for connections to the upstream, with its pinned CAs and the gateway's certificate.
	// Nil is plain HTTP.
	TLS      *tls.Config
	Protocol Protocol // HTTP1
	Identity Identity // ClientCert
	// ConnectTimeout bounds a connection with its handshake: 5 s.
	ConnectTimeout time.Duration
	// ResponseTimeout bounds the wait for the header of a response, after the request was sent:
	// 30 s. A response may then take any time.
	ResponseTimeout time.Duration
	// IdleTimeout closes connections that were not used for that long: 30 s. It must be shorter
	// than the upstream's own, because a request on a connection that the upstream closes fails.
	IdleTimeout time.Duration
	// MaxConnections bounds the connections to each address: 512. Requests over it get a 503. A
	// connection does not count after an upgrade.
	MaxConnections int
	// Linger bounds the wait for the upstream to close the connection of a canceled call: 250 ms.
	// Negative is no wait. It is for HTTP1 only.
	Linger time.Duration
	// Health checks the addresses. Without it, an address is healthy until a connection to it
	// fails, and again a few seconds later.
	Health *Health
}

// Health is how the addresses of an upstream are checked. An address is healthy if it answers
// with a status from 200 to 399. A zero field has the default in its comment.
type Health struct {
	Path     string        // "/"
	Interval time.Duration // 5 s
	Timeout  time.Duration // 2 s
}

// Source is where a property of the resource comes from.
type Source = routes.Source

// Route says what requests it serves, what they need, and where they are sent.
type Route struct {
	routes.Route
	// Upstream is the name of an upstream.
	Upstream string
	// Grace is the in-flight policy: how long a call may continue after it lost its authority.
	// Nil leaves it to the update, and 0 cancels at once. See [actors.Request].
	Grace *time.Duration
}

// maxGrace is the longest grace of a route.
const maxGrace = time.Hour

// withDefaults returns the upstream with all fields set.
func (u Upstream) withDefaults() Upstream {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&u.ConnectTimeout, 5*time.Second)
	set(&u.ResponseTimeout, 30*time.Second)
	set(&u.IdleTimeout, 30*time.Second)
	set(&u.Linger, 250*time.Millisecond)
	if u.MaxConnections == 0 {
		u.MaxConnections = 512
	}
	if u.Protocol == "" {
		u.Protocol = HTTP1
	}
	if u.Identity == "" {
		u.Identity = ClientCert
	}
	if u.Health != nil {
		h := *u.Health
		set(&h.Interval, 5*time.Second)
		set(&h.Timeout, 2*time.Second)
		if h.Path == "" {
			h.Path = "/"
		}
		u.Health = &h
	}
	return u
}

// check returns all faults of the configuration, but for those that only a router finds.
func (c *Config) check() error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(c.Upstreams)) {
		u := c.Upstreams[name]
		if err := u.check(); err != nil {
			faults = append(faults, fmt.Errorf("upstream %q: %w", name, err))
		}
	}
	for i, r := range c.Routes {
		if err := r.check(c); err != nil {
			faults = append(faults, fmt.Errorf("route %d (%s): %w", i+1, r.Path, err))
		}
	}
	return errors.Join(faults...)
}

func (u *Upstream) check() error {
	if len(u.Addresses) == 0 {
		return fmt.Errorf("%w: no addresses", policy.ErrInvalid)
	}
	for _, address := range u.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return fmt.Errorf("%w: address %q is not host:port", policy.ErrInvalid, address)
		}
	}
	switch {
	case u.Protocol != "" && u.Protocol != HTTP1 && u.Protocol != HTTP2:
		return fmt.Errorf("%w: protocol %q; it must be %s or %s", policy.ErrInvalid, u.Protocol, HTTP1, HTTP2)
	case u.Identity != "" && u.Identity != ClientCert && u.Identity != XFCC && u.Identity != NoCert:
		return fmt.Errorf("%w: identity %q; it must be %s, %s or %s", policy.ErrInvalid, u.Identity, ClientCert, XFCC, NoCert)
	case u.ConnectTimeout < 0, u.ResponseTimeout < 0, u.IdleTimeout < 0, u.MaxConnections < 0:
		return fmt.Errorf("%w: a timeout or the limit of connections is negative", policy.ErrInvalid)
	case u.Health != nil && (u.Health.Interval < 0 || u.Health.Timeout < 0):
		return fmt.Errorf("%w: a duration of health is negative", policy.ErrInvalid)
	case u.Health != nil && u.Health.Path != "" && !strings.HasPrefix(u.Health.Path, "/"):
		return fmt.Errorf("%w: health path %q does not begin with a slash", policy.ErrInvalid, u.Health.Path)
	}
	return nil
}

func (r *Route) check(c *Config) error {
	if _, found := c.Upstreams[r.Upstream]; !found {
		return fmt.Errorf("%w: there is no upstream %q", policy.ErrInvalid, r.Upstream)
	}
	if r.Grace != nil && (*r.Grace < 0 || *r.Grace > maxGrace) {
		return fmt.Errorf("%w: grace %v; it must be from 0s to %v", policy.ErrInvalid, *r.Grace, maxGrace)
	}
	return r.Check()
}
