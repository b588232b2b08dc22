package actors

import (
	"context"

	"github.com/interlock-authz/interlock/actors/policy"
)

// RevocationLists are the CRLs of the trusted CAs. They are immutable and safe for concurrent
// use.
type RevocationLists interface {
	// Revoked reports whether a certificate is revoked. issuer is the SHA-256 of the issuing
	// CA's SubjectPublicKeyInfo, in hexadecimal. serial is the serial number in lower-case
	// hexadecimal without leading zeros. A principal's turn calls Revoked, once for each
	// credential, so it must not block.
	Revoked(issuer, serial string) bool
}

// UseRevocationLists replaces the CRLs and waits. Every later turn uses the new ones. It
// returns when every lease held under a revoked certificate has ended (G2), and when every
// update whose author may have used one is delivered. Errors and receipt are those of
// [Engine.Update]. The receipt has the revision of the policy, which CRLs do not change.
//
// The caller makes sure that no revoked certificate becomes valid again.
func (e *Engine) UseRevocationLists(ctx context.Context, lists RevocationLists) (Receipt, error) {
	if err := e.admissible(ctx); err != nil {
		return Receipt{}, err
	}
	wait, err := e.PublishRevocationLists(lists)
	if err != nil {
		return Receipt{}, err
	}
	return wait(ctx)
}

// PublishRevocationLists is the first half of [Engine.UseRevocationLists]: when it returns,
// every later turn uses the new CRLs. wait is the second half: it waits under its context for
// the leases that have lost their authority, and may be called several times. The error is
// [ErrClosed].
func (e *Engine) PublishRevocationLists(lists RevocationLists) (wait func(context.Context) (Receipt, error), err error) {
	if e.shared.closing.Load() {
		return nil, ErrClosed
	}
	e.revise(func(set *revocations) *revocations { return set.under(lists) })
	published := e.shared.published.Load()
	r := &revision{number: published.Revision(), shape: published.Shape(), lists: lists, tracker: newTracker(published.Revision())}
	t := r.tracker
	t.expect()
	e.settling.hold(t)
	e.sweeper.add(r)
	e.closeConnections(t)
	t.applied()
	return func(ctx context.Context) (Receipt, error) {
		// The author of an update that the log has already claimed may be revoked now.
		if err := e.View(ctx, func(policy.View) {}); err != nil && ctx.Err() != nil {
			return t.receipt(), &NotQuiescedError{Receipt: t.receipt(), Cause: err}
		}
		return awaitOwn(ctx, t)
	}, nil
}

// revise changes the set of revocations. Updates and CRLs change it concurrently.
func (e *Engine) revise(change func(*revocations) *revocations) {
	for {
		before := e.shared.revoked.Load()
		if e.shared.revoked.CompareAndSwap(before, change(before)) {
			return
		}
	}
}
