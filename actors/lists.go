package actors

import (
	"context"

	"github.com/interlock-authz/interlock/actors/policy"
)

// RevocationLists are what authorities say of the certificates that they have issued. They
// are immutable, and safe for concurrent use.
type RevocationLists interface {
	// Revoked reports whether the certificate is revoked that has this serial number, in
	// lower-case hexadecimal without leading zeros, and that the authority has issued whose
	// key has this SHA-256 (of its SubjectPublicKeyInfo), in hexadecimal. It is asked in a
	// principal's turn, once for each credential, and must not block.
	Revoked(issuer, serial string) bool
}

// UseRevocationLists takes over revocation lists, in place of those before. They are looked at in
// every turn from then on. Then every lease is looked at anew: UseRevocationLists returns, with a
// receipt, when none is left that came by a certificate which is revoked now (G2), and every
// update has been delivered whose author may have come by one. Errors and receipt are those
// of [Engine.Update]; the receipt has the revision of the policy, which lists do not change.
//
// Whoever calls it sees to it that nothing which was revoked is good again.
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

// PublishRevocationLists is the first half of [Engine.UseRevocationLists]: when it returns the lists are looked at
// in every turn, and every principal has been told. wait is the other half: it waits for what
// has lost its authority, under the context that it is given, and may be called again. The
// error is [ErrClosed].
func (e *Engine) PublishRevocationLists(lists RevocationLists) (wait func(context.Context) (Receipt, error), err error) {
	if e.shared.closing.Load() {
		return nil, ErrClosed
	}
	e.revise(func(r *revocations) *revocations { return r.under(lists) })
	t := newTracker(e.Revision())
	e.directory.each(func(p *principal) {
		m := &deliveredChange{acknowledgement: acknowledgement{tracker: t}}
		p.tellFor(&m.acknowledgement, m)
	})
	e.closeConnections(t)
	t.applied()
	return func(ctx context.Context) (Receipt, error) {
		// What the log has taken before may be the word of an author who has no authority now.
		if err := e.View(ctx, func(policy.View) {}); err != nil && ctx.Err() != nil {
			return t.receipt(), &NotQuiescedError{Receipt: t.receipt(), Cause: err}
		}
		return awaitOwn(ctx, t)
	}, nil
}

// revise changes the set of revocations. Updates and lists change it at the same time.
func (e *Engine) revise(change func(*revocations) *revocations) {
	for {
		before := e.shared.revoked.Load()
		if e.shared.revoked.CompareAndSwap(before, change(before)) {
			return
		}
	}
}
