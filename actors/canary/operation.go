package canary

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// mode is how an operation calls the engine.
type mode int

const (
	execute mode = iota
	short        // Admit, for an operation that ends by itself
	held         // Admit, for an operation that ends with its context
	decide
)

func (m mode) String() string { return [...]string{"Execute", "Admit", "Admit", "Decide"}[m] }

// modes are those of the operations that run during a revocation.
var modes = []mode{execute, execute, held, held, short, decide}

const (
	// length is how long a function of Execute takes, and shortLength a short operation of Admit. A
	// revocation waits for both. They differ because a short operation for which the revocation waits
	// would hide a function for which it does not wait, if they ended together.
	length, shortLength = 100 * time.Microsecond, 25 * time.Microsecond
	// enough is how often an operation has to be allowed before the revocation, unless it is held.
	// It also keeps the denials of the canary below half of its decisions.
	enough = 8
)

// operation calls the engine for the probe, again and again. It belongs to one goroutine, except
// announced.
type operation struct {
	r     *round
	mode  mode
	ready chan struct{} // closed when it was allowed often enough, or gives up
	once  sync.Once
	count int  // how often it was allowed
	later bool // the attempt began after the revocation had returned
	// announced is not 0 while the operation runs: 1 more than the revision that admitted it, which
	// is 0 if it is not known.
	announced atomic.Uint64
}

func newOperation(r *round, m mode) *operation {
	return &operation{r: r, mode: m, ready: make(chan struct{})}
}

// loop calls the engine until it denies, and once more after the revocation has returned.
func (o *operation) loop(ctx context.Context) {
	for o.try(ctx) && !o.isOver() {
		if o.mode == decide {
			pause(length)
		}
	}
	o.isReady()
	select {
	case <-o.r.over:
	case <-ctx.Done():
	}
	if o.r.returned.Load() {
		o.try(ctx)
	}
}

func (o *operation) isReady() { o.once.Do(func() { close(o.ready) }) }

func (o *operation) isOver() bool {
	select {
	case <-o.r.over:
		return true
	default:
		return false
	}
}

// try calls the engine once and returns whether it has allowed the operation.
func (o *operation) try(ctx context.Context) bool {
	o.later = o.r.returned.Load()
	engine := o.r.c.o.Engine
	switch o.mode {
	case execute:
		return o.allowed(engine.Execute(ctx, o.r.req, func(ctx context.Context) error {
			revision, _ := actors.RevisionOf(ctx)
			o.begin(revision)
			defer o.end(revision)
			pause(length)
			return nil
		}))
	case decide:
		d, err := engine.Decide(ctx, o.r.req)
		if err == nil && !d.Allowed {
			err = &actors.DeniedError{Decision: d, Principal: o.r.req.Principal, Action: o.r.req.Action, Resource: o.r.req.Resource}
		}
		if err == nil {
			o.decided(d.Revision)
		}
		return o.allowed(err)
	default:
		l, err := engine.Admit(ctx, o.r.req)
		if err == nil {
			o.hold(l)
		}
		return o.allowed(err)
	}
}

// hold is an operation with a lease.
func (o *operation) hold(l *actors.Lease) {
	defer l.Release() // after end
	revision, _ := actors.RevisionOf(l.Context())
	o.begin(revision)
	defer o.end(revision)
	if o.mode == short {
		pause(shortLength)
		return
	}
	select {
	case <-l.Context().Done():
	case <-o.r.over:
	}
}

// begin announces that the operation runs. The engine must count it as running.
func (o *operation) begin(revision uint64) {
	o.announced.Store(revision + 1)
	o.check(revision)
	o.admitted(revision)
}

// end takes the announcement back. The engine must still count the operation as running.
func (o *operation) end(revision uint64) {
	o.check(revision)
	o.announced.Store(0)
}

// check notes a finding if the revocation has returned. The operation must be running.
func (o *operation) check(revision uint64) {
	if o.r.returned.Load() {
		o.ran(revision)
	}
}

// checkAnnouncement is check for another goroutine than the operation's, after the revocation has
// returned.
func (o *operation) checkAnnouncement() {
	if a := o.announced.Load(); a != 0 {
		o.ran(a - 1)
	}
}

const stillRuns = "an operation runs although its revocation has returned"

// ran notes an operation that was running after the revocation had returned.
func (o *operation) ran(revision uint64) {
	revoked := o.r.revoked.Load()
	o.r.note(finding{
		promise: "G2", what: stillRuns, operation: o.mode.String(),
		decided: revision, update: revoked, allowed: true, certain: revision < revoked,
	})
}

// decided handles a decision that allows.
func (o *operation) decided(revision uint64) {
	if revoked := o.r.revoked.Load(); o.later && revision >= revoked {
		o.r.note(finding{
			promise: "G4", what: "a decision allows what was revoked before", operation: o.mode.String(),
			decided: revision, update: revoked, allowed: true,
		})
	}
	o.admitted(revision)
}

// admitted counts an admission or a decision that allows, and checks its revision.
func (o *operation) admitted(revision uint64) {
	o.checkRevision(revision)
	if o.count++; o.count == enough || o.mode == held {
		o.isReady()
	}
}

// checkRevision notes a decision that names an older revision than an update that had returned
// before.
func (o *operation) checkRevision(revision uint64) {
	update := o.r.granted
	if o.later {
		update = o.r.revoked.Load()
	}
	if revision != 0 && revision < update {
		o.r.note(finding{
			promise: "G4", what: "a decision names a revision before an update that had returned", operation: o.mode.String(),
			decided: revision, update: update, certain: true,
		})
	}
}

// allowed handles the error of an attempt, and reports whether there is none.
func (o *operation) allowed(err error) bool {
	if err == nil {
		return true
	}
	denied, ok := errors.AsType[*actors.DeniedError](err)
	switch {
	case ok && isPolicy(denied.Decision.Reason):
		o.denied(denied.Decision.Revision)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded): // the round says so
	default:
		o.r.fail(err)
	}
	return false
}

// denied handles a denial by the policy.
func (o *operation) denied(revision uint64) {
	o.checkRevision(revision)
	if !o.r.asked.Load() {
		o.r.note(finding{
			promise: "G4", what: "a granted operation is denied", operation: o.mode.String(),
			decided: revision, update: o.r.granted,
		})
	}
}

// isPolicy reports whether a request was denied because of the policy, and not because the engine
// could not decide.
func isPolicy(reason policy.Reason) bool {
	switch reason {
	case policy.ReasonNoPermission, policy.ReasonDeniedByRule, policy.ReasonUnknownPrincipal, policy.ReasonUnknownAction:
		return true
	}
	return false
}

// pause waits. It is short, so that nothing has to end it.
func pause(d time.Duration) { <-time.NewTimer(d).C }
