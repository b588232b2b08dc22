package canary

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Errors of failed rounds.
var (
	errRole       = errors.New("the role of the canary is not as it should be")
	errDenied     = errors.New("the policy denies the probe what its role allows")
	errStillGiven = errors.New("another grant of the policy still allows the probe")
	errOther      = errors.New("another update has changed what the probe may do")
)

// round is one round. The goroutine of [round.run] writes what has no lock or atomic, before it
// starts the operations.
type round struct {
	c       *Canary
	req     actors.Request
	granted uint64          // the revision of the grant
	known   map[uint64]bool // what the policy says at revisions that need no history
	latency time.Duration   // of the revocation; 0 if it did not return nil

	asked    atomic.Bool   // the canary is about to revoke, or has
	revoked  atomic.Uint64 // the revision of the revocation, set before returned
	returned atomic.Bool   // the revocation has returned nil
	over     chan struct{} // closed when operations have to end

	mu       sync.Mutex
	found    []finding
	failures []error
}

func newRound(c *Canary) *round {
	return &round{
		c: c, known: map[uint64]bool{}, over: make(chan struct{}),
		req: actors.Request{Principal: c.who, Action: policy.CanaryAction, Resource: policy.CanaryKind + "/" + c.o.Name},
	}
}

// run runs the round. What it finds is judged by [round.judge].
func (r *round) run(ctx context.Context) error {
	if err := r.checkBefore(ctx); err != nil {
		return err
	}
	if err := r.grant(ctx); err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	for _, m := range []mode{execute, short, decide} {
		if !newOperation(r, m).try(ctx) {
			return ctx.Err() // what it found is noted
		}
	}
	operations := make([]*operation, len(modes))
	var running sync.WaitGroup
	for i, m := range modes {
		operations[i] = newOperation(r, m)
		running.Go(func() { operations[i].loop(ctx) })
	}
	defer running.Wait()
	defer close(r.over)
	for _, o := range operations {
		select {
		case <-o.ready:
		case <-ctx.Done():
			return fmt.Errorf("operations: %w", ctx.Err())
		}
	}
	pause(length * 2 / 5) // so that the operations have begun, and have not ended
	if err := r.revoke(ctx); err != nil {
		return fmt.Errorf("revocation: %w", err)
	}
	for _, o := range operations {
		o.checkAnnouncement()
	}
	for _, m := range []mode{execute, short, decide} {
		newOperation(r, m).try(ctx)
	}
	return ctx.Err()
}

// checkBefore checks that the probe is denied since the last round.
func (r *round) checkBefore(ctx context.Context) error {
	last := r.c.revoked
	if last == 0 {
		return nil
	}
	r.known[last] = false
	d, err := r.c.o.Engine.Decide(ctx, r.req)
	if err != nil {
		return err
	}
	f := finding{promise: "G4", operation: decide.String(), decided: d.Revision, update: last, allowed: d.Allowed}
	switch {
	case d.Revision < last:
		f.what, f.certain = "a decision names a revision before the revocation of the last round", true
		r.note(f)
	case d.Allowed:
		f.what = "a decision allows what the last round revoked"
		r.note(f)
	}
	return nil
}

// grant grants the role to the probe, and puts the role into the policy if it is missing or was
// changed.
func (r *round) grant(ctx context.Context) error {
	r.c.revoked, r.c.granted = 0, true
	changes := []policy.Change{policy.GrantRole(policy.Grant{Principal: r.c.who, Role: policy.CanaryRole, Reason: reason})}
	err := r.grantBy(ctx, changes)
	if errors.Is(err, errRole) || errors.Is(err, policy.ErrUnknownRole) {
		err = r.grantBy(ctx, append([]policy.Change{policy.PutRole(policy.NewCanaryRole(), reason)}, changes...))
	}
	return err
}

func (r *round) grantBy(ctx context.Context, changes []policy.Change) error {
	after := func(_, next policy.View) error {
		if role := next.Role(policy.CanaryRole); role == nil || !role.IsCanary() {
			return errRole
		}
		if !r.ask(next) {
			return errDenied
		}
		return nil
	}
	receipt, err := r.c.o.Engine.Update(ctx, actors.Update{Changes: changes, After: after})
	if err != nil {
		return err
	}
	r.granted, r.known[receipt.Revision] = receipt.Revision, true
	return nil
}

// revoke revokes the role and measures the time. It returns an error if the update has promised
// nothing about the probe.
func (r *round) revoke(ctx context.Context) error {
	var allows atomic.Bool
	after := func(_, next policy.View) error {
		allows.Store(r.ask(next))
		return nil
	}
	r.asked.Store(true)
	start := time.Now()
	receipt, err := r.c.o.Engine.Update(ctx, actors.Update{Changes: []policy.Change{r.c.revocation()}, After: after})
	took := time.Since(start)
	if err != nil {
		return err
	}
	r.latency = took
	r.c.latency.Add(took)
	r.c.granted = false
	if allows.Load() {
		return errStillGiven
	}
	r.known[receipt.Revision] = false
	r.c.revoked = receipt.Revision
	r.revoked.Store(receipt.Revision)
	r.returned.Store(true)
	return nil
}

// ask returns what a policy says about the request of the probe.
func (r *round) ask(v policy.View) bool {
	now := time.Now()
	q := policy.Query{Principal: r.req.Principal, Action: r.req.Action, Resource: r.req.Resource, Now: func() time.Time { return now }}
	return policy.Ask(v, &q, now.UnixNano()).Allowed
}

// fail notes an error that is no violation.
func (r *round) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < maxNoted {
		r.failures = append(r.failures, err)
	}
}

// maxNoted bounds the failures and the findings of a round.
const maxNoted = 16

// note notes a finding. A round notes what happens again and again once.
func (r *round) note(f finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.found {
		if other.what == f.what && other.operation == f.operation && other.certain == f.certain && other.decided == f.decided {
			return
		}
	}
	if len(r.found) < maxNoted {
		r.found = append(r.found, f)
	}
}

// judge compares the findings with the policy of the log, and returns the violations and why the
// round failed. The operations must have ended.
func (r *round) judge() (violations []*Violation, failed error) {
	failures := r.failures
	for _, f := range r.found {
		if !f.certain {
			allows, err := r.policyAt(f.decided)
			switch {
			case err != nil:
				failures = append(failures, fmt.Errorf("%s (revision %d): the policy of that revision: %w", f.what, f.decided, err))
				continue
			case allows == f.allowed:
				failures = append(failures, fmt.Errorf("%w: %s (revision %d)", errOther, f.what, f.decided))
				continue
			}
		}
		violations = append(violations, &Violation{
			Promise: f.promise, What: f.what, Operation: f.operation, Decided: f.decided, Update: f.update, Time: time.Now(),
		})
	}
	return violations, errors.Join(failures...)
}

// policyAt returns what the policy of the log says at a revision.
func (r *round) policyAt(revision uint64) (allows bool, err error) {
	if allows, known := r.known[revision]; known {
		return allows, nil
	}
	err = r.c.o.Engine.At(revision, func(v policy.View) { allows = r.ask(v) })
	return allows, err
}
