package servertest

import "github.com/interlock-authz/interlock/actors/oplog"

// FencedLog is a log in memory that a test fences.
type FencedLog struct {
	*oplog.Memory
	events oplog.Events
}

// Open implements [oplog.Log].
func (l *FencedLog) Open(events oplog.Events) (oplog.InitialState, error) {
	l.events = events
	return l.Memory.Open(events)
}

// Fence fences the engine. The channel is closed when all operations have ended.
func (l *FencedLog) Fence() <-chan struct{} {
	ended := make(chan struct{})
	l.events.Fence(func() { close(ended) })
	return ended
}

// Unfence lets the engine decide again.
func (l *FencedLog) Unfence() { l.events.Unfence() }
