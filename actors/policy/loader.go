package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// loader makes a File of nodes, and collects what is wrong.
type loader struct {
	name   string
	file   *File
	faults []*FileError
	roles  []loadedRole
	grants []loadedGrant // those of a file that may name its roles later
	index  grantIndex
	lines  []int32 // of the file's grants
}

// loadedRole is where a role stands; role is nil if it has errors.
type loadedRole struct {
	name string
	path string
	node *node
	role *Role

	// For the search for cycles: how many of the inherited roles it has been at.
	walked       int
	onPath, done bool
}

// loadedGrant is where a grant stands and which role it names.
type loadedGrant struct {
	role string
	path string
	node *node
}

func loadFile(name string, root *node) (*File, error) {
	l := newLoader(name)
	l.object(root, "", fieldReaders{"roles": l.readRoles, "grants": l.readGrants})
	l.checkGranted()
	l.checkCycles()
	return l.result()
}

func newLoader(name string) *loader {
	return &loader{name: name, file: &File{Roles: map[string]*Role{}}, index: newGrantIndex(0)}
}

// result returns the file, or all that is wrong with it in the order of lines.
func (l *loader) result() (*File, error) {
	if len(l.faults) == 0 {
		return l.file, nil
	}
	slices.SortStableFunc(l.faults, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(l.faults))
	for i, f := range l.faults {
		errs[i] = f
	}
	return nil, errors.Join(errs...)
}

func (l *loader) fail(at place, path string, err error) {
	if len(l.faults) < maxFaults {
		l.faults = append(l.faults, &FileError{File: l.name, Line: int(at.line), Column: int(at.column), Field: path, Err: err})
	}
}

func (l *loader) invalid(at place, path, format string, args ...any) {
	l.fail(at, path, fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...)))
}

// failAll reports the errors of what is made of n, each at its field.
func (l *loader) failAll(n *node, path string, all faults) {
	for _, f := range all {
		l.fail(n.find(f.Field), joinPath(path, f.Field), f.Err)
	}
}

// fieldReaders are the fields that an object may have.
type fieldReaders map[string]func(n *node, path string)

// object hands each field to its reader. Unknown and duplicate fields are errors.
func (l *loader) object(n *node, path string, readers fieldReaders) {
	if n.kind != objectNode {
		l.invalid(n.place, path, "has to be an object, and is %s", n.describe())
		return
	}
	var seen []string
	for i := range n.fields {
		f := &n.fields[i]
		at := joinPath(path, f.name)
		read := readers[f.name]
		switch {
		case read == nil:
			l.invalid(f.place, at, "unknown field %q", f.name)
		case slices.Contains(seen, f.name):
			l.invalid(f.place, at, "the field stands there twice")
		default:
			seen = append(seen, f.name)
			read(&f.value, at)
		}
	}
}

// text reads a string that is not empty.
func (l *loader) text(into *string) func(*node, string) {
	return func(n *node, path string) {
		switch {
		case n.kind == otherNode && n.describe() != "empty":
			l.invalid(n.place, path, "has to be a string, and %s is none: put it in quotes", n.text)
		case n.kind != textNode:
			l.invalid(n.place, path, "has to be a string, and is %s", n.describe())
		case n.text == "":
			l.invalid(n.place, path, "is empty")
		}
		*into = n.text
	}
}

func (l *loader) list(n *node, path string, read func(*node, string)) {
	if n.kind != listNode {
		l.invalid(n.place, path, "has to be a list, and is %s", n.describe())
		return
	}
	for i := range n.items {
		read(&n.items[i], fmt.Sprintf("%s[%d]", path, i))
	}
}

func (l *loader) texts(into *[]string) func(*node, string) {
	return func(n *node, path string) {
		l.list(n, path, func(item *node, path string) {
			var s string
			l.text(&s)(item, path)
			*into = append(*into, s)
		})
	}
}

func (l *loader) readRoles(n *node, path string) {
	switch n.kind {
	case listNode:
		l.list(n, path, l.readListedRole)
	case objectNode:
		for i := range n.fields {
			f := &n.fields[i]
			at := joinPath(path, f.name)
			if err := CheckRoleName(f.name); err != nil {
				l.fail(f.place, at, err)
				continue
			}
			l.readRole(&f.value, at, f.place, f.name, nil)
		}
	default:
		l.invalid(n.place, path, "has to be an object of roles by name, or a list of roles, and is %s", n.describe())
		return
	}
	l.checkInherited()
}

// readListedRole looks for the name first, for nothing else says which role it is.
func (l *loader) readListedRole(n *node, path string) {
	var name string
	readName := fieldReaders{"name": l.text(&name)}
	at := n.step("name")
	switch {
	case n.kind != objectNode:
		l.object(n, path, readName)
	case at == nil:
		l.invalid(n.place, path, "a role needs its name here")
	case at.kind != textNode:
		readName["name"](at, joinPath(path, "name"))
	case CheckRoleName(at.text) != nil:
		l.fail(at.place, joinPath(path, "name"), CheckRoleName(at.text))
	default:
		l.readRole(n, path, at.place, at.text, readName)
	}
}

