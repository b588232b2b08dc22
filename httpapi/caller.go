package httpapi

import (
	"crypto/x509"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
)

// Caller is who sent a request, by its verified client certificate. It is immutable and
// shared by the requests of a connection.
type Caller struct {
	Principal policy.Principal
	// Credential is the certificate as the engine's turn looks at it: put it into every
	// [actors.Request] that is made in the caller's name.
	Credential *actors.Credential
	Identity   certs.Identity
}

// Request is the engine's request in which the caller asks for itself.
func (c *Caller) Request(action, resource string) actors.Request {
	return actors.Request{Principal: c.Principal, Credential: c.Credential, Action: action, Resource: resource}
}

// Connections finds the caller of a request, and knows the connections of the servers that
// it is attached to, as [NewServer] attaches it: with these the certificate is looked at
// once for each connection, without once for each request. It is safe for concurrent use.
//
// It is the [actors.Connections] of an engine: given to that, connections are closed when
// their certificate is revoked.
type Connections struct {
	identifier atomic.Pointer[certs.Identifier]
	ended      atomic.Pointer[func(*actors.Credential) bool]

	mu    sync.Mutex
	doors []*door
}

// NewConnections identifies callers by id; nil knows SPIFFE IDs only.
func NewConnections(id *certs.Identifier) *Connections {
	if id == nil {
		id = &certs.Identifier{}
	}
	c := &Connections{}
	c.Use(id)
	return c
}

// Use identifies callers by id from now on, those of connections that stand already too:
// each is looked at anew at its next request.
func (c *Connections) Use(id *certs.Identifier) { c.identifier.Store(id) }

// finding is a caller, or why there is none, and the verified chain that it was read from.
type finding struct {
	chain  []*x509.Certificate
	by     *certs.Identifier
	caller *Caller
	err    error
}

// CallerFrom returns who sent r, read from the first verified chain of its TLS state and
// from nowhere else. The error wraps [certs.ErrNoIdentity] and says why there is no
// identity; [WriteProblem] makes a 401 of it. Neither validity nor revocation is looked
// at here: the engine does that in the turn, from [Caller.Credential].
//
// On a server for proxies ([ServerOptions]) it is the client that the proxy names.
func (c *Connections) CallerFrom(r *http.Request) (*Caller, error) {
	if s := scopeOf(r.Context()); s != nil && s.forwarded != nil {
		return s.forwarded.caller, s.forwarded.err
	}
	return c.peerOf(r)
}

// peerOf returns who has made the connection.
func (c *Connections) peerOf(r *http.Request) (*Caller, error) {
	chain := verifiedChain(r)
	if len(chain) == 0 {
		_, err := c.identifier.Load().Identify(nil)
		return nil, err
	}
	conn := connectionOf(r.Context())
	if conn == nil || conn.door.callers != c {
		found := c.find(chain)
		return found.caller, found.err
	}
	if conn.fate.Load() == crowded {
		return nil, problem(http.StatusTooManyRequests, "too-many-connections", "Too many connections",
			"You have too many connections; use those that you have.")
	}
	found := conn.found.Load()
	if found == nil || found.chain[0] != chain[0] || found.by != c.identifier.Load() {
		found = c.find(chain)
		conn.adopt(found)
	}
	return found.caller, found.err
}

// find looks at a verified chain.
func (c *Connections) find(chain []*x509.Certificate) *finding {
	f := &finding{chain: chain, by: c.identifier.Load()}
	f.caller, f.err = identify(f.by, chain)
	return f
}

func verifiedChain(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0]
}

// identify looks at a verified chain, which is worth nothing without the credential of a
// proxy, if there is one in between.
func identify(by *certs.Identifier, chain []*x509.Certificate, proxy ...*actors.Credential) (*Caller, error) {
	identity, err := by.Identify(chain)
	if err != nil {
		return nil, err
	}
	who, err := policy.ParsePrincipal(identity.Name)
	if err != nil {
		return nil, &certs.IdentityError{
			Reason: certs.ReasonMalformedName,
			Detail: "the certificate's name cannot be a principal; issue it with a shorter one of printable characters",
		}
	}
	credential, err := credentialOf(chain, proxy...)
	if err != nil {
		return nil, err
	}
	return &Caller{Principal: who, Identity: identity, Credential: credential}, nil
}

// credentialOf is the leaf, which depends on all that stand above it, and on others.
func credentialOf(chain []*x509.Certificate, others ...*actors.Credential) (*actors.Credential, error) {
	all, err := certs.CredentialsOf(chain)
	if err != nil {
		return nil, err
	}
	for _, c := range all[1:] {
		others = append(others, actors.NewCredential(c.SHA256, c.IssuerSPKI, c.Serial, c.NotBefore, c.NotAfter))
	}
	leaf := all[0]
	return actors.NewCredential(leaf.SHA256, leaf.IssuerSPKI, leaf.Serial, leaf.NotBefore, leaf.NotAfter, others...), nil
}
