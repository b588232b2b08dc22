package policyfile

import (
	"cmp"
	"iter"
	"reflect"
	"slices"

	"github.com/interlock-authz/interlock/actors/policy"
)

// Diff returns the changes that turn a policy, given by all its roles and grants, into what
// the file says: none if it says the same. A nil sequence is an empty one. Diff revokes no
// certificates and restores none.
//
// Diff leaves the probe of package canary alone: the role of [policy.NewCanaryRole], unless the
// file defines it, and its grants, which come and go.
//
// [policy.Draft.Apply] accepts the changes in their order: revocations, then roles put with
// what they inherit before them, then grants, then roles deleted with what inherits them
// before them.
func Diff(roles iter.Seq[*policy.Role], grants iter.Seq[policy.Grant], to *File) []policy.Change {
	old := make(map[string]*policy.Role)
	if roles != nil {
		for r := range roles {
			old[r.Name()] = r
		}
	}
	if grants == nil {
		grants = func(func(policy.Grant) bool) {}
	}
	d := diffGrants(grants, to.Grants)
	changes := make([]policy.Change, 0, len(d.gone)+len(d.given)+len(to.Roles)+len(old))
	changes = d.appendRevokes(changes)
	for _, r := range policy.ParentsFirst(to.Roles) {
		if before := old[r.Name()]; before == nil || !reflect.DeepEqual(policy.SpecOfRole(before), policy.SpecOfRole(r)) {
			changes = append(changes, policy.PutRole(r, ""))
		}
	}
	changes = d.appendGrants(changes)
	for _, r := range slices.Backward(policy.ParentsFirst(old)) {
		if to.Roles[r.Name()] == nil && !r.IsCanary() {
			changes = append(changes, policy.DeleteRole(r.Name(), ""))
		}
	}
	return changes
}

// grantDiff is the difference between grants and the wanted grants. For grants that do not
// differ it keeps one bit, so that comparing two policies of a million grants does not copy them.
type grantDiff struct {
	wanted  []policy.Grant
	gone    []policy.Grant          // what is not wanted
	emptied map[policy.Holding]bool // of those without limits: their revocation takes all
	given   []int32                 // of those wanted: what is missing, or differs in expiry or reason
}

func diffGrants(old iter.Seq[policy.Grant], wanted []policy.Grant) *grantDiff {
	d := &grantDiff{wanted: wanted, emptied: map[policy.Holding]bool{}}
	index := policy.NewGrantIndex(len(wanted))
	for i := range wanted {
		index.Add(wanted, i)
	}
	same := make([]bool, len(wanted))
	for g := range old {
		if g.IsCanary() {
			continue
		}
		if i := index.Find(wanted, &g); i >= 0 {
			same[i] = g.Equal(&wanted[i])
			continue
		}
		d.gone = append(d.gone, g)
		if len(g.Within) == 0 {
			d.emptied[g.Holding()] = true
		}
	}
	for i := range wanted {
		if wanted[i].IsCanary() {
			continue
		}
		if !same[i] || len(d.emptied) > 0 && d.emptied[wanted[i].Holding()] {
			d.given = append(d.given, int32(i))
		}
	}
	return d
}

// appendRevokes takes what is not wanted, by holder, role and limits.
func (d *grantDiff) appendRevokes(changes []policy.Change) []policy.Change {
	slices.SortFunc(d.gone, func(a, b policy.Grant) int {
		if c := a.Holding().Compare(b.Holding()); c != 0 {
			return c
		}
		return slices.Compare(limits(&a), limits(&b))
	})
	for i := range d.gone {
		g := &d.gone[i]
		if len(g.Within) > 0 && d.emptied[g.Holding()] {
			continue
		}
		changes = append(changes, policy.RevokeRole(policy.Grant{Principal: g.Principal, Principals: g.Principals, Role: g.Role, Within: g.Within}))
	}
	return changes
}

// appendGrants gives what is missing or differs, by holder and role, and what a revocation
// without limits took along.
func (d *grantDiff) appendGrants(changes []policy.Change) []policy.Change {
	slices.SortFunc(d.given, func(a, b int32) int {
		if c := d.wanted[a].Holding().Compare(d.wanted[b].Holding()); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for _, i := range d.given {
		changes = append(changes, policy.GrantRole(d.wanted[i]))
	}
	return changes
}

// limits returns the texts of the grant's limits, sorted.
func limits(g *policy.Grant) []string {
	texts := make([]string, len(g.Within))
	for i, w := range g.Within {
		texts[i] = w.String()
	}
	slices.Sort(texts)
	return texts
}
