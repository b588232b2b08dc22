package httpapi

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// The control plane's rights are permissions like any other, on these resources.
const (
	actionDecide  = "interlock:decide"
	actionRead    = "interlock:read"
	actionGrant   = "interlock:grant"
	actionChange  = "interlock:change"
	actionOperate = "interlock:operate"

	resourcePolicy       = "policy"
	resourceChanges      = "changes"
	resourceLeases       = "leases"
	resourceCertificates = "certificates"
	resourceStore        = "store"
)

// Sentinels of what an administrator may not do, beyond a right that is missing. All are
// answered with 403.
var (
	// ErrNeedsFullRights refuses to widen a role that reaches the control plane, or to give
	// it away, without full rights.
	ErrNeedsFullRights = errors.New("this takes full rights")
	// ErrExactOnly refuses to give a role that administers to a pattern.
	ErrExactOnly = errors.New("a role that administers goes to exact principals only")
	// ErrLastAdministrator refuses an update after which nobody would have full rights.
	ErrLastAdministrator = errors.New("at least one principal has to keep full rights")
)

func rolesResource(name string) string { return controlResource("roles", name) }

// author checks the changes of one administrator, as preconditions that the log calls:
// first on the state that they build on, then on the one that they lead to.
type author struct {
	caller  *Caller
	changes []policy.Change
	now     func() int64
	ended   func(*actors.Credential) bool
}

