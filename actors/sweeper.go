package actors

import "sync"

// sweeper finds the principals that a change of shared state concerns. It has one goroutine
// while there is something to sweep.
type sweeper struct {
	engine *Engine

	mu      sync.Mutex
	pending []*revision
	ended   chan struct{} // closed when the goroutine ends; nil if it does not run
}

// add queues a published revision. Its tracker expects the sweep. It does not block.
func (s *sweeper) add(r *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, r)
	if s.ended == nil {
		s.ended = make(chan struct{})
		go s.run()
	}
}

func (s *sweeper) run() {
	for {
		s.mu.Lock()
		due := s.pending
		s.pending = nil
		if len(due) == 0 {
			close(s.ended)
			s.ended = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		s.sweep(due)
	}
}

// sweep posts to each principal that runs something the revisions that concern it.
func (s *sweeper) sweep(due []*revision) {
	s.engine.directory.each(func(p *principal) {
		// The order of these loads matters: delivery.go says why.
		if !p.open.Load() || !p.isRunning() && p.inFlight.Load() == 0 {
			return
		}
		var concerned []*revision
		for _, r := range due {
			if r.concerns(p) {
				concerned = append(concerned, r)
				r.tracker.expect()
			}
		}
		if concerned != nil {
			p.tell(&node{message: &sharedChange{revisions: concerned}})
		}
	})
	for _, r := range due {
		r.tracker.applied()
	}
}

// wait returns when nothing is left to sweep.
func (s *sweeper) wait() {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if ended != nil {
		<-ended
	}
}
