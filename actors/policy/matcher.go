package policy

import (
	"slices"
	"strings"
)

// patternMatcher finds the pattern grants that match a principal. A copy is a matcher of its
// own: a change copies what it touches.
type patternMatcher struct {
	kinds hamt[name, *trieNode[patternEnd]] // by the kind of principals
}

// patternEnd has the grants to one pattern, by role. It does not change.
type patternEnd struct{ roles hamt[name, []*Grant] }

// replace makes a matcher of the grants before one of the grants after. It compares both,
// which is cheap, and touches only what differs.
func (m *patternMatcher) replace(own *token, before, after []Grant) {
	common := min(len(before), len(after))
	for i := range common {
		if !before[i].Equal(&after[i]) {
			m.remove(own, &before[i])
		}
	}
	for i := range before[common:] {
		m.remove(own, &before[common+i])
	}
	for i := range after {
		if i >= common || !before[i].Equal(&after[i]) {
			m.add(own, &after[i])
		}
	}
}

func (m *patternMatcher) add(own *token, g *Grant) {
	added := *g
	m.change(own, g, func(list []*Grant) []*Grant { return append(slices.Clip(list), &added) })
}

// remove removes one grant that is equal to g.
func (m *patternMatcher) remove(own *token, g *Grant) {
	m.change(own, g, func(list []*Grant) []*Grant {
		i := slices.IndexFunc(list, func(h *Grant) bool { return h.Equal(g) })
		if i < 0 {
			return list
		}
		return slices.Concat(list[:i], list[i+1:])
	})
}

// change replaces the grants of g's role to g's pattern.
func (m *patternMatcher) change(own *token, g *Grant, f func([]*Grant) []*Grant) {
	kind, pattern, _ := strings.Cut(g.Principals.text, ":")
	root, _ := m.kinds.find(name(kind))
	root = root.change(own, pattern, '/', func(end *patternEnd) *patternEnd {
		next := &patternEnd{}
		if end != nil {
			*next = *end
		}
		before, _ := next.roles.find(name(g.Role))
		if list := f(before); len(list) > 0 {
			next.roles.set(own, name(g.Role), list)
		} else {
			next.roles.delete(own, name(g.Role))
		}
		if next.roles.len == 0 {
			return nil
		}
		return next
	})
	if root == nil {
		m.kinds.delete(own, name(kind))
	} else {
		m.kinds.set(own, name(kind), root)
	}
}

// match calls yield for each grant whose pattern matches the principal.
func (m *patternMatcher) match(p Principal, yield func(*Grant)) {
	kind, id, _ := strings.Cut(p.id, ":")
	root, ok := m.kinds.find(name(kind))
	if !ok {
		return
	}
	var found hits[patternEnd]
	root.walk(id, '/', &found)
	for i := range found.n {
		for _, grants := range found.at(i).roles.all() {
			for _, g := range grants {
				yield(g)
			}
		}
	}
}
