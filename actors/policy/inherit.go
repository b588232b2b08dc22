package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Inheritance walks roles and what they inherit, depth first. A walk of any number of roles
// takes time linear in the roles and their inheritances, and a chain of any length takes no
// stack. Set Parents and the callbacks, then call [Inheritance.Walk]. It is for one
// goroutine.
type Inheritance struct {
	// Parents returns the roles that a role inherits, nil for an unknown role.
	Parents func(role string) []string
	// Visit, if not nil, is called once for each role, known or not, after everything that
	// the role inherits.
	Visit func(role string)
	// Cycle, if not nil, is called for each inheritance that closes a cycle: heir inherits
	// as Parents(heir)[i] a role that inherits heir. It returns false to end the walk.
	Cycle func(heir string, i int, cycle *CycleError) bool

	place map[string]int32 // from 1 on the path, or visited
	path  []pathRole
}

type pathRole struct {
	name    string
	parents []string
	next    int // in parents
}

const visited = -1

// Walk walks the role and what it inherits, except roles that an earlier call visited. It
// returns false if Cycle ended the walk; then w must not be used again.
func (w *Inheritance) Walk(role string) bool {
	if w.place == nil {
		w.place = map[string]int32{}
	}
	if w.place[role] == visited {
		return true
	}
	w.enter(role)
	for len(w.path) > 0 {
		r := &w.path[len(w.path)-1]
		if r.next == len(r.parents) {
			w.leave(r.name)
			continue
		}
		r.next++
		switch parent := r.parents[r.next-1]; w.place[parent] {
		case visited:
		case 0:
			w.enter(parent)
		default:
			if w.Cycle != nil && !w.Cycle(r.name, r.next-1, newCycleError(w.path[w.place[parent]-1:])) {
				return false
			}
		}
	}
	return true
}

func (w *Inheritance) enter(role string) {
	w.path = append(w.path, pathRole{name: role, parents: w.Parents(role)})
	w.place[role] = int32(len(w.path))
}

func (w *Inheritance) leave(role string) {
	w.path = w.path[:len(w.path)-1]
	w.place[role] = visited
	if w.Visit != nil {
		w.Visit(role)
	}
}

// maxCycle is how many roles of a cycle a [CycleError] names.
const maxCycle = 100

// CycleError names the roles of a cycle of inheritance, in order. The last inherits the
// first. Of a cycle of more than 100 roles, Roles has the first 100 and More is the number
// of the others, which stand between the last of Roles and the first.
type CycleError struct {
	Roles []string
	More  int
}

func newCycleError(path []pathRole) *CycleError {
	e := &CycleError{More: max(0, len(path)-maxCycle)}
	for _, r := range path[:len(path)-e.More] {
		e.Roles = append(e.Roles, r.name)
	}
	return e
}

// Error returns a text such as "roles inherit each other in a cycle: a → b → a".
func (e *CycleError) Error() string {
	more := ""
	if e.More > 0 {
		more = fmt.Sprintf(" → … %d more …", e.More)
	}
	return fmt.Sprintf("%v: %s%s → %s", ErrCycle, strings.Join(e.Roles, " → "), more, e.Roles[0])
}

// Unwrap returns [ErrCycle].
func (e *CycleError) Unwrap() error { return ErrCycle }

// parentsIn returns the function for [Inheritance] that looks up roles by name.
func parentsIn(lookup func(name string) *Role) func(string) []string {
	return func(name string) []string {
		if r := lookup(name); r != nil {
			return r.inherits
		}
		return nil
	}
}

