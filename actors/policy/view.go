package policy

// Reach adds to roles the role of that name and all that it inherits, as the view has
// them.
func Reach(v View, name string, roles map[string]*Role) {
	if _, seen := roles[name]; seen {
		return
	}
	r := v.Role(name)
	if r == nil {
		return
	}
	roles[name] = r
	for _, parent := range r.inherits {
		Reach(v, parent, roles)
	}
}

// GrantsOf returns all grants of the principal in the view: exact grants first, then grants
// to patterns that match it. Expired grants are included. The caller owns the slice.
func GrantsOf(v View, who Principal) []Grant {
	var grants []Grant
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
