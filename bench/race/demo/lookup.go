package demo

import (
	"crypto/sha256"
	"net/http"
	"sync"
)

// lookup is form (a): who the caller is, and what that principal may do, are looked up one
// after the other, and acted on later. The maps are safe for concurrent use, so that only
// the order is wrong.
type lookup struct {
	principals  sync.Map // by the fingerprint of a certificate
	permissions sync.Map // whether a principal is allowed
}

func newLookup() *lookup { return &lookup{} }

func (l *lookup) set(allowed bool) error {
	l.permissions.Store(callerID, allowed)
	return nil
}

func (l *lookup) protect(next http.HandlerFunc) http.Handler { return behind(l.check, next) }

func (l *lookup) check(r *http.Request) bool {
	fingerprint := sha256.Sum256(leafOf(r).Raw)
	principal, _ := l.principals.LoadOrStore(fingerprint, principalOf(r))
	allowed, ok := l.permissions.Load(principal)
	return ok && allowed == true
}

func (l *lookup) close() error { return nil }
