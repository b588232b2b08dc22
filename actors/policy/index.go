package policy

import "strings"

// index answers which permissions match an action on a resource, over all roles at once. It
// leads from actions to resources: from each action pattern to a trie of resource patterns,
// whose ends are terminals. Only a role's own permissions are in it; inheritance is in the
// principal's set of roles. A copy is an index of its own: a change copies what it touches.
type index struct {
	literal hamt[name, *actionEnd] // by actions without a wildcard
	wild    *trieNode[actionEnd]   // by the other patterns
	control *trieNode[actionEnd]   // by patterns that begin with "interlock:"
}

// actionEnd is all that belongs to one action pattern.
type actionEnd struct {
	own       *token
	resources *trieNode[terminal]
	products  *byRole[*product] // nil if there are none
}

// product is a permission of many actions on many resources. Its actions share one trie of
// its resources, because the pairs would take memory that is not linear in the policy.
type product struct{ resources *trieNode[terminal] }

// terminal is all that ends at one pair of patterns: sets of roles for what needs no
// condition, lists for what does.
type terminal struct {
	own         *token
	allow, deny roleTree
	conditions  *conditional // nil if there are none
}

// conditional has the conditions of a terminal, by role. It does not change.
type conditional struct{ allow, deny byRole[*Condition] }

func (t *terminal) empty() bool { return t.allow.empty() && t.deny.empty() && t.conditions == nil }

func (a *actionEnd) empty() bool { return a.resources == nil && a.products == nil }

// changeAction replaces what belongs to an action pattern by what f returns, nil to remove it.
func (x *index) changeAction(own *token, action string, f func(*actionEnd) *actionEnd) {
	switch {
	case !strings.Contains(action, wildOne):
		before, _ := x.literal.find(name(action))
		if after := f(before); after == nil {
			x.literal.delete(own, name(action))
		} else if after != before {
			x.literal.set(own, name(action), after)
		}
	case isControl(action):
		x.control = x.control.change(own, action, ':', f)
	default:
		x.wild = x.wild.change(own, action, ':', f)
	}
}

// change adds what a role says on a pair of patterns, or removes it.
func (x *index) change(own *token, role int32, r *rule, add bool) {
	x.changeAction(own, r.action, func(a *actionEnd) *actionEnd {
		a = a.owned(own)
		a.resources = a.resources.change(own, r.resource, '/', func(t *terminal) *terminal {
			return t.with(own, role, r, add)
		})
		return a.kept()
	})
}

// setProducts replaces the products of a role for an action pattern.
func (x *index) setProducts(own *token, role int32, action string, products []*product) {
	x.changeAction(own, action, func(a *actionEnd) *actionEnd {
		a = a.owned(own)
		var all byRole[*product]
		if a.products != nil {
			all = *a.products
		}
		all = all.with(own, role, products)
		a.products = &all
		if all.roles.empty() {
			a.products = nil
		}
		return a.kept()
	})
}

func (a *actionEnd) owned(own *token) *actionEnd {
	if a == nil {
		return &actionEnd{own: own}
	}
	if a.own == own {
		return a
	}
	return &actionEnd{own: own, resources: a.resources, products: a.products}
}

func (a *actionEnd) kept() *actionEnd {
	if a.empty() {
		return nil
	}
	return a
}

// with returns the terminal with the rule of a role added or removed, nil if it is empty.
func (t *terminal) with(own *token, role int32, r *rule, add bool) *terminal {
	if t == nil {
		t = &terminal{own: own}
	} else if t.own != own {
		t = &terminal{own: own, allow: t.allow, deny: t.deny, conditions: t.conditions}
	}
	if r.when != nil {
		t.conditions = t.conditions.with(own, role, r, add)
	} else {
		set := &t.allow
		if r.effect == Deny {
			set = &t.deny
		}
		if add {
			*set = set.with(own, role)
		} else {
			*set = set.without(own, role)
		}
	}
	if t.empty() {
		return nil
	}
	return t
}

func (c *conditional) with(own *token, role int32, r *rule, add bool) *conditional {
	next := &conditional{}
	if c != nil {
		*next = *c
	}
	m := &next.allow
	if r.effect == Deny {
		m = &next.deny
	}
	var list []*Condition
	for _, when := range m.of(role) {
		if when.text != r.when.text {
			list = append(list, when)
		}
	}
	if add {
		list = append(list, r.when)
	}
	*m = m.with(own, role, list)
	if next.allow.roles.empty() && next.deny.roles.empty() {
		return nil
	}
	return next
}

// matches are the terminals that match an action on a resource. Those in whose patterns a
// wildcard matched what no wildcard of an allow does have no allows.
type matches struct {
	hits[terminal]
	odd bool // the resource has an odd segment
}

// find fills out with the terminals that match, except some that concern no role of held. It
// reports whether any permission of any role names the action.
func (x *index) find(held roleSet, action, resource string, out *matches) bool {
	end, named := x.literal.get(name(action), hashSegment(action))
	if named {
		end.find(held, resource, out)
	}
	patterns := x.wild
	if isControl(action) {
		patterns = x.control
	}
	if patterns != nil && findWild(patterns, held, action, resource, out) {
		named = true
	}
	return named
}

func (a *actionEnd) find(held roleSet, resource string, out *matches) {
	out.walk(a.resources, resource)
	if a.products != nil {
		a.products.each(held, func(_ int32, products []*product) bool {
			for _, p := range products {
				out.walk(p.resources, resource)
			}
			return true
		})
	}
}

func findWild(n *trieNode[actionEnd], held roleSet, action, resource string, out *matches) bool {
	var ends hits[actionEnd]
	n.walk(action, ':', &ends)
	for i := range ends.n {
		ends.at(i).find(held, resource, out)
	}
	return ends.n > 0
}

// walk adds the terminals of a trie that match the resource.
func (m *matches) walk(resources *trieNode[terminal], resource string) {
	if !m.odd {
		resources.walk(resource, '/', &m.hits)
		return
	}
	resources.walkOdd(resource, true, false, func(t *terminal, wild bool) {
		if wild {
			t = t.denies()
		}
		m.add(t)
	})
}

// denies returns the terminal without its allows.
func (t *terminal) denies() *terminal {
	d := &terminal{deny: t.deny}
	if t.conditions != nil {
		d.conditions = &conditional{deny: t.conditions.deny}
	}
	return d
}
