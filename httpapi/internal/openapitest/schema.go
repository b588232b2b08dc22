package openapitest

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Keywords of a schema, by what they have.
var (
	oneSchema   = []string{"items", "additionalProperties", "unevaluatedProperties", "not", "if", "then", "else", "contains", "propertyNames"}
	manySchemas = []string{"oneOf", "anyOf", "allOf", "prefixItems"}
	namedSchema = []string{"properties", "patternProperties", "$defs"}
	noSchema    = []string{
		"$ref", "type", "enum", "const", "format", "pattern", "required", "minimum", "maximum", "minLength", "maxLength",
		"minItems", "maxItems", "default", "description", "examples", "discriminator",
	}
)

// eachSchema visits a schema and those in it. It does not follow references. whole is false for a
// schema that applies to an object together with another one.
func eachSchema(n node, whole bool, visit func(n node, whole bool)) {
	if _, ok := n.value.(map[string]any); !ok {
		return
	}
	visit(n, whole)
	for _, name := range oneSchema {
		eachSchema(n.get(name), name == "items" || name == "additionalProperties" || name == "contains", visit)
	}
	for _, name := range manySchemas {
		for _, item := range n.get(name).items() {
			eachSchema(item, name != "allOf", visit)
		}
	}
	for _, name := range namedSchema {
		for _, member := range n.get(name).members() {
			eachSchema(member, true, visit)
		}
	}
}

// schemaRoots returns the outermost schemas of a document.
func schemaRoots(n node) []node {
	roots := n.get("components").get("schemas").members()
	var find func(node)
	find = func(n node) {
		switch n.value.(type) {
		case map[string]any:
			for _, member := range n.members() {
				switch member.name() {
				case "schema", "x-lines":
					roots = append(roots, member)
				case "x-events":
					roots = append(roots, member.members()...)
				case "schemas", "value", "example":
				default:
					find(member)
				}
			}
		case []any:
			for _, item := range n.items() {
				find(item)
			}
		}
	}
	find(n.get("paths"))
	find(n.get("components"))
	return roots
}

// closeSchemas forbids members that the document does not name, so that an answer with an
// undocumented member is found. In the document itself objects stay open: a server may add members.
func closeSchemas(document any) {
	for _, root := range schemaRoots(node{root: document, value: document}) {
		eachSchema(root, true, func(n node, whole bool) {
			object := n.value.(map[string]any)
			if whole && n.get("properties").exists() && !n.get("additionalProperties").exists() {
				object["unevaluatedProperties"] = false
			}
		})
	}
}

// compiler compiles schemas of one document.
type compiler struct {
	*jsonschema.Compiler
	url string
}

func newCompiler(name string, document any) (*compiler, error) {
	c := &compiler{jsonschema.NewCompiler(), "https://interlock.test/" + name + ".yaml"}
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	return c, c.AddResource(c.url, document)
}

// schema compiles the schema at a node; nil for a node that does not exist.
func (c *compiler) schema(n node) (*jsonschema.Schema, error) {
	if !n.exists() {
		return nil, nil
	}
	parts := strings.Split(n.at, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	s, err := c.Compile(c.url + "#" + strings.Join(parts, "/"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.at, err)
	}
	return s, nil
}

// CheckKeywords reports the keywords of schemas that the checks do not know. JSON Schema ignores
// unknown ones, such as a misspelled one.
func CheckKeywords(a *API) error {
	known := slices.Concat(oneSchema, manySchemas, namedSchema, noSchema)
	var faults []error
	for _, root := range schemaRoots(node{root: a.Value, value: a.Value}) {
		eachSchema(root, true, func(n node, _ bool) {
			for _, member := range n.members() {
				if !slices.Contains(known, member.name()) {
					faults = append(faults, fmt.Errorf("%s: unknown keyword", member.at))
				}
			}
		})
	}
	return errors.Join(faults...)
}
