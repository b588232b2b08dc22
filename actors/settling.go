package actors

import (
	"context"
	"sync"
	"time"
)

// settling is the time after a start in which operations that an earlier process admitted may
// still run: those of remote clients, until their leases expire. No update is quiesced before it
// has passed.
//
// Every tracker of an update counts the settling as something that it waits for. A receipt of an
// update from before the start, which has no tracker, waits for over.
type settling struct {
	over chan struct{} // closed when the time has passed

	mu   sync.Mutex
	held []*tracker
}

// begin starts the time. after is called when it has passed.
func (s *settling) begin(d time.Duration, after func()) {
	time.AfterFunc(d, func() {
		s.end()
		after()
	})
}

// end lets the updates be quiesced.
func (s *settling) end() {
	s.mu.Lock()
	held := s.held
	s.held = nil
	close(s.over)
	s.mu.Unlock()
	for _, t := range held {
		t.applied()
	}
}

// hold makes the update of a tracker wait. It is called before anything else waits for it.
func (s *settling) hold(t *tracker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver() {
		return
	}
	t.expect()
	t.settling = s
	s.held = append(s.held, t)
}

// isOver reports whether the time has passed.
func (s *settling) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// wait returns nil when the time has passed, and otherwise why it stopped waiting.
func (s *settling) wait(ctx context.Context) error {
	if s.isOver() {
		return nil // also if ctx is done
	}
	select {
	case <-s.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
