// Package share bounds what is in use at once, in all and for each of those who use it, so that
// one cannot take the places of all others.
package share

import "sync"

// Shares are the places of one kind, for users that a key tells apart. It is safe for concurrent
// use. Make one with [New].
type Shares[K comparable] struct {
	most, mostOfEach int

	mu   sync.Mutex
	all  int
	each map[K]int
}

// New returns places for most users in all, and mostOfEach for one key.
func New[K comparable](most, mostOfEach int) *Shares[K] {
	return &Shares[K]{most: most, mostOfEach: mostOfEach, each: map[K]int{}}
}

// MostOfEach returns the bound for one key.
func (s *Shares[K]) MostOfEach() int { return s.mostOfEach }

// Enter takes a place and reports whether there was one. leave gives it back, and may be called
// more than once. Without a place leave does nothing.
func (s *Shares[K]) Enter(key K) (leave func(), ok bool) { return s.EnterMany(key, 1) }

// EnterMany takes n places, or as many as one key may have.
func (s *Shares[K]) EnterMany(key K, n int) (leave func(), ok bool) {
	n = min(n, s.mostOfEach)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all+n > s.most || s.each[key]+n > s.mostOfEach {
		return func() {}, false
	}
	s.all += n
	s.each[key] += n
	return sync.OnceFunc(func() { s.leave(key, n) }), true
}

func (s *Shares[K]) leave(key K, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all -= n
	if s.each[key] -= n; s.each[key] == 0 {
		delete(s.each, key)
	}
}