// ParentsFirst returns the roles by name, each behind all that it inherits. Roles must have
// no cycles.
func ParentsFirst(roles map[string]*Role) []*Role {
	ordered := make([]*Role, 0, len(roles))
	w := Inheritance{
		Parents: parentsIn(func(name string) *Role { return roles[name] }),
		Visit: func(name string) {
			if r := roles[name]; r != nil {
				ordered = append(ordered, r)
			}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(roles)) {
		w.Walk(name)
	}
	return ordered
}

// Reach adds to roles the role of that name and all that it inherits, as the view has them.
// Roles that are in roles already stand for what they inherit too.
func Reach(v View, name string, roles map[string]*Role) {
	if _, known := roles[name]; known {
		return
	}
	w := Inheritance{Parents: func(name string) []string {
		if _, known := roles[name]; known {
			return nil
		}
		r := v.Role(name)
		if r == nil {
			return nil
		}
		roles[name] = r
		return r.inherits
	}}
	w.Walk(name)
}

// CheckRoles rejects roles that inherit an unknown role, or each other in a cycle, or in a
// chain of more than [MaxInheritance] roles. The error is a [*FieldError] that wraps
// [ErrUnknownRole], a [*CycleError] or [ErrInvalid]. It takes time linear in the roles and
// their inheritances.
func CheckRoles(roles map[string]*Role) error {
	names := slices.Sorted(maps.Keys(roles))
	for _, name := range names {
		for i, parent := range roles[name].inherits {
			if roles[parent] == nil {
				return At("roles."+name, unknownParent(i, parent))
			}
		}
	}
	var found error
	w := Inheritance{
		Parents: parentsIn(func(name string) *Role { return roles[name] }),
		Cycle: func(heir string, i int, cycle *CycleError) bool {
			found = At(fmt.Sprintf("roles.%s.inherits[%d]", heir, i), cycle)
			return false
		},
	}
	for _, name := range names {
		if !w.Walk(name) {
			return found
		}
	}
	return checkDepth(names, func(name string) *Role { return roles[name] })
}

// checkDepth rejects a chain of more than [MaxInheritance] roles among those that the named
// ones are and inherit. They have no cycles.
func checkDepth(names []string, lookup func(string) *Role) error {
	depth := map[string]int{} // of the longest chain that begins with the role
	deep := ""
	parents := parentsIn(lookup)
	w := Inheritance{Parents: parents, Visit: func(name string) {
		longest := 0
		for _, parent := range parents(name) {
			longest = max(longest, depth[parent])
		}
		if depth[name] = longest + 1; longest >= MaxInheritance && deep == "" {
			deep = name
		}
	}}
	for _, name := range names {
		if w.Walk(name); deep != "" {
			return At("roles."+deep+".inherits", errTooDeep(deep))
		}
	}
	return nil
}

// checkPut rejects a role that inherits an unknown role, or that would close a cycle with
// roles that have none. A new role closes one only with itself, because no role inherits it;
// an old one only by what it did not inherit before. It returns what the role did not inherit
// before.
func checkPut(role *Role, lookup func(string) *Role) (added []string, err error) {
	before := map[string]bool{}
	old := lookup(role.name)
	if old != nil {
		for _, parent := range old.inherits {
			before[parent] = true
		}
	}
	for i, parent := range role.inherits {
		switch {
		case parent == role.name:
			return nil, At(fmt.Sprintf("inherits[%d]", i), &CycleError{Roles: []string{parent}})
		case lookup(parent) == nil:
			return nil, unknownParent(i, parent)
		case !before[parent]:
			added = append(added, parent)
		}
	}
	if old == nil || len(added) == 0 {
		return added, nil
	}
	return added, checkAdded(role, added, lookup)
}

// checkAdded looks for the role among all that the added parents inherit.
func checkAdded(role *Role, added []string, lookup func(string) *Role) (err error) {
	changed := &Role{name: role.name, inherits: added}
	w := Inheritance{
		Parents: parentsIn(func(name string) *Role {
			if name == role.name {
				return changed
			}
			return lookup(name)
		}),
		Cycle: func(_ string, _ int, cycle *CycleError) bool {
			err = &FieldError{Field: "inherits", Err: cycle}
			return false
		},
	}
	w.Walk(role.name)
	return err
}

func unknownParent(i int, parent string) *FieldError {
	return &FieldError{Field: fmt.Sprintf("inherits[%d]", i), Err: fmt.Errorf("%w %q", ErrUnknownRole, parent)}
}
