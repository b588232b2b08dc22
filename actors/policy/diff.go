package policy

import (
	"cmp"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Diff returns the changes that make of a policy, given by all its roles and grants, what
// the file says: none if it says the same. Certificates stay revoked. Applied to the
// policy in their order, each is accepted by [Draft.Apply]: first revocations, then roles
// put with what they inherit before them, then grants, at last roles deleted with what
// inherits them before them.
func Diff(roles iter.Seq[*Role], grants iter.Seq[Grant], to *File) []Change {
	old := make(map[string]*Role)
	for r := range roles {
		old[r.name] = r
	}
	d := diffGrants(grants, to.Grants)
	changes := make([]Change, 0, len(d.gone)+len(d.given)+len(to.Roles)+len(old))
	changes = d.appendRevokes(changes)
	for _, r := range parentsFirst(to.Roles) {
		if before := old[r.name]; before == nil || !reflect.DeepEqual(SpecOfRole(before), SpecOfRole(r)) {
			changes = append(changes, PutRole(r, ""))
		}
	}
	changes = d.appendGrants(changes)
	for _, r := range slices.Backward(parentsFirst(old)) {
		if to.Roles[r.name] == nil {
			changes = append(changes, DeleteRole(r.name, ""))
		}
	}
	return changes
}

// parentsFirst orders roles without cycles by name, and each behind all that it inherits.
func parentsFirst(roles map[string]*Role) []*Role {
	ordered := make([]*Role, 0, len(roles))
	seen := make(map[string]bool, len(roles))
	var visit func(r *Role)
	visit = func(r *Role) {
		if r == nil || seen[r.name] {
			return
		}
		seen[r.name] = true
		for _, parent := range r.inherits {
			visit(roles[parent])
		}
		ordered = append(ordered, r)
	}
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		visit(roles[name])
	}
	return ordered
}

// holding is a holder and a role: what a revocation without limits takes at once.
type holding struct {
	principal  Principal
	principals PrincipalPattern
	role       string
}

func (g *Grant) holding() holding { return holding{g.Principal, g.Principals, g.Role} }

func (g *Grant) compareHolding(h *Grant) int {
	if c := strings.Compare(g.Principals.text, h.Principals.text); c != 0 {
		return c
	}
	if c := strings.Compare(g.Principal.id, h.Principal.id); c != 0 {
		return c
	}
	return strings.Compare(g.Role, h.Role)
}

// grantDiff is how grants differ from those that are wanted. It keeps what differs, and of
// what is the same a bit: two policies of a million grants are compared without a third.
type grantDiff struct {
	wanted  []Grant
	gone    []Grant          // what is not wanted
	emptied map[holding]bool // of those without limits: their revocation takes all
	given   []int32          // of those wanted: what is missing, or differs in expiry or reason
}

func diffGrants(old iter.Seq[Grant], wanted []Grant) *grantDiff {
	d := &grantDiff{wanted: wanted, emptied: map[holding]bool{}}
	index := newGrantIndex(len(wanted))
	for i := range wanted {
		index.add(wanted, i)
	}
	same := make([]bool, len(wanted))
	for g := range old {
		if i := index.find(wanted, &g); i >= 0 {
			same[i] = g.Equal(&wanted[i])
			continue
		}
		d.gone = append(d.gone, g)
		if len(g.Within) == 0 {
			d.emptied[g.holding()] = true
		}
	}
	for i := range wanted {
		if !same[i] || len(d.emptied) > 0 && d.emptied[wanted[i].holding()] {
			d.given = append(d.given, int32(i))
		}
	}
	return d
}

// appendRevokes takes what is not wanted, by holder, role and limits.
func (d *grantDiff) appendRevokes(changes []Change) []Change {
	slices.SortFunc(d.gone, func(a, b Grant) int {
		if c := a.compareHolding(&b); c != 0 {
			return c
		}
		return slices.Compare(slices.Sorted(slices.Values(texts(a.Within))), slices.Sorted(slices.Values(texts(b.Within))))
	})
	for i := range d.gone {
		g := &d.gone[i]
		if len(g.Within) > 0 && d.emptied[g.holding()] {
			continue
		}
		changes = append(changes, RevokeRole(Grant{Principal: g.Principal, Principals: g.Principals, Role: g.Role, Within: g.Within}))
	}
	return changes
}

// appendGrants gives what is missing or differs, by holder and role, and what a revocation
// without limits took along.
func (d *grantDiff) appendGrants(changes []Change) []Change {
	slices.SortFunc(d.given, func(a, b int32) int {
		if c := d.wanted[a].compareHolding(&d.wanted[b]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for _, i := range d.given {
		changes = append(changes, GrantRole(d.wanted[i]))
	}
	return changes
}
