package control

import (
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// Author is the administrator that proposes an update.
type Author struct {
	Principal policy.Principal
	// Credential is the certificate that identified the principal; nil if something else
	// did.
	Credential *actors.Credential
	// Ended reports whether a credential has ended for a reason outside of the policy, such
	// as a CRL. Use [actors.Engine.Ended]. Nil means that none has.
	Ended func(*actors.Credential) bool
	// Connected reports whether a principal is known to be able to connect. Nil means that
	// this is not known, and then [ErrLosesControl] is about the author alone.
	Connected func(policy.Principal) bool
	// IsCA reports whether a certificate is that of a CA. Nil means that this is not known.
	IsCA func(policy.CertificateID) bool
	// Force permits an update that [ErrLosesControl] would refuse, ForceCA one that
	// [ErrRevokesCA] would refuse.
	Force, ForceCA bool
}

// MayPropose rejects an author that could make no change: its credential has ended, or no role
// that it holds allows interlock:change or interlock:grant on anything. It is cheap and ignores
// denies and conditions, so [Author.Preconditions] has to follow. A server calls it before it
// reads a request. The error is an [*actors.DeniedError].
func (a Author) MayPropose(tip policy.View, now time.Time) error {
	r := &rightsAt{author: a, tip: tip, now: now.UnixNano()}
	if err := r.checkCredential(); err != nil {
		return err
	}
	reach := newReach(tip)
	for _, g := range policy.GrantsOf(tip, a.Principal) {
		if !g.ExpiredAt(r.now) && reach.of(g.Role).proposes {
			return nil
		}
	}
	d := policy.Denied(policy.ReasonNoPermission, a.Principal, tip.Revision(), r.now)
	return &actors.DeniedError{Decision: d, Principal: a.Principal, Action: ActionChange, Resource: ResourcePolicy}
}

// Preconditions returns the two preconditions of an update with these changes, for
// [actors.Update]. now is called once for each evaluation.
//
// before checks the author's credential and its right for each change. It returns an
// [*actors.DeniedError], or wraps [ErrOwnIssuer], [ErrRevokesCA] or [ErrNeedsFullRights] for the
// revocation of a CA. after checks what the changes lead to. It wraps
// [ErrNeedsFullRights], [ErrExactOnly], [ErrLastAdministrator] or [ErrLosesControl].
func (a Author) Preconditions(changes []policy.Change, now func() time.Time) (before func(tip policy.View) error, after func(tip, next policy.View) error) {
	before = func(tip policy.View) error { return a.checkRights(changes, now().UnixNano(), tip) }
	after = func(tip, next policy.View) error { return a.checkResult(changes, now().UnixNano(), tip, next) }
	return before, after
}

func (a Author) checkRights(changes []policy.Change, now int64, tip policy.View) error {
	r := &rightsAt{author: a, tip: tip, now: now, found: map[right]error{}}
	if err := r.checkCredential(); err != nil {
		return err
	}
	for i := range changes {
		if changes[i].Op == policy.OpUnrevokeCertificate {
			return &policy.FieldError{Field: fmt.Sprintf("changes[%d].op", i), Err: fmt.Errorf(
				"%w: %s needs a stopped server; run interlock store unrevoke on its machine", policy.ErrInvalid, policy.OpUnrevokeCertificate)}
		}
		if err := r.check(&changes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a Author) checkResult(changes []policy.Change, now int64, tip, next policy.View) error {
	touched := false
	r := &reachAt{author: a.Principal, now: now, tip: newReach(tip), next: newReach(next), named: map[right]error{}}
	full := r.tip.fullRights(a.Principal)
	for i := range changes {
		c := &changes[i]
		reaches := r.tip.control(c) || r.next.control(c) || c.Op == policy.OpPutRole && namesControl(c.Role)
		touched = touched || reaches || c.Op == policy.OpPutRole || c.Op == policy.OpDeleteRole
		if reaches && !full {
			if err := r.check(c); err != nil {
				return err
			}
		}
	}
	if !touched {
		return nil
	}
	if err := r.next.checkPatterns(); err != nil {
		return err
	}
	return a.checkControl(r.tip, r.next, full)
}

// checkControl rejects an update after which no principal, or none that can connect, has full
// rights.
func (a Author) checkControl(tip, next *reach, authorHad bool) error {
	if tip.anyFullRights(nil) && !next.anyFullRights(nil) {
		return ErrLastAdministrator
	}
	switch {
	case a.Force:
	case authorHad && !next.fullRights(a.Principal):
		return fmt.Errorf("%w of its author %s", ErrLosesControl, a.Principal)
	case a.Connected != nil && tip.anyFullRights(a.Connected) && !next.anyFullRights(a.Connected):
		return fmt.Errorf("%w of every principal that has connected", ErrLosesControl)
	}
	return nil
}

// FullRights reports whether the principal has full rights in the view: see the package
// documentation.
func FullRights(v policy.View, who policy.Principal) bool { return newReach(v).fullRights(who) }
