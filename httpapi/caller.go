package httpapi

import (
	"context"
	"crypto/x509"
	"net"
	"net/http"
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

// Connections finds the caller of a request. With its [Connections.ConnContext] in the
// server, as [NewServer] puts it there, the certificate is looked at once for each
// connection; without, once for each request. It is safe for concurrent use.
type Connections struct {
	identifier atomic.Pointer[certs.Identifier]
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

// connection is the context's key, for each Connections its own, of a [memory].
type connection struct{ of *Connections }

// memory remembers what was found for one connection.
type memory struct{ last atomic.Pointer[finding] }

// finding is a caller, or why there is none, and the certificate that it was read from.
type finding struct {
	leaf   *x509.Certificate
	by     *certs.Identifier
	caller *Caller
	err    error
}

// ConnContext is for [http.Server]: it makes room for what [Connections.CallerFrom]
// finds.
func (c *Connections) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connection{c}, &memory{})
}

// CallerFrom returns who sent r, read from the first verified chain of its TLS state and
// from nowhere else. The error wraps [certs.ErrNoIdentity] and says why there is no
// identity; [WriteProblem] makes a 401 of it. Neither validity nor revocation is looked
// at here: the engine does that in the turn, from [Caller.Credential].
func (c *Connections) CallerFrom(r *http.Request) (*Caller, error) {
	chain, by := verifiedChain(r), c.identifier.Load()
	if len(chain) == 0 {
		_, err := by.Identify(nil)
		return nil, err
	}
	known, _ := r.Context().Value(connection{c}).(*memory)
	if known == nil {
		return identify(by, chain)
	}
	found := known.last.Load()
	if found == nil || found.leaf != chain[0] || found.by != by {
		found = &finding{leaf: chain[0], by: by}
		found.caller, found.err = identify(by, chain)
		known.last.Store(found)
	}
	return found.caller, found.err
}

func verifiedChain(r *http.Request) []*x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0]
}

func identify(by *certs.Identifier, chain []*x509.Certificate) (*Caller, error) {
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
	credential, err := certs.CredentialOf(chain)
	if err != nil {
		return nil, err
	}
	return &Caller{Principal: who, Identity: identity, Credential: actors.NewCredential(
		credential.SHA256, credential.IssuerSPKI, credential.Serial, credential.NotBefore, credential.NotAfter)}, nil
}
