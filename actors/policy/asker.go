package policy

import "slices"

// Ask decides one query on a view: see [Asker]. now is in nanoseconds of Unix time.
func Ask(v View, q *Query, now int64) Decision {
	return NewAsker(v, q.Principal, now).Ask(q)
}

// Asker decides queries of one principal on a view at one instant. It is for checks on a
// state that no engine has published. It must not outlive the view and belongs to one
// goroutine.
type Asker struct {
	who    Principal
	record *Record
	now    int64
	table  *Table
	held   *Effective
}

// NewAsker compiles what the principal can reach in the view at the instant now, in
// nanoseconds of Unix time. It costs more than a turn.
func NewAsker(v View, who Principal, now int64) *Asker {
	record := v.Record(who)
	roles := map[string]*Role{}
	var patterns []PatternEdit
	reach := func(g *Grant) { Reach(v, g.Role, roles) }
	if record != nil {
		for i := range record.Grants {
			reach(&record.Grants[i])
		}
	}
	for g := range v.Patterns().Matching(who) {
		patterns = append(patterns, PatternEdit{Grant: g})
		reach(g)
	}
	t := new(Table).Next(v.Revision(), roles, patterns)
	return &Asker{who: who, record: record, now: now, table: t, held: t.Compile(t.Hold(who, record, now))}
}

// NamesAction reports whether a permission of any role in the view names the action. An
// [Asker] only knows the roles that its principal can reach.
func NamesAction(v View, action string) bool {
	for r := range v.Roles() {
		for i := range r.permissions {
			if slices.ContainsFunc(r.permissions[i].Actions, func(p ActionPattern) bool { return p.Matches(action) }) {
				return true
			}
		}
	}
	return false
}

// Ask decides the query for the asker's principal. It ignores q.Principal.
func (a *Asker) Ask(q *Query) Decision {
	own := *q
	own.Principal = a.who
	d := a.table.Decide(a.held, &own)
	d.AttachRecord(a.record, a.now)
	return d
}
