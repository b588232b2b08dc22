package policyfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy"
)

// loader makes a File of nodes, and collects all errors. An error in one field does not keep
// it from checking the others.
type loader struct {
	name   string
	file   *File
	faults []*Error
	roles  []loadedRole
	named  map[string]int // position in roles, by name
	grants []loadedGrant  // those of a file that may name its roles later
	index  policy.GrantIndex
	lines  []int32 // of the file's grants
}

// loadedRole is where a role stands and what it inherits, also if it has errors.
type loadedRole struct {
	name     string
	path     string
	node     *node
	inherits []string
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
	l.checkInherited()
	l.checkGranted()
	l.checkCycles()
	return l.result()
}

func newLoader(name string) *loader {
	return &loader{name: name, file: &File{Roles: map[string]*policy.Role{}}, named: map[string]int{}, index: policy.NewGrantIndex(0)}
}

// result returns the file, or all that is wrong with it in the order of lines.
func (l *loader) result() (*File, error) {
	if len(l.faults) == 0 {
		return l.file, nil
	}
	slices.SortStableFunc(l.faults, func(a, b *Error) int {
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
		l.faults = append(l.faults, &Error{File: l.name, Line: int(at.line), Column: int(at.column), Field: path, Err: err})
	}
}

func (l *loader) invalid(at place, path, format string, args ...any) {
	l.fail(at, path, fmt.Errorf("%w: %s", policy.ErrInvalid, fmt.Sprintf(format, args...)))
}

// failAll reports the errors of what is made of n, each at its field, except those in fields
// that have an error since before: these are consequences.
func (l *loader) failAll(n *node, path string, all []*policy.FieldError, before int) {
	known := l.faults[before:]
	for _, f := range all {
		at := joinPath(path, f.Field)
		if !slices.ContainsFunc(known, func(e *Error) bool { return within(e.Field, at) || within(at, e.Field) }) {
			l.fail(n.find(f.Field), at, f.Err)
		}
	}
}

// within reports whether path is the field, or below it.
func within(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// refused reports a node that a policy file may not have.
func (l *loader) refused(n *node, path string) bool {
	if n.kind == badNode {
		l.fail(n.place, path, fmt.Errorf("%w: %s", ErrSyntax, n.text))
	}
	return n.kind == badNode
}

// fieldReaders are the fields that an object may have.
type fieldReaders map[string]func(n *node, path string)

// object hands each field to its reader. Unknown and duplicate fields are errors.
func (l *loader) object(n *node, path string, readers fieldReaders) {
	if l.refused(n, path) {
		return
	}
	if n.kind != objectNode {
		l.invalid(n.place, path, "must be an object, not %s", n.describe())
		return
	}
	var seen []string
	for i := range n.fields {
		f := &n.fields[i]
		at := joinPath(path, f.name)
		read := readers[f.name]
		switch {
		case f.value.badKey:
			l.refused(&f.value, at)
		case read == nil:
			l.invalid(f.place, at, "unknown field %q", f.name)
		case slices.Contains(seen, f.name):
			l.invalid(f.place, at, "the field stands twice")
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
		case l.refused(n, path):
		case n.kind == otherNode && n.describe() != "null":
			l.invalid(n.place, path, "must be a string, and %s is not one: put it in quotes", n.text)
		case n.kind != textNode:
			l.invalid(n.place, path, "must be a string, not %s", n.describe())
		case n.text == "":
			l.invalid(n.place, path, "is empty")
		default:
			*into = n.text
		}
	}
}

func (l *loader) list(n *node, path string, read func(*node, string)) {
	if l.refused(n, path) {
		return
	}
	if n.kind != listNode {
		l.invalid(n.place, path, "must be a list, not %s", n.describe())
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

// limits reads a list of texts. An empty one is not nil, and so an error of the grant.
func (l *loader) limits(into *[]string) func(*node, string) {
	return func(n *node, path string) {
		if n.kind == listNode {
			*into = []string{}
		}
		l.texts(into)(n, path)
	}
}

func (l *loader) readRoles(n *node, path string) {
	switch {
	case l.refused(n, path):
	case n.kind == listNode:
		l.list(n, path, l.readListedRole)
	case n.kind == objectNode:
		for i := range n.fields {
			f := &n.fields[i]
			at := joinPath(path, f.name)
			if f.value.badKey {
				l.refused(&f.value, at)
			} else if err := policy.CheckRoleName(f.name); err != nil {
				l.fail(f.place, at, err)
			} else {
				l.readRole(&f.value, at, f.place, f.name, nil)
			}
		}
	default:
		l.invalid(n.place, path, "must be an object of roles by name, or a list of roles, not %s", n.describe())
	}
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
	case policy.CheckRoleName(at.text) != nil:
		l.fail(at.place, joinPath(path, "name"), policy.CheckRoleName(at.text))
	default:
		l.readRole(n, path, at.place, at.text, readName)
	}
}

func (l *loader) readRole(n *node, path string, named place, name string, more fieldReaders) {
	before := len(l.faults)
	var spec policy.RoleSpec
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
	role, all := spec.Build(name)
	l.failAll(n, path, all, before)
	if _, twice := l.named[name]; twice {
		l.invalid(named, path, "role %q stands twice", name)
		return
	}
	l.named[name] = len(l.roles)
	l.roles = append(l.roles, loadedRole{name: name, path: path, node: n, inherits: spec.Inherits})
	l.file.Roles[name] = role
}

func (l *loader) readPermission(n *node, path string) policy.PermissionSpec {
	var s policy.PermissionSpec
	l.object(n, path, fieldReaders{
		"effect": l.text(&s.Effect), "actions": l.texts(&s.Actions),
		"resources": l.texts(&s.Resources), "when": l.text(&s.When),
	})
	return s
}

// checkInherited rejects inheritance of roles that the file does not have.
func (l *loader) checkInherited() {
	for _, r := range l.roles {
		for i, parent := range r.inherits {
			if _, known := l.named[parent]; !known && policy.CheckRoleName(parent) == nil {
				l.failInherits(&r, i, fmt.Errorf("%w %q", policy.ErrUnknownRole, parent))
			}
		}
	}
}

// checkCycles reports each cycle once, at the inheritance that closes it.
func (l *loader) checkCycles() {
	w := policy.Inheritance{
		Parents: func(name string) []string {
			if i, known := l.named[name]; known {
				return l.roles[i].inherits
			}
			return nil
		},
		Cycle: func(heir string, i int, cycle *policy.CycleError) bool {
			l.failInherits(&l.roles[l.named[heir]], i, cycle)
			return len(l.faults) < maxFaults
		},
	}
	for _, r := range l.roles {
		if !w.Walk(r.name) {
			return
		}
	}
}

func (l *loader) failInherits(r *loadedRole, i int, err error) {
	field := fmt.Sprintf("inherits[%d]", i)
	l.fail(r.node.find(field), joinPath(r.path, field), err)
}

func (l *loader) readGrants(n *node, path string) {
	l.list(n, path, func(n *node, path string) {
		g, role, ok := l.readGrant(n, path)
		if ok {
			l.addGrant(g, n.place, path)
		}
		l.grants = append(l.grants, loadedGrant{role: role, path: path, node: n})
	})
}

// readGrant reads a grant. The role is what the grant names also if there are errors.
func (l *loader) readGrant(n *node, path string) (g policy.Grant, role string, ok bool) {
	before := len(l.faults)
	var s policy.GrantSpec
	l.object(n, path, fieldReaders{
		"principal": l.text(&s.Principal), "principals": l.text(&s.Principals), "role": l.text(&s.Role),
		"within": l.limits((*[]string)(&s.Within)), "expires": l.text(&s.Expires), "reason": l.text(&s.Reason),
	})
	badHolder := slices.ContainsFunc(l.faults[before:], func(e *Error) bool { return e.Field == joinPath(path, "principals") })
	g, all := s.Build()
	if badHolder {
		all = slices.DeleteFunc(all, func(e *policy.FieldError) bool { return e.Field == "principal" })
	}
	l.failAll(n, path, all, before)
	return g, s.Role, len(l.faults) == before && len(all) == 0
}

// addGrant takes in a grant, unless it is there already.
func (l *loader) addGrant(g policy.Grant, at place, path string) {
	if line := l.enter(g, at.line); line > 0 {
		l.invalid(at, path, "the same grant stands on line %d", line)
	}
}

// enter adds a grant to the file. If the same one is there, it returns the line of that.
func (l *loader) enter(g policy.Grant, line int32) (before int32) {
	l.file.Grants = append(l.file.Grants, g)
	last := len(l.file.Grants) - 1
	if i := l.index.Add(l.file.Grants, last); i >= 0 {
		l.file.Grants = l.file.Grants[:last]
		return l.lines[i]
	}
	l.lines = append(l.lines, line)
	return 0
}

// checkGranted rejects grants of roles that the file does not have.
func (l *loader) checkGranted() {
	for _, g := range l.grants {
		l.checkGrantedRole(g)
	}
}

func (l *loader) checkGrantedRole(g loadedGrant) {
	if _, known := l.named[g.role]; !known && policy.CheckRoleName(g.role) == nil {
		l.fail(g.node.find("role"), joinPath(g.path, "role"), fmt.Errorf("%w %q", policy.ErrUnknownRole, g.role))
	}
}
