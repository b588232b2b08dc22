package bench

import (
	"strings"
	"sync"

	"github.com/interlock-authz/interlock/actors/policy"
)

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

// check looks up every prefix of the resource, because a deny on any of them wins.
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
