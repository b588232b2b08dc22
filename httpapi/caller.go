package httpapi

import (
	"crypto/x509"
	"net/http"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
)

// Caller is the principal that sent a request. It is immutable. Requests of one connection
// share it.
type Caller struct {
	Principal policy.Principal
	// Credential is what can expire and be revoked: the engine examines it in the turn. Nil
	// if the caller has nothing of that kind, as with a session that its own store ends.
	Credential *actors.Credential
	// Identity is what the client certificate says; zero for a caller that has none.
	Identity certs.Identity
	// Certificate is the client certificate; nil for a caller that has none. It must not be
	// changed.
	Certificate *x509.Certificate
}

// Request is the engine's request in which the caller asks for itself.
func (c *Caller) Request(action, resource string) actors.Request {
	return actors.Request{Principal: c.Principal, Credential: c.Credential, Action: action, Resource: resource}
}

// Fingerprint returns the SHA-256 of the caller's certificate in hexadecimal, empty without one.
func (c *Caller) Fingerprint() string {
	if c.Credential == nil {
		return ""
	}
	return c.Credential.Fingerprint()
}

// Identifier finds the caller of a request. [Connections] does so by mutual TLS and is the
// default of [NewGuard], the admin API and the decision API. A program can supply another one,
// for a token, a session or a test.
//
// Identify is called for each request, concurrently, before anything is read of the body. It
// may set no deadline and write nothing. Its error is answered by [WriteProblem]: wrap
// [certs.ErrNoIdentity] for a 401, or return a [client.Problem]. The engine examines validity
// and revocation later, in the turn, from [Caller.Credential].
//
// [client.Problem]: https://pkg.go.dev/github.com/interlock-authz/interlock/httpapi/client#Problem
type Identifier interface {
	Identify(r *http.Request) (*Caller, error)
}

// CallerFromChain identifies the caller that a verified certificate chain names. The chain
// begins with the leaf. The error wraps [certs.ErrNoIdentity] and says why there is none. It
// examines neither validity nor revocation.
func CallerFromChain(by *certs.Identifier, chain []*x509.Certificate) (*Caller, error) {
	return callerVia(by, chain)
}

// callerVia is CallerFromChain for a caller that depends on the credentials of proxies too.
func callerVia(by *certs.Identifier, chain []*x509.Certificate, proxies ...*actors.Credential) (*Caller, error) {
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
	credential, err := credentialOf(chain, proxies)
	if err != nil {
		return nil, err
	}
	return &Caller{Principal: who, Identity: identity, Certificate: chain[0], Credential: credential}, nil
}

// credentialOf is the leaf, which depends on its issuers and on others.
func credentialOf(chain []*x509.Certificate, others []*actors.Credential) (*actors.Credential, error) {
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
