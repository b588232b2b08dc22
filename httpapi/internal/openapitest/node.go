package openapitest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is a value in a document, with its JSON pointer.
type node struct {
	root  any
	at    string
	value any
}

// get returns a member of an object; the node has the value nil if there is none.
func (n node) get(name string) node {
	object, _ := n.value.(map[string]any)
	return node{n.root, n.at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name), object[name]}
}

// item returns an item of an array.
func (n node) item(i int) node {
	return node{n.root, fmt.Sprintf("%s/%d", n.at, i), n.value.([]any)[i]}
}

// exists reports whether the document has the node.
func (n node) exists() bool { return n.value != nil }

// text returns a string, empty if the node is none.
func (n node) text() string {
	s, _ := n.value.(string)
	return s
}

// members returns the members of an object, in the order of their names.
func (n node) members() []node {
	object, _ := n.value.(map[string]any)
	var all []node
	for _, name := range slices.Sorted(maps.Keys(object)) {
		all = append(all, n.get(name))
	}
	return all
}

// items returns the items of an array.
func (n node) items() []node {
	array, _ := n.value.([]any)
	all := make([]node, len(array))
	for i := range array {
		all[i] = n.item(i)
	}
	return all
}

// name is the last part of the pointer.
func (n node) name() string {
	last := n.at[strings.LastIndexByte(n.at, '/')+1:]
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(last)
}

// target follows a reference to another place of the same document. A node without one is its
// own target.
func (n node) target() (node, error) {
	ref := n.get("$ref").text()
	if ref == "" {
		return n, nil
	}
	pointer, ok := strings.CutPrefix(ref, "#/")
	found := node{root: n.root, value: n.root}
	for part := range strings.SplitSeq(pointer, "/") {
		found = found.get(strings.NewReplacer("~1", "/", "~0", "~").Replace(part))
	}
	if !ok || !found.exists() {
		return node{}, fmt.Errorf("%s: the reference %q leads nowhere", n.at, ref)
	}
	return found, nil
}
