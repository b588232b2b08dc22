package policy

import (
	"encoding/binary"
	"slices"
	"strings"
)

// Effective is the compiled form of what a principal holds at one instant: the roles and
// their limits. Principals that hold the same share one. It is immutable.
type Effective struct {
	shape   uint64
	free    roleSet // roles held without a limit
	any     roleSet // roles held at all: what denies is never narrowed
	limited []limited
}

type limited struct {
	roles  roleSet
	within []ResourcePattern
}

// Held is what a principal holds, before compilation. The key is equal for principals that
// can share an [Effective].
type Held struct {
	// Key identifies equal holdings, within the lineage of one table.
	Key string
	// NextExpiry is when the first grant expires, in nanoseconds of Unix time, 0 for never.
	NextExpiry int64
	// Any reports whether there is any grant, expired or not; Expired whether one has expired.
	Any, Expired bool

	items []heldItem
}

type heldItem struct {
	role   int32
	within []ResourcePattern
}

// Hold collects what a principal with that record holds at the instant now, in nanoseconds
// of Unix time: its exact grants and the pattern grants that match it, without expired
// ones. A grant of an unknown role gives nothing.
func (t *Table) Hold(p Principal, record *Record, now int64) Held {
	var h Held
	take := func(g *Grant) {
		h.Any = true
		if g.ExpiredAt(now) {
			h.Expired = true
			return
		}
		if !g.Expires.IsZero() && (h.NextExpiry == 0 || g.Expires.UnixNano() < h.NextExpiry) {
			h.NextExpiry = g.Expires.UnixNano()
		}
		if n, ok := t.numbers.find(name(g.Role)); ok {
			h.items = append(h.items, heldItem{role: n, within: g.Within})
		}
	}
	if record != nil {
		for i := range record.Grants {
			take(&record.Grants[i])
		}
	}
	for g := range t.patterns.Matching(p) {
		take(g)
	}
	h.seal()
	return h
}

// seal sorts the items and builds the key.
func (h *Held) seal() {
	slices.SortFunc(h.items, func(a, b heldItem) int {
		if a.role != b.role {
			return int(a.role - b.role)
		}
		return slices.CompareFunc(a.within, b.within, func(x, y ResourcePattern) int { return strings.Compare(x.text, y.text) })
	})
	key := make([]byte, 0, 4*len(h.items))
	for i, it := range h.items {
		if i > 0 && len(it.within) == 0 && len(h.items[i-1].within) == 0 && it.role == h.items[i-1].role {
			continue
		}
		key = binary.AppendUvarint(key, uint64(it.role))
		key = binary.AppendUvarint(key, uint64(len(it.within)))
		for _, w := range it.within {
			key = binary.AppendUvarint(key, uint64(len(w.text)))
			key = append(key, w.text...)
		}
	}
	h.Key = string(key)
}

// Compile returns the Effective of what is held.
func (t *Table) Compile(h Held) *Effective {
	e := &Effective{shape: t.shape}
	for _, it := range h.items {
		t.reach(it.role, &e.any)
		if len(it.within) == 0 {
			t.reach(it.role, &e.free)
			continue
		}
		var reach roleSet
		t.reach(it.role, &reach)
		e.limited = append(e.limited, limited{roles: reach, within: it.within})
	}
	return e
}

// HoldsAny reports whether any role with one of these numbers is held, directly or by
// inheritance.
func (e *Effective) HoldsAny(numbers []int32) bool {
	for _, n := range numbers {
		if e.any.has(n) {
			return true
		}
	}
	return false
}

// Shape returns the shape of the tables that the form is valid for.
func (e *Effective) Shape() uint64 { return e.shape }
