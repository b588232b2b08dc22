package policyfile

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
)

// Limits on a policy file, in bytes. YAML has a lower one: while a usual policy in YAML is
// read, it takes about 40 bytes of memory for each byte of the file. Reading YAML is further
// limited to a million values, so that a hostile file takes no more than a usual one.
const (
	MaxSize = 64 << 20
	MaxYAML = 8 << 20
)

// Limits on the memory that a hostile file costs.
const (
	maxDepth  = strictyaml.MaxDepth
	maxNodes  = 4 << 20
	maxFaults = 1000
)

// place is a line and a column in a file, in characters from 1.
type place struct{ line, column int32 }

type nodeKind uint8

const (
	textNode  nodeKind = iota // a string
	otherNode                 // a number, true, false or null; text is as it was written
	listNode
	objectNode
	badNode // a construct that a policy file may not have; text says why
)

// node is a value in a file, YAML or JSON, with its place.
type node struct {
	kind   nodeKind
	badKey bool // the fault of a badNode is that of its key
	place  place
	text   string
	items  []node   // of a list
	fields []member // of an object, in order
}

type member struct {
	place place
	name  string
	value node
}

// describe names the kind of the node, for errors.
func (n *node) describe() string {
	switch n.kind {
	case textNode:
		return "a string"
	case listNode:
		return "a list"
	case objectNode:
		return "an object"
	}
	if n.text == "" || n.text == "null" || n.text == "~" {
		return "null"
	}
	return n.text
}

// find returns the place of the node at a path below n, such as
// "permissions[1].actions[0]". If there is no such node, it returns the place of the last
// one on the path that exists.
func (n *node) find(path string) place {
	for path != "" && n != nil {
		step, rest := cutPath(path)
		next := n.step(step)
		if next == nil {
			break
		}
		n, path = next, rest
	}
	return n.place
}

// step is one step of a path: "name" or "[3]".
func (n *node) step(step string) *node {
	if index, ok := strings.CutPrefix(step, "["); ok {
		i, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
		if err != nil || i >= len(n.items) {
			return nil
		}
		return &n.items[i]
	}
	for i := range n.fields {
		if n.fields[i].name == step {
			return &n.fields[i].value
		}
	}
	return nil
}

func cutPath(path string) (step, rest string) {
	if i := strings.IndexAny(path[1:], ".["); i >= 0 {
		return path[:i+1], strings.TrimPrefix(path[i+1:], ".")
	}
	return path, ""
}

func joinPath(path, step string) string {
	if path == "" || strings.HasPrefix(step, "[") {
		return path + step
	}
	return path + "." + step
}

// syntaxFault is the error that ends the reading of a file.
type syntaxFault struct {
	place
	err error
}

func (e *syntaxFault) Error() string { return e.err.Error() }

func (e *syntaxFault) Unwrap() error { return e.err }

func syntaxErrorf(at place, format string, args ...any) error {
	return &syntaxFault{place: at, err: fmt.Errorf("%w: %s", ErrSyntax, fmt.Sprintf(format, args...))}
}

func tooLarge(at place, format string, args ...any) error {
	return &syntaxFault{place: at, err: fmt.Errorf("%w: %s", ErrTooLarge, fmt.Sprintf(format, args...))}
}
