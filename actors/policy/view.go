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
