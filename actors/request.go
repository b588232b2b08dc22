package actors

import (
	"context"
	"encoding/hex"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Request asks whether a principal, with a credential, may do an action on a resource.
type Request struct {
	Principal policy.Principal
	// Credential identified the principal. The turn checks it. Nil for callers without a
	// revocable credential.
	Credential *Credential
	Action     string
	Resource   string
	// Properties are for conditions; nil for none. They must not change while the request, or
	// the operation that it admitted, is in progress.
	Properties *policy.Properties
	// Grace is how long an admitted operation may continue after it lost its authority, before
	// its context is canceled. If the update sets a grace too, the shorter one counts. Nil leaves
	// it to the update, and without an update's grace the context is canceled at once. It applies
	// to updates and to grants that expire. The end of the credential cancels at once. Execute
	// and Decide ignore it.
	Grace *time.Duration
}

// Func is an operation that runs in a turn. Its context is never reused, and done when the
// turn ends.
type Func func(context.Context) error

// Credential is what a turn checks of a certificate: its identifiers in the set of revocations,
// its validity, and those of the certificates that it depends on. It is immutable and safe for
// concurrent use. Make one for each connection and use it for all its requests.
type Credential struct {
	notBefore int64 // the fields that each turn reads come first
	notAfter  int64
	// clear is the last set of revocations that does not contain this credential.
	clear atomic.Pointer[revocations]
	// ids identifies the certificate, by fingerprint and by serial number, and then the ones that
	// it depends on.
	ids []policy.CertificateID
}

// NewCredential returns the credential of a certificate: its SHA-256 fingerprint, the SHA-256
// of its issuer's SubjectPublicKeyInfo, its serial number in hexadecimal, and its validity. It
// ends when one of the credentials that it depends on ends: those of the CAs above it, and of
// a proxy that forwards it.
func NewCredential(fingerprint, issuerSPKI [32]byte, serial string, notBefore, notAfter time.Time, dependsOn ...*Credential) *Credential {
	digits := strings.TrimLeft(strings.ToLower(serial), "0")
	if digits == "" {
		digits = "0"
	}
	c := &Credential{notBefore: nanoseconds(notBefore), notAfter: nanoseconds(notAfter), ids: []policy.CertificateID{
		{SHA256: hex.EncodeToString(fingerprint[:])}, {Serial: digits, Issuer: hex.EncodeToString(issuerSPKI[:])},
	}}
	for _, d := range dependsOn {
		c.ids = append(c.ids, d.ids...)
		c.notBefore, c.notAfter = max(c.notBefore, d.notBefore), min(c.notAfter, d.notAfter)
	}
	return c
}

// nanoseconds returns Unix time in nanoseconds. Times out of range, as in certificates without
// an intended end, become the first or last instant in range.
func nanoseconds(t time.Time) int64 {
	switch {
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	}
	return t.UnixNano()
}

// Fingerprint returns the certificate's SHA-256 fingerprint in hexadecimal.
func (c *Credential) Fingerprint() string { return c.ids[0].SHA256 }

// IDs returns the identifiers by which a revocation can name the certificate, or one that it
// depends on. The caller must not change the slice.
func (c *Credential) IDs() []policy.CertificateID { return c.ids }

// NotAfter returns the end of validity of the certificate and of all that it depends on.
func (c *Credential) NotAfter() time.Time { return time.Unix(0, c.notAfter) }

// check returns why the credential is not valid at the moment, or ReasonAllowed.
func (c *Credential) check(at *moment) policy.Reason {
	if c == nil {
		return policy.ReasonAllowed
	}
	// The published time can be one tick behind the clock of the CA.
	if c.expired(at) || at.now+int64(tick) < c.notBefore {
		return policy.ReasonCredentialExpired
	}
	if at.revoked != nil && c.clear.Load() != at.revoked {
		if at.revoked.has(c) {
			return policy.ReasonCredentialRevoked
		}
		c.clear.Store(at.revoked)
	}
	return policy.ReasonAllowed
}

// expired reports whether the validity has ended.
func (c *Credential) expired(at *moment) bool { return c != nil && at.now >= c.notAfter }

// revocations are the revoked certificates and the CRLs. A certificate never leaves the set,
// so all revocations of one engine share it: an older one may find a certificate that was
// revoked later. Each change makes new revocations, which [Credential.check] compares by
// address.
type revocations struct {
	set    *sync.Map                         // of policy.CertificateID
	others map[policy.CertificateID]struct{} // for a preview; nil otherwise
	lists  RevocationLists                   // nil for none
}

// under returns the same set with other CRLs.
func (r *revocations) under(lists RevocationLists) *revocations {
	next := r.with(nil)
	next.lists = lists
	return next
}

// with adds certificates.
func (r *revocations) with(ids []policy.CertificateID) *revocations {
	next := &revocations{}
	if r != nil {
		*next = *r
	}
	if next.set == nil {
		next.set = &sync.Map{}
	}
	for _, id := range ids {
		next.set.Store(id, nil)
	}
	return next
}

// without removes certificates.
func (r *revocations) without(ids []policy.CertificateID) *revocations {
	next := r.with(nil)
	for _, id := range ids {
		next.set.Delete(id)
	}
	return next
}

// supposing returns revocations that include certificates which are not revoked.
func (r *revocations) supposing(ids []policy.CertificateID) *revocations {
	next := *r.with(nil)
	next.others = make(map[policy.CertificateID]struct{}, len(ids))
	for _, id := range ids {
		next.others[id] = struct{}{}
	}
	return &next
}

func (r *revocations) has(c *Credential) bool {
	for _, id := range c.ids {
		if _, ok := r.set.Load(id); ok {
			return true
		}
		if _, ok := r.others[id]; ok {
			return true
		}
		if id.Serial != "" && r.lists != nil && r.lists.Revoked(id.Issuer, id.Serial) {
			return true
		}
	}
	return false
}

// moment is the shared state that a turn uses. The turn reads it once, when it begins.
type moment struct {
	table   *policy.Table
	revoked *revocations
	now     int64
	intern  *interner
	slow    func() // called when a condition was evaluated for a lease; nil for none
}
