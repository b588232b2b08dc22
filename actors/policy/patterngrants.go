package policy

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// PatternGrants is a persistent set of grants to patterns of principals. No two of them are
// [Grant.Same]. A change takes time and memory for what it changes, times the logarithm of the
// number of grants, and does not affect copies made before. The zero value is empty. All
// methods but [PatternGrants.Update] are safe for concurrent use.
type PatternGrants struct {
	kinds hamt[name, *trieNode[patternEnd]] // by the kind of principals
	roles hamt[name, int]                   // how many grants there are of a role
}

// patternEnd has the grants to one pattern, by role. It does not change.
type patternEnd struct{ roles hamt[name, []*Grant] }

// PatternEdit is one change of a [PatternGrants].
type PatternEdit struct {
	// Grant is added. It replaces the one that is the [Grant.Same].
	Grant *Grant
	// Removed means that the grant is removed instead.
	Removed bool
}

// NewPatternGrants returns a set of the grants, which have to be to patterns. Of two that are
// [Grant.Same] it has the last.
func NewPatternGrants(grants []Grant) *PatternGrants {
	s, own := &PatternGrants{}, newToken()
	for i := range grants {
		s.put(own, &grants[i])
	}
	return s
}

// Update applies the edits in their order.
func (s *PatternGrants) Update(edits []PatternEdit) {
	own := newToken()
	for _, e := range edits {
		if e.Removed {
			s.remove(own, e.Grant)
		} else {
			s.put(own, e.Grant)
		}
	}
}

// All yields all grants in undefined order.
func (s *PatternGrants) All() iter.Seq[*Grant] {
	return func(yield func(*Grant) bool) {
		for _, root := range s.kinds.all() {
			if !root.all(func(end *patternEnd) bool { return end.all(yield) }) {
				return
			}
		}
	}
}

func (e *patternEnd) all(yield func(*Grant) bool) bool {
	for _, grants := range e.roles.all() {
		for _, g := range grants {
			if !yield(g) {
				return false
			}
		}
	}
	return true
}

// Sorted returns all grants, by pattern, role and limits.
func (s *PatternGrants) Sorted() []*Grant {
	all := slices.Collect(s.All())
	slices.SortFunc(all, func(a, b *Grant) int {
		return cmp.Or(a.Holding().Compare(b.Holding()),
			slices.CompareFunc(a.Within, b.Within, func(x, y ResourcePattern) int { return strings.Compare(x.text, y.text) }))
	})
	return all
}

// Matching yields the grants whose pattern matches the principal, in undefined order.
func (s *PatternGrants) Matching(p Principal) iter.Seq[*Grant] {
	return func(yield func(*Grant) bool) {
		kind, id, _ := strings.Cut(p.id, ":")
		root, ok := s.kinds.find(name(kind))
		if !ok {
			return
		}
		var found hits[patternEnd]
		root.walk(id, '/', &found)
		for i := range found.n {
			if !found.at(i).all(yield) {
				return
			}
		}
	}
}

// With returns the grants with the same pattern and role as g, whatever their limits. The slice
// does not change, and the caller must not change it.
func (s *PatternGrants) With(g *Grant) []*Grant {
	kind, pattern := g.kindAndPattern()
	root, _ := s.kinds.find(name(kind))
	end := root.find(pattern, '/')
	if end == nil {
		return nil
	}
	grants, _ := end.roles.find(name(g.Role))
	return grants
}

// Roles yields the names of the roles that are granted.
func (s *PatternGrants) Roles() iter.Seq[string] {
	return func(yield func(string) bool) {
		for role := range s.roles.all() {
			if !yield(string(role)) {
				return
			}
		}
	}
}

// GrantsRole reports whether there is a grant of the role of that name.
func (s *PatternGrants) GrantsRole(role string) bool {
	_, granted := s.roles.find(name(role))
	return granted
}

func (g *Grant) kindAndPattern() (kind, pattern string) {
	kind, pattern, _ = strings.Cut(g.Principals.text, ":")
	return kind, pattern
}

// put adds a copy of the grant. It returns false if an equal one is there.
func (s *PatternGrants) put(own *token, g *Grant) (changed bool) {
	s.change(own, g, func(list []*Grant) []*Grant {
		i := slices.IndexFunc(list, g.Same)
		if i >= 0 && list[i].Equal(g) {
			return list
		}
		changed = true
		added := *g
		if i < 0 {
			return append(slices.Clip(list), &added)
		}
		list = slices.Clone(list)
		list[i] = &added
		return list
	})
	return changed
}

// remove removes the grant that is the same as g.
func (s *PatternGrants) remove(own *token, g *Grant) {
	s.change(own, g, func(list []*Grant) []*Grant {
		i := slices.IndexFunc(list, g.Same)
		if i < 0 {
			return list
		}
		return slices.Concat(list[:i], list[i+1:])
	})
}

// change replaces the grants of g's role to g's pattern.
func (s *PatternGrants) change(own *token, g *Grant, f func([]*Grant) []*Grant) {
	kind, pattern := g.kindAndPattern()
	root, _ := s.kinds.find(name(kind))
	root = root.change(own, pattern, '/', func(end *patternEnd) *patternEnd {
		next := &patternEnd{}
		if end != nil {
			*next = *end
		}
		before, _ := next.roles.find(name(g.Role))
		list := f(before)
		s.count(own, g.Role, len(list)-len(before))
		if len(list) > 0 {
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
		s.kinds.delete(own, name(kind))
	} else {
		s.kinds.set(own, name(kind), root)
	}
}

// count changes the number of grants of a role.
func (s *PatternGrants) count(own *token, role string, by int) {
	if by == 0 {
		return
	}
	n, _ := s.roles.find(name(role))
	if n += by; n > 0 {
		s.roles.set(own, name(role), n)
	} else {
		s.roles.delete(own, name(role))
	}
}
