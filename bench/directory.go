package bench

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors/policy"
)

// directory finds the state that a strategy keeps for a principal. Like the directory of
// the engine, it uses open addressing and atomic pointers, and readers take no lock. It is
// filled once.
type directory[T any] struct {
	seed   maphash.Seed
	places []atomic.Pointer[place[T]]
}

type place[T any] struct {
	hash  uint64
	who   policy.Principal
	value T
}

func newDirectory[T any](w *world, set func(*T, *authority)) *directory[T] {
	size := 8
	for size < 2*len(w.principals()) {
		size *= 2
	}
	d := &directory[T]{seed: maphash.MakeSeed(), places: make([]atomic.Pointer[place[T]], size)}
	for who, may := range w.compiled().of {
		p := &place[T]{who: who, hash: maphash.String(d.seed, who.String())}
		set(&p.value, may)
		i := p.hash & uint64(size-1)
		for d.places[i].Load() != nil {
			i = (i + 1) & uint64(size-1)
		}
		d.places[i].Store(p)
	}
	return d
}

// find returns the state of a principal, which must be in the directory.
func (d *directory[T]) find(who policy.Principal) *T {
	hash := maphash.String(d.seed, who.String())
	mask := uint64(len(d.places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if p := d.places[i].Load(); p.hash == hash && p.who == who {
			return &p.value
		}
	}
}
