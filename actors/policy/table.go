package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Table is the immutable, compiled form of all roles and pattern grants at one revision.
// [Table.Next] derives the table of a later revision and keeps the numbers of roles. An
// [Effective] of one table is valid for all tables with the same [Table.Shape].
type Table struct {
	revision uint64
	shape    uint64  // see [Table.Shape]
	freed    []int32 // numbers of roles that were deleted at the current shape
	reusable []int32 // numbers of roles that were deleted at earlier shapes
	numbers  map[string]int32
	roles    []*Role   // by number; nil where a role was deleted
	reach    []roleSet // by number: the role and all that it inherits
	index    *index
	patterns []Grant
	matcher  *patternMatcher
}

// NewTable compiles roles and pattern grants at a revision. It rejects grants of unknown
// roles and what [CheckRoles] rejects.
func NewTable(revision uint64, roles []*Role, patterns []Grant) (*Table, error) {
	empty := &Table{index: newIndex(nil), matcher: newPatternMatcher(nil)}
	changed := make(map[string]*Role, len(roles))
	for _, r := range roles {
		changed[r.name] = r
	}
	if err := CheckRoles(changed); err != nil {
		return nil, err
	}
	t := empty.Next(revision, changed, &patterns)
	for i := range patterns {
		if t.Role(patterns[i].Role) == nil {
			return nil, fmt.Errorf("grant to %s: %w %q", patterns[i].Subject(), ErrUnknownRole, patterns[i].Role)
		}
	}
	return t, nil
}

// Next returns the table of a later revision. roles has the changed roles, nil for a
// deleted one. patterns, if not nil, replaces all pattern grants. The caller has checked
// both. The cost is that of compiling all roles if one changed, and constant otherwise.
func (t *Table) Next(revision uint64, roles map[string]*Role, patterns *[]Grant) *Table {
	next := *t
	next.revision = revision
	if len(roles) > 0 {
		next.replaceRoles(roles)
	}
	if patterns != nil {
		next.reshape()
		next.patterns = slices.Clone(*patterns)
		next.matcher = newPatternMatcher(next.patterns)
	}
	return &next
}

func (t *Table) replaceRoles(changed map[string]*Role) {
	numbers := make(map[string]int32, len(t.numbers)+len(changed))
	for name, n := range t.numbers {
		numbers[name] = n
	}
	t.numbers, t.roles = numbers, slices.Clone(t.roles)
	names := make([]string, 0, len(changed))
	for name, role := range changed {
		names = append(names, name)
		if n, known := numbers[name]; known && role != nil && !slices.Equal(t.roles[n].inherits, role.inherits) {
			t.reshape()
		}
	}
	slices.Sort(names)
	for _, name := range names {
		role := changed[name]
		n, known := numbers[name]
		switch {
		case role == nil && known:
			t.roles[n] = nil
			delete(numbers, name)
			t.freed = append(slices.Clip(t.freed), n)
		case role == nil:
		case known:
			t.roles[n] = role
		default:
			numbers[name] = t.place(role)
		}
	}
	t.close()
	t.index = newIndex(t.roles)
}

// place returns a number for a new role: that of a role that was deleted at an earlier shape,
// which no valid [Effective] holds, or the next one.
func (t *Table) place(role *Role) int32 {
	if len(t.reusable) == 0 && len(t.freed) > mostFreed+len(t.roles)/2 {
		t.reshape()
	}
	if last := len(t.reusable) - 1; last >= 0 {
		n := t.reusable[last]
		t.reusable = t.reusable[:last:last]
		t.roles[n] = role
		return n
	}
	t.roles = append(t.roles, role)
	return int32(len(t.roles) - 1)
}

// mostFreed is how many numbers of deleted roles, and half of all numbers, may be unused
// before a new shape makes them reusable.
const mostFreed = 64

// reshape starts a new shape at the table's revision.
func (t *Table) reshape() {
	t.shape = t.revision
	t.reusable = slices.Concat(t.reusable, t.freed)
	t.freed = nil
}

// close computes what each role reaches. Roles have no cycles.
func (t *Table) close() {
	t.reach = make([]roleSet, len(t.roles))
	w := Inheritance{Parents: parentsIn(t.Role), Visit: func(name string) {
		n, known := t.numbers[name]
		if !known {
			return
		}
		set := roleSet{}.with(n)
		for _, parent := range t.roles[n].inherits {
			if p, ok := t.numbers[parent]; ok {
				set = set.union(t.reach[p])
			}
		}
		t.reach[n] = set
	}}
	for _, role := range t.roles {
		if role != nil {
			w.Walk(role.name)
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
	for name := range roles {
		if n, ok := t.numbers[name]; ok {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// Role returns the role of that name, or nil.
func (t *Table) Role(name string) *Role {
	if n, ok := t.numbers[name]; ok {
		return t.roles[n]
	}
	return nil
}

// Roles yields all roles, by name.
func (t *Table) Roles() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		sorted := make([]*Role, 0, len(t.numbers))
		for _, r := range t.roles {
			if r != nil {
				sorted = append(sorted, r)
			}
		}
		slices.SortFunc(sorted, func(a, b *Role) int { return strings.Compare(a.name, b.name) })
		for _, r := range sorted {
			if !yield(r) {
				return
			}
		}
	}
}

// Patterns returns all pattern grants. The caller must not change them.
func (t *Table) Patterns() []Grant { return t.patterns }

// PatternGrants calls yield for each grant whose pattern matches the principal.
func (t *Table) PatternGrants(p Principal, yield func(*Grant)) { t.matcher.match(p, yield) }

// HasPatternGrant reports whether any grant's pattern matches the principal.
func (t *Table) HasPatternGrant(p Principal) bool {
	found := false
	t.matcher.match(p, func(*Grant) { found = true })
	return found
}

// patternMatcher finds the pattern grants that match a principal, with a trie.
type patternMatcher struct {
	trie   trie
	kinds  map[string]int32 // kind of principal → root
	grants [][]Grant        // by the number at the trie's ends
}

func newPatternMatcher(patterns []Grant) *patternMatcher {
	m := &patternMatcher{kinds: map[string]int32{}, grants: make([][]Grant, 1)}
	for _, g := range patterns {
		kind, name, _ := strings.Cut(g.Principals.text, ":")
		root, ok := m.kinds[kind]
		if !ok {
			root = m.trie.newNode()
			m.kinds[kind] = root
		}
		end := m.trie.slot(root, name, '/')
		if *end == 0 {
			m.grants = append(m.grants, nil)
			*end = int32(len(m.grants) - 1)
		}
		m.grants[*end] = append(m.grants[*end], g)
	}
	return m
}

func (m *patternMatcher) match(p Principal, yield func(*Grant)) {
	kind, name, _ := strings.Cut(p.id, ":")
	root, ok := m.kinds[kind]
	if !ok {
		return
	}
	var found hits
	m.trie.walk(root, name, '/', &found)
	for i := range found.n {
		grants := m.grants[found.at(i)]
		for j := range grants {
			yield(&grants[j])
		}
	}
}

// Reaches reports whether the role named from is, or inherits, the role named to.
func (t *Table) Reaches(from, to string) bool {
	f, ok := t.numbers[from]
	n, known := t.numbers[to]
	return ok && known && t.reach[f].has(n)
}
