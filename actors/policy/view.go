package policy

// Ask decides a query by a view itself, for checks that have to be made on a state that
// no engine has published. It compiles what the principal can reach, so it costs more
// than a turn. now is in nanoseconds of Unix time.
func Ask(v View, q *Query, now int64) Decision {
	record := v.Record(q.Principal)
	roles := map[string]*Role{}
	var patterns []Grant
	reach := func(g *Grant) { Reach(v, g.Role, roles) }
	if record != nil {
		for i := range record.Grants {
			reach(&record.Grants[i])
		}
	}
	for _, g := range v.Patterns() {
		if g.Principals.Matches(q.Principal) {
			patterns = append(patterns, g)
			reach(&g)
		}
	}
	empty := &Table{index: newIndex(nil), matcher: newPatternMatcher(nil)}
	t := empty.Next(v.Revision(), roles, &patterns)
	d := t.Decide(t.Compile(t.Hold(q.Principal, record, now)), q)
	d.Concern(record, now)
	return d
}

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
