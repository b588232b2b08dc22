package httpapi

import (
	"io"
	"sync/atomic"
	"time"
)

// writePace moves the server's write deadline for an answer that makes progress, so that it
// bounds a stalled write instead of the whole answer. Call begin and end at any time, and the other
// methods under the lock of the operation.
type writePace struct {
	timeout time.Duration
	timer   *time.Timer // nil if the server has no timeout, or after stop
	writing atomic.Int32
	writes  atomic.Uint64 // progress of any kind
	last    uint64        // progress at the last tick
}

// start calls extend several times in each timeout, until stop.
func (p *writePace) start(timeout time.Duration, extend func()) {
	p.timeout = timeout
	p.timer = time.AfterFunc(timeout/4, extend)
}

// stop makes tick return false from now on.
func (p *writePace) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

func (p *writePace) begin() { p.writing.Add(1); p.writes.Add(1) }

func (p *writePace) end() { p.writing.Add(-1); p.writes.Add(1) }

// tick reports whether the deadline may move: no write is in progress, or there was progress since
// the last tick.
func (p *writePace) tick() bool {
	if p.timer == nil {
		return false
	}
	p.timer.Reset(p.timeout / 4)
	writes := p.writes.Load()
	moved := writes != p.last || p.writing.Load() == 0
	p.last = writes
	return moved
}

// pacedSource is the source of a write in progress. The write is not stalled while it waits for
// its source.
type pacedSource struct {
	io.Reader
	pace *writePace
}

// Read implements [io.Reader].
func (s *pacedSource) Read(data []byte) (int, error) {
	s.pace.end()
	defer s.pace.begin()
	return s.Reader.Read(data)
}
