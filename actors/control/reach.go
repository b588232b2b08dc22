package control

import (
	"fmt"
	"slices"

	"github.com/interlock-authz/interlock/actors/policy"
)

// reach computes what the roles of one view reach, with what they inherit. It computes each
// role once. It must not outlive the check that made it, because the view may change.
type reach struct {
	view  policy.View
	known map[string]*reached
}

func newReach(v policy.View) *reach { return &reach{view: v, known: map[string]*reached{}} }

// reached is what a role reaches, with all roles that it inherits.
type reached struct {
	names  bool // a permission, of either effect, names an interlock: action
	curbs  bool // such a permission denies
	denies bool // such a permission denies, and could match on some role

	changes, grants bool // allows interlock:change, interlock:grant on all roles without a condition
	proposes        bool // allows interlock:change or interlock:grant on something

	administers string // the role whose permission administers the policy or the server
}

// of returns what the role of that name reaches, nothing if there is no such role. The
// recursion ends because roles have no cycles.
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

// look adds a role's own permissions.
func (f *reached) look(role *policy.Role) {
	f.names, f.curbs = namesControl(role), curbsControl(role)
	for _, p := range role.Permissions() {
		if p.Effect == policy.Deny {
			f.denies = f.denies || deniesControl(p)
			continue
		}
		f.proposes = f.proposes || matchesAction(p, ActionChange) || matchesAction(p, ActionGrant)
		if p.When == nil && coversRoles(p) {
			f.changes = f.changes || matchesAction(p, ActionChange)
			f.grants = f.grants || matchesAction(p, ActionGrant)
		}
	}
	if administers(role) {
		f.administers = role.Name()
	}
}

func (f *reached) inherit(from *reached) {
	f.names, f.curbs, f.denies = f.names || from.names, f.curbs || from.curbs, f.denies || from.denies
	f.changes, f.grants, f.proposes = f.changes || from.changes, f.grants || from.grants, f.proposes || from.proposes
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

// fullRights reports whether the principal has full rights, as the package documentation
// defines them. It looks at the structure of the policy and decides nothing. Denies count
// also by grants to patterns and by expired grants.
func (r *reach) fullRights(who policy.Principal) bool {
	changes, grants := false, false
	for _, g := range policy.GrantsOf(r.view, who) {
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

// anyFullRights reports whether a principal for which who returns true has full rights. A
// nil who stands for all principals. It looks only at holders of roles that could give full
// rights.
func (r *reach) anyFullRights(who func(policy.Principal) bool) bool {
	for role := range r.view.Roles() {
		if found := r.of(role.Name()); !found.changes && !found.grants {
			continue
		}
		for holder := range r.view.Holders(role.Name()) {
			if (who == nil || who(holder)) && r.fullRights(holder) {
				return true
			}
		}
	}
	return false
}

// namesControl reports whether one of the role's own permissions, of either effect, names
// an interlock: action.
func namesControl(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), reachesControlPlane)
}

// curbsControl reports whether one of the role's own permissions denies an interlock:
// action.
func curbsControl(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Deny && reachesControlPlane(p)
	})
}

func reachesControlPlane(p policy.Permission) bool {
	return slices.ContainsFunc(p.Actions, policy.ActionPattern.ReachesControl)
}

// administers reports whether one of the role's own permissions allows an action that
// administers the policy or the server.
func administers(r *policy.Role) bool {
	return slices.ContainsFunc(r.Permissions(), func(p policy.Permission) bool {
		return p.Effect == policy.Allow && (matchesAction(p, ActionGrant) || matchesAction(p, ActionChange) || matchesAction(p, ActionOperate))
	})
}

// allRoles covers the resources of all roles.
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

// checkPatterns refuses a grant to a pattern of a role that administers.
func (r *reach) checkPatterns() error {
	for role := range r.view.Patterns().Roles() {
		by := r.of(role).administers
		if by == "" {
			continue
		}
		for g := range r.view.Patterns().All() {
			if g.Role == role {
				return fmt.Errorf("%w: role %q for %s has permissions of role %q", ErrExactOnly, g.Role, g.Principals, by)
			}
		}
	}
	return nil
}
