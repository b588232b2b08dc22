package bench

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// guarded is the design that interlock is measured against: a lock for each principal,
// held over check and use. It decides by the same policy code, finds its principals in a
// directory of the same kind (open addressing, atomic pointers, no lock for readers), and
// promises nothing about operations outside, revocation, time, or credentials.
type guarded struct {
	table  *policy.Table
	seed   maphash.Seed
	places []atomic.Pointer[lockedPrincipal]
}

type lockedPrincipal struct {
	who  policy.Principal
	hash uint64
	rw   sync.RWMutex
	mu   sync.Mutex
	held *policy.Effective
}

func newGuarded(w *world) *guarded {
	table, held := w.table()
	size := 8
	for size < 2*len(held) {
		size *= 2
	}
	g := &guarded{table: table, seed: maphash.MakeSeed(), places: make([]atomic.Pointer[lockedPrincipal], size)}
	for who, e := range held {
		p := &lockedPrincipal{who: who, hash: maphash.String(g.seed, who.String()), held: e}
		i := p.hash & uint64(size-1)
		for g.places[i].Load() != nil {
			i = (i + 1) & uint64(size-1)
		}
		g.places[i].Store(p)
	}
	return g
}

func (g *guarded) find(who policy.Principal) *lockedPrincipal {
	hash := maphash.String(g.seed, who.String())
	mask := uint64(len(g.places) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		p := g.places[i].Load()
		if p == nil || p.hash == hash && p.who == who {
			return p
		}
	}
}

func (p *lockedPrincipal) allowed(t *policy.Table, req *actors.Request) bool {
	q := policy.Query{Principal: p.who, Action: req.Action, Resource: req.Resource}
	d := t.Decide(p.held, &q)
	return d.Allowed
}

// read holds the read lock over check and use.
func (g *guarded) read(req actors.Request, use func()) bool {
	p := g.find(req.Principal)
	p.rw.RLock()
	defer p.rw.RUnlock()
	if !p.allowed(g.table, &req) {
		return false
	}
	use()
	return true
}

// lock holds a plain mutex over check and use.
func (g *guarded) lock(req actors.Request, use func()) bool {
	p := g.find(req.Principal)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.allowed(g.table, &req) {
		return false
	}
	use()
	return true
}

// update changes what a principal holds, under the same mutex.
func (g *guarded) update(who policy.Principal, held *policy.Effective) {
	p := g.find(who)
	p.mu.Lock()
	p.held = held
	p.mu.Unlock()
}

// roleMap is the usual map behind one RWMutex, the faster of the two that the baselines
// measured: which roles allow or deny an action on a prefix, as sets, and which roles a
// principal has. It knows prefixes and effects alone, no wildcard within a name, no
// condition, no explanation, and checks without using.
type roleMap struct {
	mu    sync.RWMutex
	sets  map[actionPrefix]*effects
	holds map[string]*roleBits
}

type actionPrefix struct{ action, prefix string }

type effects struct{ allow, deny roleBits }

// roleBits has room for 128 roles.
type roleBits [2]uint64

func (b *roleBits) add(n int) { b[n/64] |= 1 << (n % 64) }

func (b *roleBits) meets(c *roleBits) bool { return b[0]&c[0]|b[1]&c[1] != 0 }

func newRoleMap(w *world) *roleMap {
	m := &roleMap{sets: map[actionPrefix]*effects{}, holds: map[string]*roleBits{}}
	numbers := map[string]int{}
	for n, r := range w.roles {
		numbers[r.Name()] = n
		for _, p := range r.Permissions() {
			key := actionPrefix{p.Actions[0].String(), strings.TrimSuffix(p.Resources[0].String(), "/**")}
			if m.sets[key] == nil {
				m.sets[key] = &effects{}
			}
			if p.Effect == policy.Deny {
				m.sets[key].deny.add(n)
			} else {
				m.sets[key].allow.add(n)
			}
		}
	}
	for _, g := range w.grants {
		who := g.Principal.String()
		if m.holds[who] == nil {
			m.holds[who] = &roleBits{}
		}
		m.holds[who].add(numbers[g.Role])
	}
	return m
}

// check looks up each prefix of the resource, all of them, since a deny wins wherever it
// stands.
func (m *roleMap) check(principal, action, resource string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	held := m.holds[principal]
	if held == nil {
		return false
	}
	allowed := false
	for end := len(resource); end > 0; end = strings.LastIndexByte(resource[:end], '/') {
		if e := m.sets[actionPrefix{action, resource[:end]}]; e != nil {
			if e.deny.meets(held) {
				return false
			}
			allowed = allowed || e.allow.meets(held)
		}
	}
	return allowed
}
