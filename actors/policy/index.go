package policy

import "strings"

// index answers which permissions match an action on a resource, over all roles at once:
// a trie of action patterns whose ends are roots of tries of resource patterns, whose
// ends are terminals. Only a role's own permissions are in it; inheritance is in the
// principal's set of roles.
type index struct {
	trie      trie
	actions   int32 // root of the action patterns
	control   int32 // root of those that begin with "interlock:"
	terminals []terminal
	names     []namedAction
}

// namedAction is an action with the roots of the resource patterns that go with it.
type namedAction struct {
	action string
	roots  []int32
}

// terminal is all that ends at one pair of patterns: sets of roles for what needs no
// condition, a list for what does.
type terminal struct {
	deny, allow     []roleBlock
	denyIf, allowIf []conditional
	all             []placed
}

type conditional struct {
	role int32
	perm *Permission
}

// placed finds the permission again, for explanations.
type placed struct {
	role   int32
	number int
	perm   *Permission
}

func newIndex(roles []*Role) *index {
	x := &index{terminals: make([]terminal, 1)}
	x.actions, x.control = x.trie.newNode(), x.trie.newNode()
	for number, role := range roles {
		if role == nil {
			continue
		}
		for i := range role.permissions {
			x.add(int32(number), i, &role.permissions[i])
		}
	}
	x.nameActions(roles)
	return x
}

func (x *index) add(role int32, number int, perm *Permission) {
	for _, a := range perm.Actions {
		for _, r := range perm.Resources {
			t := x.terminal(a, r)
			t.all = append(t.all, placed{role: role, number: number, perm: perm})
			switch {
			case perm.When != nil && perm.Effect == Deny:
				t.denyIf = append(t.denyIf, conditional{role: role, perm: perm})
			case perm.When != nil:
				t.allowIf = append(t.allowIf, conditional{role: role, perm: perm})
			case perm.Effect == Deny:
				t.deny = addToBlocks(t.deny, role)
			default:
				t.allow = addToBlocks(t.allow, role)
			}
		}
	}
}

func (x *index) terminal(a ActionPattern, r ResourcePattern) *terminal {
	root := *x.trie.slot(x.actionRoot(a.text), a.text, ':')
	if root == 0 {
		root = x.trie.newNode()
		*x.trie.slot(x.actionRoot(a.text), a.text, ':') = root
	}
	end := x.trie.slot(root, r.text, '/')
	if *end == 0 {
		x.terminals = append(x.terminals, terminal{})
		*end = int32(len(x.terminals) - 1)
	}
	return &x.terminals[*end]
}

func (x *index) actionRoot(action string) int32 {
	if isControl(action) {
		return x.control
	}
	return x.actions
}

// find fills out with the numbers of the terminals that match. It reports whether any
// permission at all names the action.
func (x *index) find(action, resource string, out *hits) bool {
	if roots := x.named(action); roots != nil {
		for _, root := range roots {
			x.trie.walk(root, resource, '/', out)
		}
		return true
	}
	var roots hits
	x.trie.walk(x.actionRoot(action), action, ':', &roots)
	for i := range roots.n {
		x.trie.walk(roots.at(i), resource, '/', out)
	}
	return roots.n > 0
}

// named returns the roots of an action that some permission names without a wildcard, nil
// of any other.
func (x *index) named(action string) []int32 {
	mask := uint64(len(x.names) - 1)
	for i := hashSegment(action) & mask; ; i = (i + 1) & mask {
		if n := &x.names[i]; n.roots == nil || n.action == action {
			return n.roots
		}
	}
}

// nameActions looks up once and for all what matches each action that stands in a
// permission.
func (x *index) nameActions(roles []*Role) {
	literal := map[string]bool{}
	for _, r := range roles {
		for _, a := range actionsOf(r) {
			if !strings.Contains(a.text, wildOne) {
				literal[a.text] = true
			}
		}
	}
	size := 2
	for size < 2*(len(literal)+1) {
		size *= 2
	}
	x.names = make([]namedAction, size)
	for action := range literal {
		var roots hits
		x.trie.walk(x.actionRoot(action), action, ':', &roots)
		i := hashSegment(action) & uint64(size-1)
		for x.names[i].roots != nil {
			i = (i + 1) & uint64(size-1)
		}
		x.names[i] = namedAction{action: action, roots: roots.all()}
	}
}

func actionsOf(r *Role) (actions []ActionPattern) {
	if r != nil {
		for i := range r.permissions {
			actions = append(actions, r.permissions[i].Actions...)
		}
	}
	return actions
}
