package control

import (
	"fmt"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// right is an action on a role, or on certificates.
type right struct {
	action, role string
	certificates bool
}

func (r right) resource() string {
	if r.certificates {
		return ResourceCertificates
	}
	return RoleResource(r.role)
}

func mayGrant(role string) right { return right{action: ActionGrant, role: role} }

func mayChange(role string) right { return right{action: ActionChange, role: role} }

// rightsAt decides the author's rights in the state that its changes build on, at one
// instant. Each right is decided once.
type rightsAt struct {
	author Author
	tip    policy.View
	now    int64
	asker  *policy.Asker
	found  map[right]error
}

// checkCredential rejects a credential that has expired or is revoked. The tip can contain a
// revocation that is not delivered yet.
func (r *rightsAt) checkCredential() error {
	c := r.author.Credential
	if c == nil {
		return nil
	}
	reason := policy.ReasonAllowed
	switch {
	case r.now >= c.NotAfter().UnixNano():
		reason = policy.ReasonCredentialExpired
	case slices.ContainsFunc(c.IDs(), r.tip.Revoked), r.author.Ended != nil && r.author.Ended(c):
		reason = policy.ReasonCredentialRevoked
	}
	if reason == policy.ReasonAllowed {
		return nil
	}
	d := policy.Denied(reason, r.author.Principal, r.tip.Revision(), r.now)
	return &actors.DeniedError{Decision: d, Principal: r.author.Principal, Action: ActionChange, Resource: ResourcePolicy}
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
		if err := r.mustHave(right{action: ActionChange, certificates: true}); err != nil {
			return err
		}
		return r.checkCA(c.Certificate)
	}
	return fmt.Errorf("%w: operation %q", policy.ErrInvalid, c.Op)
}

// checkCA checks the revocation of a CA. The first two IDs of a credential are those of its leaf.
func (r *rightsAt) checkCA(id policy.CertificateID) error {
	if own := r.author.Credential; own != nil && slices.Contains(own.IDs()[2:], id) {
		return fmt.Errorf("%w: %s", ErrOwnIssuer, id)
	}
	switch {
	case r.author.IsCA == nil || !r.author.IsCA(id):
		return nil
	case !FullRights(r.tip, r.author.Principal):
		return fmt.Errorf("%w: certificate %s is that of a CA", ErrNeedsFullRights, id)
	case !r.author.ForceCA:
		return fmt.Errorf("%w: %s", ErrRevokesCA, id)
	}
	return nil
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
		r.asker = policy.NewAsker(r.tip, r.author.Principal, r.now)
	}
	clock := func() time.Time { return time.Unix(0, r.now) }
	if d := r.asker.Ask(&policy.Query{Action: action, Resource: resource, Now: clock}); !d.Allowed {
		return &actors.DeniedError{Decision: d, Principal: r.author.Principal, Action: action, Resource: resource}
	}
	return nil
}

// reachAt checks an author without full rights, in two ways. A permission of the author must
// name, without a wildcard, each role that reaches the control plane and is put, granted or
// inherited. And the author must have itself what the role comes to give there.
//
// Removing a deny gives as much as adding an allow. So both hold for a role that reached the
// control plane before it is put, and for a role with a deny that is revoked or no longer
// inherited. A grant can remove a deny too: it replaces the expiry of an earlier one.
type reachAt struct {
	author    policy.Principal
	now       int64
	tip, next *reach
	named     map[right]error
	own       *ownRights // computed when it is needed
	given     map[giving]error
}

func (r *reachAt) check(c *policy.Change) error {
	switch c.Op {
	case policy.OpGrant:
		return r.mayGive(r.next, c.Grant.Role, policy.Allow, policy.Deny)
	case policy.OpRevoke:
		if r.tip.of(c.Grant.Role).curbs || r.next.of(c.Grant.Role).curbs {
			return r.mayGive(r.tip, c.Grant.Role, policy.Deny)
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
	for _, p := range lacking(put, before) {
		if p.Effect == policy.Allow {
			if err := r.mustHave(put.Name(), p); err != nil {
				return err
			}
		}
	}
	for _, p := range lacking(before, put) {
		if p.Effect == policy.Deny {
			if err := r.mustHave(put.Name(), p); err != nil {
				return err
			}
		}
	}
	return r.checkParents(put, before)
}

// checkParents checks what a role inherits, and what it no longer inherits.
func (r *reachAt) checkParents(put, before *policy.Role) error {
	for _, parent := range put.Inherits() {
		if r.next.of(parent).names || r.tip.of(parent).names {
			if err := r.mayGive(r.next, parent, policy.Allow); err != nil {
				return err
			}
		}
	}
	if before == nil {
		return nil
	}
	kept := map[string]bool{}
	for _, parent := range put.Inherits() {
		kept[parent] = true
	}
	for _, parent := range before.Inherits() {
		if !kept[parent] && r.tip.of(parent).curbs {
			if err := r.mayGive(r.tip, parent, policy.Deny); err != nil {
				return err
			}
		}
	}
	return nil
}

// giving is what mayGive has checked: a role at the tip or next, with its allows, its denies
// or both.
type giving struct {
	at             *reach
	role           string
	allows, denies bool
}

// mayGive checks that the author's permissions name the role, and that the author has what
// the role's permissions of these effects give. Each role is checked once, because an update
// can grant one to many principals.
func (r *reachAt) mayGive(at *reach, role string, effects ...policy.Effect) error {
	what := giving{at, role, slices.Contains(effects, policy.Allow), slices.Contains(effects, policy.Deny)}
	err, known := r.given[what]
	if !known {
		err = r.checkGiving(at, role, effects)
		if r.given == nil {
			r.given = map[giving]error{}
		}
		r.given[what] = err
	}
	return err
}

func (r *reachAt) checkGiving(at *reach, role string, effects []policy.Effect) error {
	if err := r.mustName(mayGrant(role)); err != nil {
		return err
	}
	for p := range controlPermissions(at.view, role) {
		if slices.Contains(effects, p.Effect) {
			if err := r.mustHave(role, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reachAt) mustHave(role string, p *policy.Permission) error {
	if r.own == nil {
		r.own = rightsOf(r.tip.view, r.author, r.now)
	}
	return r.own.cover(role, p)
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

// names reports whether a permission of the author allows the action on exactly that
// resource, by a grant that has not expired and whose limits include the resource.
func (r *reachAt) names(action, what string) bool {
	for _, g := range policy.GrantsOf(r.tip.view, r.author) {
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

// namesRole reports whether one of the role's own permissions allows the action on exactly
// that resource, without a condition.
func namesRole(r *policy.Role, action, what string) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Allow && p.When == nil && matchesAction(p, action) &&
			slices.ContainsFunc(p.Resources, func(res policy.ResourcePattern) bool { return res.String() == what })
	})
}

func anyMatches(patterns []policy.ResourcePattern, what string) bool {
	return slices.ContainsFunc(patterns, func(p policy.ResourcePattern) bool { return p.Matches(what) })
}
