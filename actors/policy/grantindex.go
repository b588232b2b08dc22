package policy

import "hash/maphash"

// grantIndex finds a grant among many by what it is: holder, role and limits. It keeps
// positions only, so that a million grants take some tens of megabytes in it.
type grantIndex struct {
	seed maphash.Seed
	at   map[uint64]int32
}

func newGrantIndex(size int) grantIndex {
	return grantIndex{seed: maphash.MakeSeed(), at: make(map[uint64]int32, size)}
}

// find returns where in grants the same grant is as g, -1 if it is not.
func (x *grantIndex) find(grants []Grant, g *Grant) int {
	i, _ := x.look(grants, g)
	return i
}

// add enters position i of grants, unless the same grant is there: then it returns where.
func (x *grantIndex) add(grants []Grant, i int) (before int) {
	before, free := x.look(grants, &grants[i])
	if before < 0 {
		x.at[free] = int32(i)
	}
	return before
}

// look goes on to the next number where two grants share one.
func (x *grantIndex) look(grants []Grant, g *Grant) (at int, free uint64) {
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

// hash is equal for grants that are the same: the order of limits does not matter.
func (x *grantIndex) hash(g *Grant) uint64 {
	h := maphash.Comparable(x.seed, g.holding())
	for _, w := range g.Within {
		h += maphash.String(x.seed, w.text)
	}
	return h
}
