package actors

import (
	"slices"
	"sync"
	"time"
)

// sweeper finds the principals that a change of shared state concerns. It has one goroutine
// while there is something to sweep.
type sweeper struct {
	engine *Engine

	mu      sync.Mutex
	pending []*revision
	// unswept are the pending revisions and the ones being swept. The slice is replaced,
	// never changed.
	unswept []*revision
	ended   chan struct{} // closed when the goroutine ends; nil if it does not run
}

// add queues a published revision. Its tracker expects the sweep. It does not block.
func (s *sweeper) add(r *revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = append(s.pending, r)
	s.unswept = append(slices.Clip(s.unswept), r)
	if s.ended == nil {
		s.ended = make(chan struct{})
		go s.run()
	}
}

// unsweptRevisions returns the revisions whose sweeps have not ended. The caller must not
// change the slice.
func (s *sweeper) unsweptRevisions() []*revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unswept
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
		began := time.Now()
		s.sweep(due)
		s.engine.observeSweep(time.Since(began))
		s.mu.Lock()
		s.unswept = slices.Clone(s.unswept[len(due):])
		s.mu.Unlock()
		for _, r := range due {
			r.tracker.applied()
		}
	}
}

// sweep posts to each principal that runs something the revisions that concern it.
func (s *sweeper) sweep(due []*revision) {
	s.engine.directory.each(func(p *principal) {
		// The order of these loads matters: delivery.go says why.
		if !p.open.Load() || !p.isRunning() && p.leases.Load() == nil {
			return
		}
		var concerned []*revision
		for _, r := range due {
			if r.concerns(p) {
				concerned = append(concerned, r)
				r.tracker.expectTurn(p)
			}
		}
		if concerned != nil {
			p.tell(&node{message: &sharedChange{of: p, revisions: concerned}})
		}
	})
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
