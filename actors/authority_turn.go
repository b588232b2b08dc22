package actors

// authorityState is the state of the authority: which proposals wait, and whether a group
// is on its way through the log. Its methods are the authority's turns; they return the
// group to hand over next.
type authorityState struct {
	queue  []*Proposal
	flight int
}

// proposed takes in a proposal. Groups form while the one before is being kept.
func (s *authorityState) proposed(p *Proposal) []*Proposal {
	s.queue = append(s.queue, p)
	return s.next()
}

// delivered takes in that so many proposals came back from the log.
func (s *authorityState) delivered(n int) []*Proposal {
	s.flight -= n
	return s.next()
}

func (s *authorityState) next() []*Proposal {
	if s.flight > 0 || len(s.queue) == 0 {
		return nil
	}
	group := s.queue
	s.queue = nil
	s.flight = len(group)
	return group
}
