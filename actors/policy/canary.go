package policy

import "reflect"

// The names that package canary uses for its probe.
const (
	// CanaryKind is the kind of the probe's principal.
	CanaryKind = "interlock-canary"
	// CanaryRole is the role that is granted to the probe and revoked from it.
	CanaryRole = "interlock-canary"
	// CanaryAction is the action that the role allows, on resources below CanaryKind.
	CanaryAction = "interlock-canary:probe"
)

var canaryRole = &Role{name: CanaryRole, permissions: []Permission{{
	Actions:   []ActionPattern{{text: CanaryAction}},
	Resources: []ResourcePattern{{text: CanaryKind + "/**"}},
}}}

// NewCanaryRole returns the role of the probe. It allows nothing that anything else uses.
func NewCanaryRole() *Role { return canaryRole }

// IsCanary reports whether r is exactly the role of [NewCanaryRole].
func (r *Role) IsCanary() bool {
	return r.name == CanaryRole && reflect.DeepEqual(SpecOfRole(r), SpecOfRole(canaryRole))
}

// IsCanary reports whether g is a grant of [CanaryRole] to a principal of kind [CanaryKind],
// without limits and without an end.
func (g *Grant) IsCanary() bool {
	return g.Role == CanaryRole && len(g.Principal.id) > len(CanaryKind) && g.Principal.id[:len(CanaryKind)+1] == CanaryKind+":" &&
		len(g.Within) == 0 && g.Expires.IsZero()
}