func (l *loader) readRole(n *node, path string, named place, name string, more fieldReaders) {
	before := len(l.faults)
	var spec RoleSpec
	readers := fieldReaders{
		"inherits": l.texts(&spec.Inherits),
		"permissions": func(n *node, path string) {
			l.list(n, path, func(item *node, path string) {
				spec.Permissions = append(spec.Permissions, l.readPermission(item, path))
			})
		},
	}
	for field, read := range more {
		readers[field] = read
	}
	l.object(n, path, readers)
	loaded := loadedRole{name: name, path: path, node: n}
	if len(l.faults) == before {
		role, all := spec.build(name)
		l.failAll(n, path, all)
		loaded.role = role
	}
	if _, twice := l.file.Roles[name]; twice {
		l.invalid(named, path, "a role called %q stands there already", name)
		return
	}
	l.file.Roles[name] = loaded.role
	l.roles = append(l.roles, loaded)
}

func (l *loader) readPermission(n *node, path string) PermissionSpec {
	var s PermissionSpec
	l.object(n, path, fieldReaders{
		"effect": l.text(&s.Effect), "actions": l.texts(&s.Actions),
		"resources": l.texts(&s.Resources), "when": l.text(&s.When),
	})
	return s
}

// checkInherited refuses inheritance of roles that the file does not have.
func (l *loader) checkInherited() {
	for _, r := range l.roles {
		if r.role == nil {
			continue
		}
		for i, parent := range r.role.inherits {
			if _, ok := l.file.Roles[parent]; !ok {
				field := fmt.Sprintf("inherits[%d]", i)
				l.fail(r.node.find(field), joinPath(r.path, field), fmt.Errorf("%w %q", ErrUnknownRole, parent))
			}
		}
	}
}

// checkCycles reports each cycle once, at the inheritance that closes it. It goes depth
// first, with a path of its own in place of recursion: a file may hold a long chain.
func (l *loader) checkCycles() {
	byName := make(map[string]*loadedRole, len(l.roles))
	for i := range l.roles {
		byName[l.roles[i].name] = &l.roles[i]
	}
	for i := range l.roles {
		if r := &l.roles[i]; !r.done {
			l.walkInherited(r, byName)
		}
	}
}

func (l *loader) walkInherited(from *loadedRole, byName map[string]*loadedRole) {
	path := []*loadedRole{from}
	for len(path) > 0 {
		r := path[len(path)-1]
		r.onPath = true
		if r.role == nil || r.walked == len(r.role.inherits) {
			r.onPath, r.done = false, true
			path = path[:len(path)-1]
			continue
		}
		r.walked++
		switch parent := byName[r.role.inherits[r.walked-1]]; {
		case parent == nil || parent.done:
		case parent.onPath:
			field := fmt.Sprintf("inherits[%d]", r.walked-1)
			l.fail(r.node.find(field), joinPath(r.path, field), cycleOf(path[slices.Index(path, parent):]))
		default:
			path = append(path, parent)
		}
	}
}

func cycleOf(roles []*loadedRole) *CycleError {
	e := &CycleError{}
	for _, r := range roles {
		e.Roles = append(e.Roles, r.name)
	}
	return e
}

func (l *loader) readGrants(n *node, path string) {
	l.list(n, path, func(n *node, path string) {
		if g, ok := l.readGrant(n, path); ok {
			l.addGrant(g, n.place, path)
			l.grants = append(l.grants, loadedGrant{role: g.Role, path: path, node: n})
		}
	})
}

func (l *loader) readGrant(n *node, path string) (g Grant, ok bool) {
	before := len(l.faults)
	var s GrantSpec
	l.object(n, path, fieldReaders{
		"principal": l.text(&s.Principal), "principals": l.text(&s.Principals), "role": l.text(&s.Role),
		"within": l.texts(&s.Within), "expires": l.text(&s.Expires), "reason": l.text(&s.Reason),
	})
	if len(l.faults) > before {
		return g, false
	}
	g, all := s.build()
	l.failAll(n, path, all)
	return g, len(all) == 0
}

// addGrant takes in a grant, unless it is there already.
func (l *loader) addGrant(g Grant, at place, path string) {
	if line := l.enter(g, at.line); line > 0 {
		l.invalid(at, path, "the same grant stands on line %d already", line)
	}
}

// enter adds a grant to the file. If the same one is there, it returns the line of that.
func (l *loader) enter(g Grant, line int32) (before int32) {
	l.file.Grants = append(l.file.Grants, g)
	last := len(l.file.Grants) - 1
	if i := l.index.add(l.file.Grants, last); i >= 0 {
		l.file.Grants = l.file.Grants[:last]
		return l.lines[i]
	}
	l.lines = append(l.lines, line)
	return 0
}

// checkGranted refuses grants of roles that the file does not have.
func (l *loader) checkGranted() {
	for _, g := range l.grants {
		if _, ok := l.file.Roles[g.role]; !ok {
			l.fail(g.node.find("role"), joinPath(g.path, "role"), fmt.Errorf("%w %q", ErrUnknownRole, g.role))
		}
	}
}
