package policy

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Table is the immutable, compiled form of all roles and pattern grants at one revision.
// [Table.Next] derives the table of a later revision, keeps the numbers of roles and shares
// what did not change. An [Effective] of one table is valid for all tables with the same
// [Table.Shape]. The zero Table has no roles and no grants.
type Table struct {
	revision uint64
	shape    uint64 // see [Table.Shape]
	numbers  hamt[name, int32]
	roles    hamt[number, *Role]
	size     int32      // the next number that no role ever had
	freed    *numberSet // numbers of roles that were deleted at the current shape
	reusable *numberSet // numbers of roles that were deleted at earlier shapes
	index    index
	patterns PatternGrants
	open     *Table // the table without the fence; nil for one that is not fenced
}

// NewTable compiles roles and pattern grants, nil for none, at a revision. It rejects grants of
// unknown roles and what [CheckRoles] rejects.
func NewTable(revision uint64, roles []*Role, patterns *PatternGrants) (*Table, error) {
	changed := make(map[string]*Role, len(roles))
	for _, r := range roles {
		changed[r.name] = r
	}
	if err := CheckRoles(changed); err != nil {
		return nil, err
	}
	t := new(Table).Next(revision, changed, nil)
	if patterns != nil {
		t.patterns = *patterns
	}
	for g := range t.patterns.All() {
		if t.Role(g.Role) == nil {
			return nil, fmt.Errorf("grant to %s: %w %q", g.Subject(), ErrUnknownRole, g.Role)
		}
	}
	return t, nil
}

// Next returns the table of a later revision. roles has the changed roles, nil for a
// deleted one. patterns are the edits of the pattern grants. The caller has checked both. Time
// and memory are proportional to the rules and grants that differ, times the logarithm of
// their number in the table.
func (t *Table) Next(revision uint64, roles map[string]*Role, patterns []PatternEdit) *Table {
	if t.open != nil {
		return t.open.Next(revision, roles, patterns).Fenced()
	}
	next := *t
	next.revision = revision
	if len(roles) > 0 {
		next.replaceRoles(newToken(), roles)
	}
	if len(patterns) > 0 {
		next.reshape()
		next.patterns.Update(patterns)
	}
	return &next
}

// Fenced returns a table of the same revision and shape that denies everything with [ReasonFenced].
// The tables that Next derives from it are fenced too.
func (t *Table) Fenced() *Table {
	if t.open != nil {
		return t
	}
	fenced := *t
	fenced.index, fenced.open = index{}, t
	return &fenced
}

// Unfenced returns the table without the fence, which is t itself if it is not fenced.
func (t *Table) Unfenced() *Table {
	if t.open != nil {
		return t.open
	}
	return t
}

// IsFenced reports whether the table denies everything.
func (t *Table) IsFenced() bool { return t.open != nil }

func (t *Table) replaceRoles(own *token, changed map[string]*Role) {
	names := slices.Sorted(maps.Keys(changed))
	for _, n := range names {
		if before, role := t.Role(n), changed[n]; before != nil && role != nil && !slices.Equal(before.inherits, role.inherits) {
			t.reshape()
			break
		}
	}
	for _, n := range names {
		before, role := t.Role(n), changed[n]
		switch {
		case before != nil && role != nil:
			at, _ := t.numbers.find(name(n))
			t.roles.set(own, number(at), role)
			t.index.replace(own, at, before, role)
		case before != nil:
			t.remove(own, before)
		case role != nil:
			at := t.place()
			t.numbers.set(own, name(n), at)
			t.roles.set(own, number(at), role)
			t.index.replace(own, at, nil, role)
		}
	}
}

func (t *Table) remove(own *token, role *Role) {
	at, _ := t.numbers.find(name(role.name))
	t.numbers.delete(own, name(role.name))
	t.roles.delete(own, number(at))
	t.index.replace(own, at, role, nil)
	t.freed = t.freed.with(at)
}

