package web

import (
	"net/http"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
)

const (
	// maxBodies and maxBodiesOfEach bound the bodies in memory, in bytes: of all callers, and of
	// each.
	maxBodies, maxBodiesOfEach = 256 << 20, 32 << 20
	// freeBody is how long a body may be that is not counted, because its request takes as much
	// memory, in bytes.
	freeBody = 4 << 10
)

// Bodies bounds the bytes of the bodies that callers have in memory at once. It is safe for
// concurrent use. Make one with [NewBodies].
type Bodies struct {
	bytes *share.Shares[policy.Principal]
}

// NewBodies returns a bound of 256 MiB in all and 32 MiB for each caller.
func NewBodies() *Bodies {
	return &Bodies{share.New[policy.Principal](maxBodies, maxBodiesOfEach)}
}

// Enter counts the body of r, of at most limit bytes, before it is read, until leave is called.
// The error is a 503.
func (b *Bodies) Enter(r *http.Request, limit int64, who policy.Principal) (leave func(), err error) {
	n := r.ContentLength
	if n < 0 || n > limit {
		n = limit
	}
	if n <= freeBody {
		return func() {}, nil
	}
	leave, ok := b.bytes.EnterMany(who, int(min(n, maxBodiesOfEach)))
	if !ok {
		return nil, Busy()
	}
	return leave, nil
}

// Busy is the answer to a request for which there is no place. It has Retry-After.
func Busy() error {
	return NewProblem(http.StatusServiceUnavailable, "busy", "Busy", "Too many requests of this kind are in work. Try again.")
}
