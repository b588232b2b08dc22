package certs

import (
	"errors"
	"fmt"
)

// ErrNoIdentity is what every [IdentityError] is, by [errors.Is].
var ErrNoIdentity = errors.New("certs: no identity")

// Reason says in one word why a chain gives no identity. The words are stable: logs, metrics and callers may depend
// on them.
type Reason string

// The reasons of an [IdentityError].
const (
	ReasonNoCertificate    Reason = "no-certificate"     // the chain is empty
	ReasonIncompleteChain  Reason = "incomplete-chain"   // the certificate of the issuer is missing
	ReasonCAAsLeaf         Reason = "ca-as-leaf"         // a CA's certificate was used as a client's
	ReasonKeyUsage         Reason = "key-usage"          // may sign certificates or CRLs, or may not sign at all
	ReasonNotForClients    Reason = "not-for-clients"    // the extended key usage clientAuth is missing
	ReasonSeveralSPIFFEIDs Reason = "several-spiffe-ids" // more than one SPIFFE ID
	ReasonMixedURIs        Reason = "mixed-uris"         // one SPIFFE ID and other URIs beside it
	ReasonNotCanonical     Reason = "not-canonical"      // a SPIFFE ID in another than its one canonical spelling
	ReasonNoPath           Reason = "no-path"            // a SPIFFE ID that names a whole trust domain
	ReasonAmbiguous        Reason = "ambiguous"          // a rule found two or more values
	ReasonMalformedName    Reason = "malformed-name"     // a value that is no exact name
	ReasonNoIdentity       Reason = "no-identity"        // no rule found a value
	ReasonNotBound         Reason = "not-bound"          // the CA may not certify the name
	ReasonNotVerified      Reason = "not-verified"       // the chain leads to no CA, or is out of date
	ReasonNotForwarded     Reason = "not-forwarded"      // what a proxy says of the client cannot be read, or it is no proxy
)

// IdentityError says why a chain gives no identity. It is [ErrNoIdentity].
type IdentityError struct {
	// Reason is the kind of refusal.
	Reason Reason
	// Detail says for people what is wrong and what to do. Text from the certificate stands in it quoted and cut, so
	// that it can be logged.
	Detail string
}

// Error gives detail and reason.
func (e *IdentityError) Error() string {
	return fmt.Sprintf("%v: %s (%s)", ErrNoIdentity, e.Detail, e.Reason)
}

// Unwrap gives [ErrNoIdentity].
func (e *IdentityError) Unwrap() error { return ErrNoIdentity }

// refuse makes the error of a refusal.
func refuse(reason Reason, format string, args ...any) *IdentityError {
	return &IdentityError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
