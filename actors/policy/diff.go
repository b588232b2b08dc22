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
	revokes, gives := diffGrants(grants, to)
	changes := revokes
	for _, r := range parentsFirst(to.Roles) {
		if before := old[r.name]; before == nil || !reflect.DeepEqual(SpecOfRole(before), SpecOfRole(r)) {
			changes = append(changes, PutRole(r, ""))
		}
	}
	changes = append(changes, gives...)
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

func byHolding(grants iter.Seq[Grant]) map[holding][]Grant {
	m := make(map[holding][]Grant)
	for g := range grants {
		h := holding{g.Principal, g.Principals, g.Role}
		m[h] = append(m[h], g)
	}
	return m
}

func diffGrants(grants iter.Seq[Grant], to *File) (revokes, gives []Change) {
	old, wanted := byHolding(grants), byHolding(to.AllGrants())
	for _, h := range holdings(old, wanted) {
		r, g := diffHolding(old[h], wanted[h])
		revokes, gives = append(revokes, r...), append(gives, g...)
	}
	return revokes, gives
}

func holdings(a, b map[holding][]Grant) []holding {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.SortedFunc(maps.Keys(all), func(x, y holding) int {
		return cmp.Or(
			strings.Compare(x.principals.text, y.principals.text),
			strings.Compare(x.principal.id, y.principal.id), strings.Compare(x.role, y.role),
		)
	})
}

// diffHolding takes what is not wanted and gives what is missing or differs in expiry or
// reason. The revocation of a grant without limits takes all: what of it is wanted is
// given again.
func diffHolding(old, wanted []Grant) (revokes, gives []Change) {
	kept := make(map[string]*Grant, len(old))
	for i := range old {
		kept[old[i].key()] = &old[i]
	}
	gone := maps.Clone(kept)
	for i := range wanted {
		delete(gone, wanted[i].key())
	}
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		g := gone[key]
		delete(kept, key)
		revokes = append(revokes, RevokeRole(Grant{Principal: g.Principal, Principals: g.Principals, Role: g.Role, Within: g.Within}))
		if len(g.Within) == 0 {
			revokes, kept = revokes[len(revokes)-1:], nil
			break
		}
	}
	for i := range wanted {
		if before := kept[wanted[i].key()]; before == nil || !before.Equal(&wanted[i]) {
			gives = append(gives, GrantRole(wanted[i]))
		}
	}
	return revokes, gives
}
