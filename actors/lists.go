package actors

import "context"

// RevocationLists are what authorities say of the certificates that they have issued. They
// are immutable, and safe for concurrent use.
type RevocationLists interface {
	// Revoked reports whether the certificate is revoked that has this serial number, in
	// lower-case hexadecimal without leading zeros, and that the authority has issued whose
	// key has this SHA-256 (of its SubjectPublicKeyInfo), in hexadecimal. It is asked in a
	// principal's turn, once for each credential, and must not block.
	Revoked(issuer, serial string) bool
}

// UseLists takes over revocation lists, in place of those before. They are looked at in
// every turn from then on. Then every lease is looked at anew: UseLists returns, with a
// receipt, when none is left that came by a certificate which is revoked now (G2). Errors
// and receipt are those of [Engine.Update]; the receipt has the revision of the policy, which
// lists do not change.
//
// Whoever calls it sees to it that nothing which was revoked is good again.
func (e *Engine) UseLists(ctx context.Context, lists RevocationLists) (Receipt, error) {
	if err := e.admissible(ctx); err != nil {
		return Receipt{}, err
	}
	e.revise(func(r *revocations) *revocations { return r.under(lists) })
	t := newTracker(e.Revision())
	e.directory.each(func(p *principal) {
		m := &deliveredChange{acknowledgement: acknowledgement{tracker: t}}
		p.tellFor(&m.acknowledgement, m)
	})
	e.closeConnections(t)
	t.applied()
	return await(ctx, t)
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
