package policy

import (
	"hash/maphash"
	"strings"
)

// Holding is a holder and a role: what a revocation without limits takes at once. It is
// comparable.
type Holding struct {
	principal  Principal
	principals PrincipalPattern
	role       string
}

// Holding returns the holder and the role of the grant.
func (g *Grant) Holding() Holding { return Holding{g.Principal, g.Principals, g.Role} }

// Compare orders holdings: exact principals first, then by the text of the holder, then by
// role. It returns -1, 0 or +1.
func (h Holding) Compare(other Holding) int {
	if c := strings.Compare(h.principals.text, other.principals.text); c != 0 {
		return c
	}
	if c := strings.Compare(h.principal.id, other.principal.id); c != 0 {
		return c
	}
	return strings.Compare(h.role, other.role)
}

// GrantIndex finds a grant in a slice of many by holder, role and limits. It stores only
// positions in that slice, so an index of a million grants takes some tens of megabytes.
// Make one with [NewGrantIndex]. It is for one goroutine.
type GrantIndex struct {
	seed maphash.Seed
	at   map[uint64]int32
}

// NewGrantIndex returns an empty index with room for size grants.
func NewGrantIndex(size int) GrantIndex {
	return GrantIndex{seed: maphash.MakeSeed(), at: make(map[uint64]int32, size)}
}

// Find returns the position in grants of the grant that is [Grant.Same] as g, -1 if there
// is none.
func (x *GrantIndex) Find(grants []Grant, g *Grant) int {
	i, _ := x.look(grants, g)
	return i
}

// Add indexes grants[i] and returns -1. If the same grant is indexed already, Add changes
// nothing and returns its position.
func (x *GrantIndex) Add(grants []Grant, i int) (before int) {
	before, free := x.look(grants, &grants[i])
	if before < 0 {
		x.at[free] = int32(i)
	}
	return before
}

// look tries the next hash when two different grants share one.
func (x *GrantIndex) look(grants []Grant, g *Grant) (at int, free uint64) {
	for h := x.hash(g); ; h++ {
		i, taken := x.at[h]
		if !taken {
			return -1, h
		}
		if grants[i].Same(g) {
			return int(i), 0
		}
	}
}

// hash is equal for grants that are the same. It does not depend on the order of limits.
func (x *GrantIndex) hash(g *Grant) uint64 {
	h := maphash.Comparable(x.seed, g.Holding())
	for _, w := range g.Within {
		h += maphash.String(x.seed, w.text)
	}
	return h
}
