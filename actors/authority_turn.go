package actors

// maxFlight is how many groups are on their way through the log at once: while one is
// being synced, the next is prepared.
const maxFlight = 2

// authorityState is the state of the authority: which proposals wait, and how many groups
// are on their way through the log. Its methods are the authority's turns; they return
// the group to hand over next.
type authorityState struct {
	queue  []*Proposal
	flight int
}

// proposed takes in a proposal. Groups form while those before are being kept.
func (s *authorityState) proposed(p *Proposal) []*Proposal {
	s.queue = append(s.queue, p)
	return s.next()
}

// delivered takes in that a group came back from the log, or was not handed over.
func (s *authorityState) delivered() []*Proposal {
	s.flight--
	return s.next()
}

func (s *authorityState) next() []*Proposal {
	if s.flight == maxFlight || len(s.queue) == 0 {
		return nil
	}
	group := s.queue
	s.queue = nil
	s.flight++
	return group
}
