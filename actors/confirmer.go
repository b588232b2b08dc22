package actors

import (
	"sync"

	"github.com/interlock-authz/interlock/actors/oplog"
)

// confirmer tells the engines that share the log how far this one is. Its goroutine confirms
// whenever a revision is delivered or quiesced. A nil confirmer does nothing.
//
// A confirmation may be late but never early: follow registers the tracker of a revision
// before the revision is published, and the goroutine reads the published revision before it
// looks at the trackers.
type confirmer struct {
	log     oplog.SharedLog
	engine  *Engine
	changed chan struct{} // of capacity 1
	stop    chan struct{}
	done    chan struct{}

	mu   sync.Mutex
	open []*tracker // ascending; trackers that were not quiesced at the last check
}

// newConfirmer returns nil for a log that is not shared.
func newConfirmer(e *Engine) *confirmer {
	shared, ok := e.journal.(oplog.SharedLog)
	if !ok {
		return nil
	}
	return &confirmer{log: shared, engine: e, changed: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// follow registers the tracker of a revision that is about to be published.
func (c *confirmer) follow(t *tracker) {
	if c == nil {
		return
	}
	t.mu.Lock()
	t.changed = c.nudge
	t.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = append(c.open, t)
}

// nudge asks for a confirmation. It does not block.
func (c *confirmer) nudge() {
	if c == nil {
		return
	}
	select {
	case c.changed <- struct{}{}:
	default: // one is due already
	}
}

func (c *confirmer) run() {
	defer close(c.done)
	for {
		c.confirm()
		select {
		case <-c.changed:
		case <-c.stop:
			c.confirm()
			return
		}
	}
}

// confirm does nothing while operations of an earlier process may still run.
func (c *confirmer) confirm() {
	if !c.engine.settling.isOver() {
		return
	}
	applied := c.engine.Revision()
	c.log.Confirm(applied, c.unquiesced(applied))
}

// unquiesced returns the revisions up to applied that are not quiesced, and forgets the
// others.
func (c *confirmer) unquiesced(applied uint64) []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var revisions []uint64
	left := c.open[:0]
	for _, t := range c.open {
		if t.quiesced() {
			continue
		}
		left = append(left, t)
		if t.revision <= applied {
			revisions = append(revisions, t.revision)
		}
	}
	clear(c.open[len(left):])
	c.open = left
	return revisions
}

// close confirms once more and ends the goroutine.
func (c *confirmer) close() {
	if c != nil {
		close(c.stop)
		<-c.done
	}
}
