package policyfile

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
)

// readYAML reads one document. The error is a [*syntaxFault]. A value or a key that a policy
// file may not have keeps its error in the node, so that the loader reports it together with
// all others.
func readYAML(data []byte) (node, error) {
	root, err := strictyaml.Parse(data)
	fault, _ := errors.AsType[*strictyaml.Error](err)
	switch {
	case errors.Is(err, strictyaml.ErrEmpty):
		return node{}, syntaxErrorf(place{1, 1}, "%v; write {} for a policy without roles and grants", strictyaml.ErrEmpty)
	case fault != nil:
		return node{}, &syntaxFault{place: place{int32(fault.Line), int32(fault.Column)}, err: fault.Err}
	}
	return fromYAML(root), nil
}

// fromYAML converts a value. It lets go of what it has converted, so that the two trees are
// never in memory as a whole.
func fromYAML(y *yaml.Node) node {
	n := node{place: yamlPlace(y)}
	content := y.Content
	y.Content = nil
	switch why := strictyaml.Refused(y); {
	case why != "":
		n.kind, n.text = badNode, why
	case y.Kind == yaml.SequenceNode:
		n.kind = listNode
		n.items = make([]node, len(content))
		for i := range content {
			n.items[i] = fromYAML(content[i])
			content[i] = nil
		}
	case y.Kind == yaml.MappingNode:
		n.kind = objectNode
		n.fields = make([]member, len(content)/2)
		for i := range n.fields {
			n.fields[i] = yamlMember(content[2*i], content[2*i+1])
			content[2*i], content[2*i+1] = nil, nil
		}
	case !isText(y):
		n.kind, n.text = otherNode, y.Value
	default:
		n.text = y.Value
	}
	return n
}

func yamlMember(key, value *yaml.Node) member {
	m := member{name: key.Value, place: yamlPlace(key)}
	if why := strictyaml.RefusedKey(key); why != "" {
		m.value = node{kind: badNode, badKey: true, place: m.place, text: why}
	} else {
		m.value = fromYAML(value)
	}
	return m
}

// isText reports whether a scalar is a string. A plain timestamp is one, as an expiry.
func isText(y *yaml.Node) bool { return y.Tag == "!!str" || y.Tag == "!!timestamp" }

func yamlPlace(y *yaml.Node) place { return place{int32(y.Line), int32(y.Column)} }
