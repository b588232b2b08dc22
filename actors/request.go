package actors

import (
	"context"
	"encoding/hex"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Request is what is asked for: may the principal, with that credential, do the action on
// the resource?
type Request struct {
	Principal policy.Principal
	// Credential is what the principal identified itself with, looked at in the turn; nil
	// for callers that are identified in another way.
	Credential *Credential
	Action     string
	Resource   string
	// Properties are what conditions see; nil for none. They must not be changed while
	// the request, or the operation that it admitted, is under way.
	Properties *policy.Properties
}

// Func is an operation that runs in a turn. Its context is its own: never reused, and
// done when the turn ends.
type Func func(context.Context) error

// Credential is a certificate as the turn sees it: its names in the set of revocations
// and its validity, and those of the certificates without which it is worth nothing. It is
// immutable and safe to share; make one for each connection and use it for all its requests.
type Credential struct {
	notBefore int64 // what each turn reads lies together
	notAfter  int64
	// clear is the set of revocations in which this credential was last not found.
	clear atomic.Pointer[revocations]
	// ids name the certificate, by fingerprint and by serial number, and then those that it
	// depends on.
	ids []policy.CertificateID
}

// NewCredential describes a certificate by its SHA-256 fingerprint, the SHA-256 of its
// issuer's SubjectPublicKeyInfo, its serial number in hexadecimal and its validity. It is
// good as long as each that it depends on is good too: those of the authorities above it,
// and of a proxy that vouches for it.
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

// nanoseconds is Unix time, for days beyond what it can count the last that it can: those
// certificates have that are meant not to end.
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

// IDs returns the names by which a revocation can mean the certificate, or one that it
// depends on. The caller only reads them.
func (c *Credential) IDs() []policy.CertificateID { return c.ids }

// NotAfter returns the end of validity: the certificate's, or that of one that it depends on.
func (c *Credential) NotAfter() time.Time { return time.Unix(0, c.notAfter) }

// check returns why the credential is not good at the moment, or ReasonAllowed.
func (c *Credential) check(at *moment) policy.Reason {
	if c == nil {
		return policy.ReasonAllowed
	}
	// The published time may be a tick behind the clock by which a fresh certificate was
	// issued.
	if at.now >= c.notAfter || at.now+int64(tick) < c.notBefore {
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

// revocations is an immutable set of revoked certificates, and what lists say of others.
// Nothing un-revokes one of the set.
type revocations struct {
	set   map[policy.CertificateID]struct{}
	lists RevocationLists // nil for none
}

// under returns the same set with other lists.
func (r *revocations) under(lists RevocationLists) *revocations {
	next := r.with(nil)
	next.lists = lists
	return next
}

func (r *revocations) with(ids []policy.CertificateID) *revocations {
	next := &revocations{set: make(map[policy.CertificateID]struct{}, r.size()+len(ids))}
	if r != nil {
		next.lists = r.lists
		for id := range r.set {
			next.set[id] = struct{}{}
		}
	}
	for _, id := range ids {
		next.set[id] = struct{}{}
	}
	return next
}

func (r *revocations) size() int {
	if r == nil {
		return 0
	}
	return len(r.set)
}

func (r *revocations) has(c *Credential) bool {
	for _, id := range c.ids {
		if _, ok := r.set[id]; ok {
			return true
		}
		if id.Serial != "" && r.lists != nil && r.lists.Revoked(id.Issuer, id.Serial) {
			return true
		}
	}
	return false
}

// moment is what a turn needs from outside: read once at its beginning.
type moment struct {
	table   *policy.Table
	revoked *revocations
	now     int64
	intern  *interner
}
