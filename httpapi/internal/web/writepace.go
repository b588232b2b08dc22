package web

import (
	"io"
	"sync/atomic"
	"time"
)

// WritePace moves the server's write deadline for an answer that makes progress, so that it
// bounds a stalled write instead of the whole answer. Call Begin and End at any time, and the other
// methods under one lock.
type WritePace struct {
	// Timeout is that of Start.
	Timeout time.Duration

	timer   *time.Timer // nil if the server has no timeout, or after Stop
	writing atomic.Int32
	writes  atomic.Uint64 // progress of any kind
	last    uint64        // progress at the last tick
}

// Start calls tick several times in each timeout, until Stop.
func (p *WritePace) Start(timeout time.Duration, tick func()) {
	p.Stop()
	p.Timeout = timeout
	p.timer = time.AfterFunc(timeout/4, tick)
}

// Stop makes Tick return false from now on.
func (p *WritePace) Stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// Begin is called when a write begins.
func (p *WritePace) Begin() { p.writing.Add(1); p.writes.Add(1) }

// End is called when a write has ended.
func (p *WritePace) End() { p.writing.Add(-1); p.writes.Add(1) }

// Tick reports whether the deadline may move: no write is in progress, or there was progress since
// the last tick. It does not block.
func (p *WritePace) Tick() bool {
	if p.timer == nil {
		return false
	}
	p.timer.Reset(p.Timeout / 4)
	writes := p.writes.Load()
	moved := writes != p.last || p.writing.Load() == 0
	p.last = writes
	return moved
}

// PacedSource is the source of a write in progress. The write is not stalled while it waits for
// its source.
type PacedSource struct {
	io.Reader
	Pace *WritePace
}

// Read implements [io.Reader].
func (s *PacedSource) Read(data []byte) (int, error) {
	s.Pace.End()
	defer s.Pace.Begin()
	return s.Reader.Read(data)
}
