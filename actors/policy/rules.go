package policy

import (
	"cmp"
	"slices"
	"strings"
)

// rule is the part of a permission for one pair of patterns.
type rule struct {
	action, resource string
	effect           Effect
	when             *Condition
}

func (r *rule) compare(s *rule) int {
	return cmp.Or(strings.Compare(r.action, s.action), strings.Compare(r.resource, s.resource),
		cmp.Compare(r.effect, s.effect), strings.Compare(r.when.String(), s.when.String()))
}

// mostPairs is the maximum number of pairs of patterns, for each pattern of a permission. A
// permission with more pairs is a [product].
const mostPairs = 8

func (p *Permission) isProduct() bool {
	return len(p.Actions)*len(p.Resources) > mostPairs*(len(p.Actions)+len(p.Resources))
}

// rulesOf returns the rules of a role's permissions, except those of products.
func rulesOf(r *Role) []rule {
	if r == nil {
		return nil
	}
	n := 0
	for i := range r.permissions {
		if p := &r.permissions[i]; !p.isProduct() {
			n += len(p.Actions) * len(p.Resources)
		}
	}
	rules := make([]rule, 0, n)
	for i := range r.permissions {
		p := &r.permissions[i]
		if p.isProduct() {
			continue
		}
		for _, a := range p.Actions {
			for _, res := range p.Resources {
				rules = append(rules, rule{action: a.text, resource: res.text, effect: p.Effect, when: p.When})
			}
		}
	}
	return rules
}

// replace replaces the rules of a role. before and after may be nil. It changes only the
// rules that differ.
func (x *index) replace(own *token, number int32, before, after *Role) {
	old, new := rulesOf(before), rulesOf(after)
	if len(old) > 0 && len(new) > 0 {
		old, new = differences(old, new)
	}
	for i := range old {
		x.change(own, number, &old[i], false)
	}
	for i := range new {
		x.change(own, number, &new[i], true)
	}
	x.replaceProducts(own, number, before, after)
}

// differences returns the rules that are only in old, and the rules that are only in new.
// It sorts both.
func differences(old, new []rule) (gone, added []rule) {
	order := func(a, b rule) int { return a.compare(&b) }
	slices.SortFunc(old, order)
	slices.SortFunc(new, order)
	same := func(a, b rule) bool { return a.compare(&b) == 0 }
	old, new = slices.CompactFunc(old, same), slices.CompactFunc(new, same)
	gone, added = old[:0], new[:0]
	for len(old) > 0 && len(new) > 0 {
		switch c := old[0].compare(&new[0]); {
		case c < 0:
			gone, old = append(gone, old[0]), old[1:]
		case c > 0:
			added, new = append(added, new[0]), new[1:]
		default:
			old, new = old[1:], new[1:]
		}
	}
	return append(gone, old...), append(added, new...)
}

// replaceProducts replaces a role's products.
func (x *index) replaceProducts(own *token, number int32, before, after *Role) {
	products := map[string][]*product{}
	if before != nil {
		for i := range before.permissions {
			if p := &before.permissions[i]; p.isProduct() {
				for _, a := range p.Actions {
					products[a.text] = nil
				}
			}
		}
	}
	if after != nil {
		for i := range after.permissions {
			if p := &after.permissions[i]; p.isProduct() {
				shared := newProduct(own, number, p)
				for _, a := range p.Actions {
					products[a.text] = append(products[a.text], shared)
				}
			}
		}
	}
	for action, list := range products {
		x.setProducts(own, number, action, list)
	}
}

func newProduct(own *token, number int32, p *Permission) *product {
	made := &product{}
	r := rule{effect: p.Effect, when: p.When}
	for _, resource := range p.Resources {
		made.resources = made.resources.change(own, resource.text, '/', func(t *terminal) *terminal {
			return t.with(own, number, &r, true)
		})
	}
	return made
}
