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
}

// before checks the author's certificate and, for each change, its right.
func (a *author) before(tip policy.View) error {
	if err := a.checkCertificate(tip); err != nil {
		return err
	}
	for i := range a.changes {
		if err := a.checkRights(tip, &a.changes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *author) checkCertificate(tip policy.View) error {
	c := a.caller.Credential
	if c == nil {
		return nil
	}
	reason := policy.ReasonAllowed
	switch {
	case a.now() >= c.NotAfter().UnixNano():
		reason = policy.ReasonCredentialExpired
	case slices.ContainsFunc(c.IDs(), tip.Revoked):
		reason = policy.ReasonCredentialRevoked
	}
	if reason == policy.ReasonAllowed {
		return nil
	}
	d := policy.Denied(reason, a.caller.Principal, tip.Revision(), a.now())
	return &actors.DeniedError{Decision: d, Principal: a.caller.Principal, Action: actionChange, Resource: resourcePolicy}
}

func (a *author) checkRights(tip policy.View, c *policy.Change) error {
	switch c.Op {
	case policy.OpGrant, policy.OpRevoke:
		return a.mustHave(tip, actionGrant, rolesResource(c.Grant.Role))
	case policy.OpPutRole:
		for _, parent := range c.Role.Inherits() {
			if err := a.mustHave(tip, actionGrant, rolesResource(parent)); err != nil {
				return err
			}
		}
		return a.mustHave(tip, actionChange, rolesResource(c.Role.Name()))
	case policy.OpDeleteRole:
		return a.mustHave(tip, actionChange, rolesResource(c.Name))
	case policy.OpRevokeCertificate:
		return a.mustHave(tip, actionChange, resourceCertificates)
	}
	return fmt.Errorf("%w: operation %q", policy.ErrInvalid, c.Op)
}

func (a *author) mustHave(tip policy.View, action, resource string) error {
	clock := func() time.Time { return time.Unix(0, a.now()) }
	q := policy.Query{Principal: a.caller.Principal, Action: action, Resource: resource, Now: clock}
	if d := policy.Ask(tip, &q, a.now()); !d.Allowed {
		return &actors.DeniedError{Decision: d, Principal: q.Principal, Action: action, Resource: resource}
	}
	return nil
}

// after checks what the changes lead to: that nothing which reaches the control plane was
// widened or given away by somebody who could not, and that somebody keeps full rights.
func (a *author) after(tip, next policy.View) error {
	touched := false
	full := hasFullRights(tip, a.caller.Principal)
	for i := range a.changes {
		c := &a.changes[i]
		reaches := reachesControl(tip, c) || reachesControl(next, c) || c.Op == policy.OpPutRole && namesControl(c.Role)
		touched = touched || reaches || c.Op == policy.OpPutRole || c.Op == policy.OpDeleteRole
		if reaches && !full {
			if err := a.checkReach(tip, next, c); err != nil {
				return err
			}
		}
	}
	if !touched {
		return nil
	}
	if err := checkPatterns(next); err != nil {
		return err
	}
	if anyFullRights(tip) && !anyFullRights(next) {
		return ErrLastAdministrator
	}
	return nil
}

// checkReach is for authors without full rights: their permission has to name, without a
// wildcard, each role that reaches the control plane and is put, granted or inherited. To
// take away a deny gives as much as an allow does: so it has to name, too, a role that
// reached the control plane and is put anew, and one with a deny that is revoked or not
// inherited any more.
func (a *author) checkReach(tip, next policy.View, c *policy.Change) error {
	switch c.Op {
	case policy.OpGrant:
		return a.mustName(tip, actionGrant, c.Grant.Role)
	case policy.OpRevoke:
		if roleReaches(tip, c.Grant.Role, curbsControl) || roleReaches(next, c.Grant.Role, curbsControl) {
			return a.mustName(tip, actionGrant, c.Grant.Role)
		}
	case policy.OpPutRole:
		return a.checkReachOfRole(tip, next, c.Role)
	}
	return nil
}

func (a *author) checkReachOfRole(tip, next policy.View, put *policy.Role) error {
	before := tip.Role(put.Name())
	if namesControl(put) || before != nil && namesControl(before) {
		if err := a.mustName(tip, actionChange, put.Name()); err != nil {
			return err
		}
	}
	for _, parent := range put.Inherits() {
		if roleReaches(next, parent, namesControl) || roleReaches(tip, parent, namesControl) {
			if err := a.mustName(tip, actionGrant, parent); err != nil {
				return err
			}
		}
	}
	if before == nil {
		return nil
	}
	for _, parent := range before.Inherits() {
		if !slices.Contains(put.Inherits(), parent) && roleReaches(tip, parent, curbsControl) {
			if err := a.mustName(tip, actionGrant, parent); err != nil {
				return err
			}
		}
	}
	return nil
}

// mustName finds a permission of the author that allows the action on the role by its
// name alone, and that counts: by a grant that has not expired and whose limits the role
// meets. That the author may at all was checked before.
func (a *author) mustName(tip policy.View, action, role string) error {
	what := rolesResource(role)
	for _, g := range grantsOf(tip, a.caller.Principal) {
		if g.ExpiredAt(a.now()) || len(g.Within) > 0 && !anyMatches(g.Within, what) {
			continue
		}
		if roleReaches(tip, g.Role, func(r *policy.Role) bool { return namesRole(r, action, what) }) {
			return nil
		}
	}
	return fmt.Errorf("%w: role %q reaches the control plane", ErrNeedsFullRights, role)
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

func matchesAction(p policy.Permission, action string) bool {
	return slices.ContainsFunc(p.Actions, func(a policy.ActionPattern) bool { return a.Matches(action) })
}

// namesControl reports whether one of the role's own permissions, of either effect, is
// about the control plane.
func namesControl(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), reachesControlPlane)
}

// curbsControl reports whether one of them denies something of the control plane.
func curbsControl(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Deny && reachesControlPlane(p)
	})
}

