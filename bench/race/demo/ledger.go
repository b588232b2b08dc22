package demo

import (
	"sync"

	"github.com/interlock-authz/interlock/bench/race"
)

// ledger is what the protected operation changes. It stamps each use.
type ledger struct {
	mu      sync.Mutex
	entries []race.Span
}

// write is the use.
func (l *ledger) write() race.Span {
	start := race.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := race.Span{Start: start, End: race.Now()}
	l.entries = append(l.entries, entry)
	return entry
}

// after returns the entries from the nth on, and how many there are in all.
func (l *ledger) after(n int) ([]race.Span, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[min(n, len(l.entries)):], len(l.entries)
}
