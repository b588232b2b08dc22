package actors

import (
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors/policy"
)

// directory finds the mailbox of an active principal. Reads take no lock: a shard is an
// open-addressed table behind an atomic pointer, and its places are atomic pointers. Writers
// lock their shard. A read of a table that is being replaced can miss a new entry, and insert
// then looks again under the lock. It can also find a removed entry, whose mailbox is closed.
type directory struct {
	shards [directoryShards]directoryShard
}

const directoryShards = 128

type directoryShard struct {
	places atomic.Pointer[[]atomic.Pointer[principal]]
	mu     sync.Mutex
	used   int // places that are not nil, including removed ones
	live   int
	_      [64]byte
}

// gone marks the place of a removed principal, so that searches continue behind it.
var gone = &principal{}

func newDirectory() *directory {
	d := &directory{}
	for i := range d.shards {
		places := make([]atomic.Pointer[principal], 8)
		d.shards[i].places.Store(&places)
	}
	return d
}

func (d *directory) shard(who policy.Principal) *directoryShard {
	return &d.shards[who.Hash()>>57]
}

// get returns the principal's mailbox, or nil.
func (d *directory) get(who policy.Principal) *principal {
	places := *d.shard(who).places.Load()
	mask := uint64(len(places) - 1)
	for i := who.Hash() & mask; ; i = (i + 1) & mask {
		p := places[i].Load()
		if p == nil {
			return nil
		}
		if p.who == who && p != gone {
			return p
		}
	}
}

// insert adds p. If its principal has a mailbox already, insert returns that and false.
func (d *directory) insert(p *principal) (*principal, bool) {
	s := d.shard(p.who)
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := d.get(p.who); other != nil {
		return other, false
	}
	places := *s.places.Load()
	if (s.used+1)*4 > len(places)*3 {
		places = s.rebuild()
	}
	mask := uint64(len(places) - 1)
	i := p.who.Hash() & mask
	for places[i].Load() != nil {
		i = (i + 1) & mask
	}
	places[i].Store(p)
	s.used++
	s.live++
	return p, true
}

// rebuild publishes a table with room for twice the live entries, without removed ones.
func (s *directoryShard) rebuild() []atomic.Pointer[principal] {
	size := 8
	for size < 2*(s.live+1) {
		size *= 2
	}
	places := make([]atomic.Pointer[principal], size)
	mask := uint64(size - 1)
	old := *s.places.Load()
	for j := range old {
		p := old[j].Load()
		if p == nil || p == gone {
			continue
		}
		i := p.who.Hash() & mask
		for places[i].Load() != nil {
			i = (i + 1) & mask
		}
		places[i].Store(p)
	}
	s.used = s.live
	s.places.Store(&places)
	return places
}

// remove removes p.
func (d *directory) remove(p *principal) {
	s := d.shard(p.who)
	s.mu.Lock()
	defer s.mu.Unlock()
	places := *s.places.Load()
	mask := uint64(len(places) - 1)
	for i := p.who.Hash() & mask; ; i = (i + 1) & mask {
		switch places[i].Load() {
		case nil:
			return
		case p:
			places[i].Store(gone)
			s.live--
			return
		}
	}
}

// each calls visit for every mailbox that is in the directory during the whole call, and
// perhaps for some that are added or removed meanwhile.
func (d *directory) each(visit func(*principal)) {
	for i := range d.shards {
		places := *d.shards[i].places.Load()
		for j := range places {
			if p := places[j].Load(); p != nil && p != gone {
				visit(p)
			}
		}
	}
}

// len returns the number of mailboxes.
func (d *directory) len() int {
	n := 0
	for i := range d.shards {
		s := &d.shards[i]
		s.mu.Lock()
		n += s.live
		s.mu.Unlock()
	}
	return n
}
