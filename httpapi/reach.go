package httpapi

import (
	"slices"

	"github.com/interlock-authz/interlock/actors/policy"
)

// reach answers what the roles of one view reach, by themselves and by what they inherit.
// Each role is looked at once, however many changes of an update are about it. It lives as
// long as one check does, for the view may change after it.
type reach struct {
	view  policy.View
	known map[string]*reached
}

func newReach(v policy.View) *reach { return &reach{view: v, known: map[string]*reached{}} }

// reached is what a role comes to, with all that it inherits.
type reached struct {
	names  bool // a permission, of either effect, is about the control plane
	curbs  bool // one of them denies
	denies bool // and could match on some role

	changes, grants bool // is allowed to on all roles, without a condition

	administers string // the role whose permission administers the policy, or the server
}

// of returns what the role of that name comes to; nothing if there is none. Roles have no
// cycles, so the recursion ends.
func (r *reach) of(name string) *reached {
	if found, ok := r.known[name]; ok {
		return found
	}
	found := &reached{}
	r.known[name] = found
	role := r.view.Role(name)
	if role == nil {
		return found
	}
	found.look(role)
	for _, parent := range role.Inherits() {
		found.inherit(r.of(parent))
	}
	return found
}

// look takes in a role's own permissions.
func (f *reached) look(role *policy.Role) {
	f.names, f.curbs = namesControl(role), curbsControl(role)
	for _, p := range role.Permissions() {
		if p.Effect == policy.Deny {
			f.denies = f.denies || deniesControl(p)
			continue
		}
		if p.When == nil && coversRoles(p) {
			f.changes = f.changes || matchesAction(p, actionChange)
			f.grants = f.grants || matchesAction(p, actionGrant)
		}
	}
	if administers(role) {
		f.administers = role.Name()
	}
}

func (f *reached) inherit(from *reached) {
	f.names, f.curbs, f.denies = f.names || from.names, f.curbs || from.curbs, f.denies || from.denies
	f.changes, f.grants = f.changes || from.changes, f.grants || from.grants
	if f.administers == "" {
		f.administers = from.administers
	}
}

// control reports whether the role that a change is about reaches the control plane.
func (r *reach) control(c *policy.Change) bool {
	switch c.Op {
	case policy.OpGrant, policy.OpRevoke:
		return r.of(c.Grant.Role).names
	case policy.OpPutRole:
		return r.of(c.Role.Name()).names
	}
	return false
}

// fullRights is a check of structure, not a decision: the principal has, from an exact
// grant without limits, an unconditional allow of interlock:change and interlock:grant
// that covers all roles; and no deny in any of its roles, by grants to patterns and
// expired ones too, could match an action of the control plane on any role.
func (r *reach) fullRights(who policy.Principal) bool {
	changes, grants := false, false
	for _, g := range grantsOf(r.view, who) {
		role := r.of(g.Role)
		if role.denies {
			return false
		}
		if g.Exact() && len(g.Within) == 0 && g.Expires.IsZero() {
			changes, grants = changes || role.changes, grants || role.grants
		}
	}
	return changes && grants
}

// anyFullRights looks at the holders of roles that could give full rights, and at nobody
// else.
func (r *reach) anyFullRights() bool {
	for role := range r.view.Roles() {
		if found := r.of(role.Name()); !found.changes && !found.grants {
			continue
		}
		for who := range r.view.Holders(role.Name()) {
			if r.fullRights(who) {
				return true
			}
		}
	}
	return false
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

// administers reports whether one of the role's own permissions is of an action by which
// the policy, or the server, is administered.
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

func coversRoles(p policy.Permission) bool {
	return slices.ContainsFunc(p.Resources, func(r policy.ResourcePattern) bool { return r.Covers(allRoles) })
}

func deniesControl(p policy.Permission) bool {
	return reachesControlPlane(p) &&
		slices.ContainsFunc(p.Resources, func(r policy.ResourcePattern) bool { return r.Overlaps(allRoles) })
}

func matchesAction(p policy.Permission, action string) bool {
	return slices.ContainsFunc(p.Actions, func(a policy.ActionPattern) bool { return a.Matches(action) })
}