// place returns a number for a new role: that of a role that was deleted at an earlier shape,
// which no valid [Effective] holds, or the next one.
func (t *Table) place() int32 {
	if t.reusable == nil && t.freed.len() > mostFreed+int(t.size)/2 {
		t.reshape()
	}
	if t.reusable != nil {
		var at int32
		at, t.reusable = t.reusable.take()
		return at
	}
	t.size++
	return t.size - 1
}

// mostFreed is how many numbers of deleted roles, and half of all numbers, may be unused
// before a new shape makes them reusable.
const mostFreed = 64

// reshape starts a new shape at the table's revision.
func (t *Table) reshape() {
	t.shape = t.revision
	if t.freed != nil {
		t.reusable = &numberSet{below: t.reusable, list: t.freed.list}
		t.freed = nil
	}
}

// numberSet is an immutable stack of lists of numbers. nil is empty. No list in it is empty.
type numberSet struct {
	list  *numberList
	below *numberSet
}

type numberList struct {
	number int32
	len    int // of the list from here
	next   *numberList
}

func (s *numberSet) len() int {
	if s == nil {
		return 0
	}
	return s.list.len
}

// with returns the set with a number added to its first list.
func (s *numberSet) with(n int32) *numberSet {
	if s == nil {
		return &numberSet{list: &numberList{number: n, len: 1}}
	}
	return &numberSet{list: &numberList{number: n, len: s.list.len + 1, next: s.list}, below: s.below}
}

// take returns one number and the set without it.
func (s *numberSet) take() (int32, *numberSet) {
	if s.list.next == nil {
		return s.list.number, s.below
	}
	return s.list.number, &numberSet{list: s.list.next, below: s.below}
}

// reach adds to the set the role and all that it inherits.
func (t *Table) reach(role int32, set *roleSet) {
	if !set.add(role) {
		return
	}
	for path := []int32{role}; len(path) > 0; {
		r, _ := t.roles.find(number(path[len(path)-1]))
		path = path[:len(path)-1]
		if r == nil {
			continue
		}
		for _, parent := range r.inherits {
			if n, ok := t.numbers.find(name(parent)); ok && set.add(n) {
				path = append(path, n)
			}
		}
	}
}

// Revision returns the table's revision.
func (t *Table) Revision() uint64 { return t.revision }

// Shape returns the last revision that changed what a grant gives: which roles inherit
// which, the numbers of roles, or pattern grants. Equal [Held.Key]s of tables with the same
// shape compile to equal forms. A change of permissions does not change the shape.
func (t *Table) Shape() uint64 { return t.shape }

// Numbers returns the numbers of those roles that are known to the table, for
// [Effective.HoldsAny].
func (t *Table) Numbers(roles map[string]*Role) []int32 {
	numbers := make([]int32, 0, len(roles))
	for role := range roles {
		if n, ok := t.numbers.find(name(role)); ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// Role returns the role of that name, or nil.
func (t *Table) Role(role string) *Role {
	n, ok := t.numbers.find(name(role))
	if !ok {
		return nil
	}
	r, _ := t.roles.find(number(n))
	return r
}

// Roles yields all roles, by name.
func (t *Table) Roles() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		sorted := make([]*Role, 0, t.roles.len)
		for _, r := range t.roles.all() {
			sorted = append(sorted, r)
		}
		slices.SortFunc(sorted, func(a, b *Role) int { return strings.Compare(a.name, b.name) })
		for _, r := range sorted {
			if !yield(r) {
				return
			}
		}
	}
}

// Patterns returns the pattern grants. The caller must not change them.
func (t *Table) Patterns() *PatternGrants { return &t.patterns }

// Reaches reports whether the role named from is, or inherits, the role named to.
func (t *Table) Reaches(from, to string) bool {
	n, ok := t.numbers.find(name(to))
	return ok && t.reaches(from, n)
}

func (t *Table) reaches(from string, to int32) bool {
	n, ok := t.numbers.find(name(from))
	if !ok {
		return false
	}
	var set roleSet
	t.reach(n, &set)
	return set.has(to)
}
