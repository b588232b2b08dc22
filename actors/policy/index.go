package policy

// index answers which permissions match an action on a resource, over all roles at once:
// a trie of action patterns whose ends are roots of tries of resource patterns, whose
// ends are terminals. Only a role's own permissions are in it; inheritance is in the
// principal's set of roles.
type index struct {
	trie      trie
	actions   int32 // root of the action patterns
	control   int32 // root of those that begin with "interlock:"
	terminals []terminal
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
	var roots hits
	x.actionHits(action, &roots)
	if roots.n == 0 {
		return false
	}
	var segs segments
	segs.cut(resource, '/')
	for i := range roots.n {
		x.trie.walk(roots.at(i), &segs, 0, out)
	}
	return true
}

func (x *index) actionHits(action string, roots *hits) {
	var segs segments
	segs.cut(action, ':')
	x.trie.walk(x.actionRoot(action), &segs, 0, roots)
}
