package share

import (
	"context"
	"slices"
	"sync"
)

// Line lets a few users in at once; the others wait. The keys of those that wait take turns, so
// one that has many in the line delays another by one of them. It is safe for concurrent use.
// Make one with [NewLine].
type Line[K comparable] struct {
	mu      sync.Mutex
	free    int
	turns   []K // the keys of those that wait; the first is next
	waiting map[K][]chan struct{}
}

// NewLine returns a line that lets most in at once.
func NewLine[K comparable](most int) *Line[K] {
	return &Line[K]{free: most, waiting: map[K][]chan struct{}{}}
}

// Enter waits until it is the turn of the key. leave lets the next one in, and has to be called
// once. The error is that of the context; then there is nothing to leave.
func (l *Line[K]) Enter(ctx context.Context, key K) (leave func(), err error) {
	l.mu.Lock()
	if l.free > 0 {
		l.free--
		l.mu.Unlock()
		return l.leave, nil
	}
	in := make(chan struct{})
	if len(l.waiting[key]) == 0 {
		l.turns = append(l.turns, key)
	}
	l.waiting[key] = append(l.waiting[key], in)
	l.mu.Unlock()
	select {
	case <-in:
		return l.leave, nil
	case <-ctx.Done():
	}
	if !l.forget(key, in) {
		l.leave() // it was let in at the same time
	}
	return nil, ctx.Err()
}

// leave lets in the first of the key whose turn it is.
func (l *Line[K]) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.turns) == 0 {
		l.free++
		return
	}
	key := l.turns[0]
	l.turns = l.turns[1:]
	in := l.waiting[key][0]
	close(in)
	if l.keep(key, l.waiting[key][1:]) {
		l.turns = append(l.turns, key)
	}
}

// forget removes one that waits, and reports whether it did.
func (l *Line[K]) forget(key K, in chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.waiting[key], in)
	if i < 0 {
		return false
	}
	if !l.keep(key, slices.Delete(l.waiting[key], i, i+1)) {
		l.turns = slices.DeleteFunc(l.turns, func(k K) bool { return k == key })
	}
	return true
}

// keep stores what waits for a key, and reports whether anything does.
func (l *Line[K]) keep(key K, waiting []chan struct{}) bool {
	if len(waiting) == 0 {
		delete(l.waiting, key)
		return false
	}
	l.waiting[key] = waiting
	return true
}
