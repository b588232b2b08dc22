package policy

import "slices"

// patternSet is a set of pattern grants, indexed by holder and role, so that an update of
// many does not search all for each. Their order is undefined.
type patternSet struct {
	grants []Grant
	at     map[Holding][]int32 // positions in grants
}

// newPatternSet copies the grants.
func newPatternSet(grants []Grant) *patternSet {
	s := &patternSet{grants: slices.Clone(grants), at: make(map[Holding][]int32, len(grants))}
	for i := range s.grants {
		h := s.grants[i].Holding()
		s.at[h] = append(s.at[h], int32(i))
	}
	return s
}

// put adds a grant, or replaces the same one.
func (s *patternSet) put(g *Grant) {
	h := g.Holding()
	for _, i := range s.at[h] {
		if s.grants[i].Same(g) {
			s.grants[i] = *g
			return
		}
	}
	s.at[h] = append(s.at[h], int32(len(s.grants)))
	s.grants = append(s.grants, *g)
}

// take removes what the revocation revokes.
func (s *patternSet) take(revocation *Grant) {
	for {
		i := slices.IndexFunc(s.at[revocation.Holding()], func(i int32) bool { return revocation.revokes(s.grants[i]) })
		if i < 0 {
			return
		}
		s.remove(s.at[revocation.Holding()][i])
	}
}

// remove moves the last grant into the removed one's place.
func (s *patternSet) remove(i int32) {
	last := int32(len(s.grants) - 1)
	s.forget(i)
	if i != last {
		moved := s.grants[last].Holding()
		s.at[moved][slices.Index(s.at[moved], last)] = i
		s.grants[i] = s.grants[last]
	}
	s.grants[last] = Grant{}
	s.grants = s.grants[:last]
}

// forget removes a position from the index.
func (s *patternSet) forget(i int32) {
	h := s.grants[i].Holding()
	left := slices.DeleteFunc(s.at[h], func(j int32) bool { return j == i })
	if len(left) == 0 {
		delete(s.at, h)
		return
	}
	s.at[h] = left
}
