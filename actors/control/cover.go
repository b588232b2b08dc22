package control

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy"
)

// ownRights is what an author has on the control plane without a condition, by grants that
// have not expired.
type ownRights struct {
	allows []ownRight
	denies []*policy.Permission // also with a condition, and by expired grants
	budget int
}

type ownRight struct {
	permission *policy.Permission
	within     []policy.ResourcePattern // of the grant
}

// maxCompared bounds the comparisons of patterns for one update. An update that needs more
// needs full rights.
const maxCompared = 1 << 20

func rightsOf(v policy.View, who policy.Principal, now int64) *ownRights {
	own := &ownRights{budget: maxCompared}
	for _, g := range policy.GrantsOf(v, who) {
		for p := range controlPermissions(v, g.Role) {
			switch {
			case p.Effect == policy.Deny:
				own.denies = append(own.denies, p)
			case p.When == nil && !g.ExpiredAt(now):
				own.allows = append(own.allows, ownRight{permission: p, within: g.Within})
			}
		}
	}
	return own
}

// controlPermissions yields the permissions of a role, and of those that it inherits, that
// name an interlock: action.
func controlPermissions(v policy.View, name string) iter.Seq[*policy.Permission] {
	return func(yield func(*policy.Permission) bool) {
		roles := map[string]*policy.Role{}
		policy.Reach(v, name, roles)
		for _, role := range roles {
			for _, p := range ownControlPermissions(role) {
				if !yield(p) {
					return
				}
			}
		}
	}
}

// cover returns an error that wraps [ErrNeedsFullRights] unless the author has every pair of
// an interlock: action and a resource of the permission, whatever its effect and condition.
func (own *ownRights) cover(role string, p *policy.Permission) error {
	for _, a := range p.Actions {
		if !a.ReachesControl() {
			continue
		}
		for _, res := range p.Resources {
			if !own.has(a, res) {
				return fmt.Errorf("%w: role %q has %s on %s, which the author does not have itself", ErrNeedsFullRights, role, a, res)
			}
		}
	}
	return nil
}

func (own *ownRights) has(a policy.ActionPattern, res policy.ResourcePattern) bool {
	return slices.ContainsFunc(own.allows, func(r ownRight) bool {
		return own.covers(r.permission, a, res) && (len(r.within) == 0 || own.anyCovers(r.within, res))
	}) && !slices.ContainsFunc(own.denies, func(p *policy.Permission) bool {
		own.budget -= len(p.Actions) + len(p.Resources)
		return own.budget < 0 ||
			slices.ContainsFunc(p.Actions, a.Overlaps) && slices.ContainsFunc(p.Resources, res.Overlaps)
	})
}

func (own *ownRights) covers(p *policy.Permission, a policy.ActionPattern, res policy.ResourcePattern) bool {
	own.budget -= len(p.Actions)
	return own.budget >= 0 &&
		slices.ContainsFunc(p.Actions, func(mine policy.ActionPattern) bool { return mine.Covers(a) }) && own.anyCovers(p.Resources, res)
}

func (own *ownRights) anyCovers(patterns []policy.ResourcePattern, res policy.ResourcePattern) bool {
	own.budget -= len(patterns)
	return own.budget >= 0 && slices.ContainsFunc(patterns, func(mine policy.ResourcePattern) bool { return mine.Covers(res) })
}

// lacking returns a role's own permissions that name an interlock: action and
// that the other one does not have. Nil stands for a role without permissions.
func lacking(role, other *policy.Role) []*policy.Permission {
	in := map[string]bool{}
	for _, p := range ownControlPermissions(other) {
		in[textOf(p)] = true
	}
	return slices.DeleteFunc(ownControlPermissions(role), func(p *policy.Permission) bool { return in[textOf(p)] })
}

func ownControlPermissions(role *policy.Role) (found []*policy.Permission) {
	if role == nil {
		return nil
	}
	permissions := role.Permissions()
	for i := range permissions {
		if reachesControlPlane(permissions[i]) {
			found = append(found, &permissions[i])
		}
	}
	return found
}

// textOf returns a text that only equal permissions have.
func textOf(p *policy.Permission) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", p.Effect, p.When.String())
	for _, a := range p.Actions {
		fmt.Fprintf(&b, " %q", a)
	}
	b.WriteString(" on")
	for _, res := range p.Resources {
		fmt.Fprintf(&b, " %q", res)
	}
	return b.String()
}
