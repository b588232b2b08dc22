package certs

import (
	"errors"
	"fmt"
)

// ErrNoIdentity is wrapped by every [IdentityError].
var ErrNoIdentity = errors.New("certs: no identity")

// Reason is why a chain gives no identity. The values are stable: logs, metrics and callers may depend on them.
type Reason string

// The reasons of an [IdentityError].
const (
	ReasonNoCertificate    Reason = "no-certificate"     // the chain is empty
	ReasonIncompleteChain  Reason = "incomplete-chain"   // the certificate of the issuer is missing
	ReasonCAAsLeaf         Reason = "ca-as-leaf"         // a CA's certificate was used as a client's
	ReasonKeyUsage         Reason = "key-usage"          // may sign certificates or CRLs, or may not sign at all
	ReasonNotForClients    Reason = "not-for-clients"    // the extended key usage clientAuth is missing
	ReasonSeveralSPIFFEIDs Reason = "several-spiffe-ids" // more than one SPIFFE ID
	ReasonMixedURIs        Reason = "mixed-uris"         // a SPIFFE ID and other URIs
	ReasonNotCanonical     Reason = "not-canonical"      // a SPIFFE ID that is not in canonical form
	ReasonNoPath           Reason = "no-path"            // a SPIFFE ID that names a whole trust domain
	ReasonAmbiguous        Reason = "ambiguous"          // a rule found two or more values
	ReasonMalformedName    Reason = "malformed-name"     // a value that is no exact name
	ReasonNoIdentity       Reason = "no-identity"        // no rule found a value
	ReasonNotBound         Reason = "not-bound"          // the CA may not certify the name
	ReasonNotVerified      Reason = "not-verified"       // the chain leads to no CA, or is out of date
	ReasonNotForwarded     Reason = "not-forwarded"      // the header of a proxy is invalid, or its sender is not a proxy
)

// IdentityError is the error of a chain that gives no identity. It wraps [ErrNoIdentity].
type IdentityError struct {
	// Reason is the kind of error.
	Reason Reason
	// Detail says what is wrong and what to do. Text from the certificate is quoted and shortened, so it is safe to
	// log.
	Detail string
}

// Error returns detail and reason.
func (e *IdentityError) Error() string {
	return fmt.Sprintf("%v: %s (%s)", ErrNoIdentity, e.Detail, e.Reason)
}

// Unwrap returns [ErrNoIdentity].
func (e *IdentityError) Unwrap() error { return ErrNoIdentity }

// refuse returns an IdentityError.
func refuse(reason Reason, format string, args ...any) *IdentityError {
	return &IdentityError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