func reachesControlPlane(p policy.Permission) bool {
	return slices.ContainsFunc(p.Actions, policy.ActionPattern.ReachesControl)
}

// roleReaches reports whether the role of that name, or one that it inherits, is such.
func roleReaches(v policy.View, name string, is func(*policy.Role) bool) bool {
	roles := map[string]*policy.Role{}
	policy.Reach(v, name, roles)
	for _, r := range roles {
		if is(r) {
			return true
		}
	}
	return false
}

// reachesControl reports whether the role that a change is about reaches the control
// plane, as the view has it.
func reachesControl(v policy.View, c *policy.Change) bool {
	switch c.Op {
	case policy.OpGrant, policy.OpRevoke:
		return roleReaches(v, c.Grant.Role, namesControl)
	case policy.OpPutRole:
		return roleReaches(v, c.Role.Name(), namesControl)
	}
	return false
}

// checkPatterns refuses a grant to a pattern of a role that reaches an action by which the
// policy, or the server, is administered.
func checkPatterns(v policy.View) error {
	for _, g := range v.Patterns() {
		roles := map[string]*policy.Role{}
		policy.Reach(v, g.Role, roles)
		for _, r := range roles {
			if administers(r) {
				return fmt.Errorf("%w: %s would get %q, which has permissions of %q", ErrExactOnly, g.Principals, g.Role, r.Name())
			}
		}
	}
	return nil
}

func administers(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Allow && (matchesAction(p, actionGrant) || matchesAction(p, actionChange) || matchesAction(p, actionOperate))
	})
}

// allRoles covers every role there can be.
var allRoles = func() policy.ResourcePattern {
	p, err := policy.ParseResourcePattern("roles/**")
	if err != nil {
		panic(err)
	}
	return p
}()

// hasFullRights is a check of structure, not a decision: the principal has, from an exact
// grant without limits, an unconditional allow of interlock:change and interlock:grant
// that covers all roles; and no deny in any of its roles, by grants to patterns and
// expired ones too, could match an action of the control plane on any role.
func hasFullRights(v policy.View, who policy.Principal) bool {
	change, grant := false, false
	for _, g := range grantsOf(v, who) {
		roles := map[string]*policy.Role{}
		policy.Reach(v, g.Role, roles)
		unlimited := g.Exact() && len(g.Within) == 0 && g.Expires.IsZero()
		for _, r := range roles {
			for _, p := range r.Permissions() {
				if p.Effect == policy.Deny && deniesControl(p) {
					return false
				}
				if unlimited && p.Effect == policy.Allow && p.When == nil && coversRoles(p) {
					change = change || matchesAction(p, actionChange)
					grant = grant || matchesAction(p, actionGrant)
				}
			}
		}
	}
	return change && grant
}

func coversRoles(p policy.Permission) bool {
	return slices.ContainsFunc(p.Resources, func(r policy.ResourcePattern) bool { return r.Covers(allRoles) })
}

func deniesControl(p policy.Permission) bool {
	return reachesControlPlane(p) &&
		slices.ContainsFunc(p.Resources, func(r policy.ResourcePattern) bool { return r.Overlaps(allRoles) })
}

// anyFullRights looks at the holders of roles that could give full rights, and at nobody
// else.
func anyFullRights(v policy.View) bool {
	for r := range v.Roles() {
		if !roleMayGiveFullRights(v, r) {
			continue
		}
		for who := range v.Holders(r.Name()) {
			if hasFullRights(v, who) {
				return true
			}
		}
	}
	return false
}

func roleMayGiveFullRights(v policy.View, r *policy.Role) bool {
	return roleReaches(v, r.Name(), func(reached *policy.Role) bool {
		return slices.ContainsFunc(reached.Permissions(), func(p policy.Permission) bool {
			return p.Effect == policy.Allow && p.When == nil && coversRoles(p) && (matchesAction(p, actionChange) || matchesAction(p, actionGrant))
		})
	})
}