// before checks the author's certificate and, for each change, its right. What it finds
// out about a right holds for all changes of the call: they are of one instant.
func (a *author) before(tip policy.View) error {
	r := &rightsAt{caller: a.caller, tip: tip, now: a.now(), ended: a.ended, found: map[right]error{}}
	if err := r.checkCertificate(); err != nil {
		return err
	}
	for i := range a.changes {
		if err := r.check(&a.changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// after checks what the changes lead to: that nothing which reaches the control plane was
// widened or given away by somebody who could not, and that somebody keeps full rights.
func (a *author) after(tip, next policy.View) error {
	touched := false
	r := &reachAt{caller: a.caller, now: a.now(), tip: newReach(tip), next: newReach(next), named: map[right]error{}}
	full := r.tip.fullRights(a.caller.Principal)
	for i := range a.changes {
		c := &a.changes[i]
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
	if r.tip.anyFullRights() && !r.next.anyFullRights() {
		return ErrLastAdministrator
	}
	return nil
}

// right is an action on a role, or on certificates.
type right struct {
	action, role string
	certificates bool
}

func (r right) resource() string {
	if r.certificates {
		return resourceCertificates
	}
	return rolesResource(r.role)
}

func mayGrant(role string) right { return right{action: actionGrant, role: role} }

func mayChange(role string) right { return right{action: actionChange, role: role} }

// rightsAt is what an author may do by the state that its changes build on, at one
// instant. A right is decided once, and the author's permissions are compiled once.
type rightsAt struct {
	caller *Caller
	tip    policy.View
	now    int64
	ended  func(*actors.Credential) bool
	asker  *policy.Asker
	found  map[right]error
}

func (r *rightsAt) checkCertificate() error {
	c := r.caller.Credential
	if c == nil {
		return nil
	}
	reason := policy.ReasonAllowed
	switch {
	case r.now >= c.NotAfter().UnixNano():
		reason = policy.ReasonCredentialExpired
	case slices.ContainsFunc(c.IDs(), r.tip.Revoked), r.ended(c):
		// By a revocation that is in the log, and may not be delivered yet, or by a list.
		reason = policy.ReasonCredentialRevoked
	}
	if reason == policy.ReasonAllowed {
		return nil
	}
	d := policy.Denied(reason, r.caller.Principal, r.tip.Revision(), r.now)
	return &actors.DeniedError{Decision: d, Principal: r.caller.Principal, Action: actionChange, Resource: resourcePolicy}
}

func (r *rightsAt) check(c *policy.Change) error {
	switch c.Op {
	case policy.OpGrant, policy.OpRevoke:
		return r.mustHave(mayGrant(c.Grant.Role))
	case policy.OpPutRole:
		for _, parent := range c.Role.Inherits() {
			if err := r.mustHave(mayGrant(parent)); err != nil {
				return err
			}
		}
		return r.mustHave(mayChange(c.Role.Name()))
	case policy.OpDeleteRole:
		return r.mustHave(mayChange(c.Name))
	case policy.OpRevokeCertificate:
		return r.mustHave(right{action: actionChange, certificates: true})
	}
	return fmt.Errorf("%w: operation %q", policy.ErrInvalid, c.Op)
}

func (r *rightsAt) mustHave(what right) error {
	err, known := r.found[what]
	if !known {
		err = r.decide(what.action, what.resource())
		r.found[what] = err
	}
	return err
}

func (r *rightsAt) decide(action, resource string) error {
	if r.asker == nil {
		r.asker = policy.NewAsker(r.tip, r.caller.Principal, r.now)
	}
	clock := func() time.Time { return time.Unix(0, r.now) }
	if d := r.asker.Ask(&policy.Query{Action: action, Resource: resource, Now: clock}); !d.Allowed {
		return &actors.DeniedError{Decision: d, Principal: r.caller.Principal, Action: action, Resource: resource}
	}
	return nil
}

// reachAt is for authors without full rights: their permission has to name, without a
// wildcard, each role that reaches the control plane and is put, granted or inherited. To
// take away a deny gives as much as an allow does: so it has to name, too, a role that
// reached the control plane and is put anew, and one with a deny that is revoked or not
// inherited any more.
type reachAt struct {
	caller    *Caller
	now       int64
	tip, next *reach
	named     map[right]error
}

func (r *reachAt) check(c *policy.Change) error {
	switch c.Op {
	case policy.OpGrant:
		return r.mustName(mayGrant(c.Grant.Role))
	case policy.OpRevoke:
		if r.tip.of(c.Grant.Role).curbs || r.next.of(c.Grant.Role).curbs {
			return r.mustName(mayGrant(c.Grant.Role))
		}
	case policy.OpPutRole:
		return r.checkRole(c.Role)
	}
	return nil
}

func (r *reachAt) checkRole(put *policy.Role) error {
	before := r.tip.view.Role(put.Name())
	if namesControl(put) || before != nil && namesControl(before) {
		if err := r.mustName(mayChange(put.Name())); err != nil {
			return err
		}
	}
	for _, parent := range put.Inherits() {
		if r.next.of(parent).names || r.tip.of(parent).names {
			if err := r.mustName(mayGrant(parent)); err != nil {
				return err
			}
		}
	}
	if before == nil {
		return nil
	}
	for _, parent := range before.Inherits() {
		if !slices.Contains(put.Inherits(), parent) && r.tip.of(parent).curbs {
			if err := r.mustName(mayGrant(parent)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reachAt) mustName(what right) error {
	err, known := r.named[what]
	if !known {
		if !r.names(what.action, what.resource()) {
			err = fmt.Errorf("%w: role %q reaches the control plane", ErrNeedsFullRights, what.role)
		}
		r.named[what] = err
	}
	return err
}

// names finds a permission of the author that allows the action on the role by its name
// alone, and that counts: by a grant that has not expired and whose limits the role meets.
// That the author may at all was checked before.
func (r *reachAt) names(action, what string) bool {
	for _, g := range grantsOf(r.tip.view, r.caller.Principal) {
		if g.ExpiredAt(r.now) || len(g.Within) > 0 && !anyMatches(g.Within, what) {
			continue
		}
		roles := map[string]*policy.Role{}
		policy.Reach(r.tip.view, g.Role, roles)
		for _, role := range roles {
			if namesRole(role, action, what) {
				return true
			}
		}
	}
	return false
}

// namesRole reports whether one of the role's own permissions allows the action, without a
// condition, on just that resource.
func namesRole(r *policy.Role, action, what string) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Allow && p.When == nil && matchesAction(p, action) &&
			slices.ContainsFunc(p.Resources, func(res policy.ResourcePattern) bool { return res.String() == what })
	})
}

func anyMatches(patterns []policy.ResourcePattern, what string) bool {
	return slices.ContainsFunc(patterns, func(p policy.ResourcePattern) bool { return p.Matches(what) })
}

// grantsOf returns all grants that concern the principal, to patterns too.
func grantsOf(v policy.View, who policy.Principal) []policy.Grant {
	var grants []policy.Grant
	if r := v.Record(who); r != nil {
		grants = append(grants, r.Grants...)
	}
	for _, g := range v.Patterns() {
		if g.Principals.Matches(who) {
			grants = append(grants, g)
		}
	}
	return grants
}

// checkPatterns refuses a grant to a pattern of a role that reaches an action by which the
// policy, or the server, is administered.
func (r *reach) checkPatterns() error {
	for _, g := range r.view.Patterns() {
		if by := r.of(g.Role).administers; by != "" {
			return fmt.Errorf("%w: %s would get %q, which has permissions of %q", ErrExactOnly, g.Principals, g.Role, by)
		}
	}
	return nil
}
