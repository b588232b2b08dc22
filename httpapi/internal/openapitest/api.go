// Package openapitest checks the documents of package openapi: against themselves, against the routes
// of a router, and against the requests and answers of tests. It is linked by tests only.
package openapitest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// API is a document with its compiled schemas. It is safe for concurrent use.
type API struct {
	Name string
	// Value is the document as JSON.
	Value any
	// Operations are in the order of their paths and methods.
	Operations []*Operation
	// Examples are all examples of bodies.
	Examples []Example

	problem *jsonschema.Schema
}

// Operation is a method of a path.
type Operation struct {
	Method, Path string
	ID, Summary  string
	// Public means that no certificate is needed.
	Public bool

	parameters map[string]*parameter // by place and name
	request    map[string]*content   // by media type; nil without a body
	responses  map[int]*response
}

// Example is an example of a body.
type Example struct {
	At    string
	Value any
	media string
	body  *content
}

type parameter struct {
	required bool
	list     bool // of values with commas
	schema   *jsonschema.Schema
}

// content is the body of one media type.
type content struct {
	schema *jsonschema.Schema            // nil for any
	line   *jsonschema.Schema            // of a body in lines
	events map[string]*jsonschema.Schema // of a stream of events
}

type response struct {
	headers map[string]*parameter
	content map[string]*content
}

var loaded sync.Map // from the name to a function that loads once

// Load reads a document and compiles its schemas, once in a process.
func Load(d openapi.Document) (*API, error) {
	once, _ := loaded.LoadOrStore(d.Name(), sync.OnceValues(func() (*API, error) { return Parse(d.Name(), d.String()) }))
	return once.(func() (*API, error))()
}

// Parse is Load of a text.
func Parse(name, text string) (*API, error) {
	open, err := valueOf(text)
	if err != nil {
		return nil, err
	}
	closed, _ := valueOf(text)
	closeSchemas(closed)
	l := &loader{api: &API{Name: name, Value: open}}
	if l.requests, err = newCompiler(name, open); err != nil {
		return nil, err
	}
	if l.answers, err = newCompiler(name, closed); err != nil {
		return nil, err
	}
	root := node{root: open, value: open}
	for _, path := range root.get("paths").members() {
		for _, method := range path.members() {
			if name := method.name(); name != "servers" {
				l.api.Operations = append(l.api.Operations, l.operation(root, path, method))
			}
		}
	}
	for _, r := range schemaRoots(root) { // also the ones that no operation uses
		l.schema(l.answers, r)
	}
	l.api.problem = l.schema(l.answers, root.get("components").get("schemas").get("Problem"))
	return l.api, l.err
}

// valueOf returns YAML as JSON values.
func valueOf(text string) (any, error) {
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, err
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
}

// loader keeps the first error.
type loader struct {
	api               *API
	requests, answers *compiler
	err               error
}

func (l *loader) fail(err error) {
	if l.err == nil && err != nil {
		l.err = fmt.Errorf("%s.yaml: %w", l.api.Name, err)
	}
}

func (l *loader) schema(by *compiler, n node) *jsonschema.Schema {
	s, err := by.schema(n)
	l.fail(err)
	return s
}

func (l *loader) target(n node) node {
	found, err := n.target()
	l.fail(err)
	return found
}

func (l *loader) operation(root, path, n node) *Operation {
	op := &Operation{
		Method: strings.ToUpper(n.name()), Path: path.name(), ID: n.get("operationId").text(), Summary: n.get("summary").text(),
		parameters: map[string]*parameter{}, responses: map[int]*response{},
	}
	security := n.get("security")
	if !security.exists() {
		security = root.get("security")
	}
	op.Public = len(security.items()) == 0
	for _, p := range n.get("parameters").items() {
		p = l.target(p)
		op.parameters[keyOf(p.get("in").text(), p.get("name").text())] = l.parameter(p)
	}
	if body := n.get("requestBody"); body.exists() {
		op.request = l.contents(l.requests, l.target(body))
	}
	for _, r := range n.get("responses").members() {
		status, err := strconv.Atoi(r.name())
		l.fail(err)
		r = l.target(r)
		answer := &response{content: l.contents(l.answers, r), headers: map[string]*parameter{}}
		for _, h := range r.get("headers").members() {
			answer.headers[http.CanonicalHeaderKey(h.name())] = l.parameter(l.target(h))
		}
		op.responses[status] = answer
	}
	return op
}

// keyOf is the key of a parameter.
func keyOf(in, name string) string {
	if in == "header" {
		name = http.CanonicalHeaderKey(name)
	}
	return in + " " + name
}

func (l *loader) parameter(n node) *parameter {
	p := &parameter{required: n.get("required").value == true, schema: l.schema(l.requests, n.get("schema"))}
	p.list = n.get("schema").get("type").text() == "array"
	if p.schema == nil {
		l.fail(fmt.Errorf("%s: no schema", n.at))
		return p
	}
	if example := n.get("example"); example.exists() {
		l.fail(p.check(example.text()))
	}
	return p
}

func (l *loader) contents(by *compiler, n node) map[string]*content {
	all := map[string]*content{}
	for _, media := range n.get("content").members() {
		c := &content{schema: l.schema(by, media.get("schema")), line: l.schema(by, media.get("x-lines"))}
		for _, event := range media.get("x-events").members() {
			if c.events == nil {
				c.events = map[string]*jsonschema.Schema{}
			}
			c.events[event.name()] = l.schema(by, event)
		}
		if c.schema == nil && media.get("examples").exists() {
			l.fail(fmt.Errorf("%s: examples without a schema", media.at))
		}
		for _, example := range media.get("examples").members() {
			l.api.Examples = append(l.api.Examples, Example{example.at, example.get("value").value, media.name(), c})
		}
		all[media.name()] = c
	}
	return all
}

// Problems returns the types of the problems with which the operation can answer, by status.
func (op *Operation) Problems() map[int][]string {
	all := map[int][]string{}
	for status, r := range op.responses {
		c := r.content[problemMedia]
		if c == nil || c.schema == nil {
			continue
		}
		for _, t := range c.schema.Properties["type"].Enum.Values {
			all[status] = append(all[status], strings.TrimPrefix(t.(string), "urn:interlock:problem:"))
		}
	}
	return all
}

// Statuses returns how many answers the operation has.
func (op *Operation) Statuses() int { return len(op.responses) }

// find returns the operation of a request, nil if there is none.
func (a *API) find(method, path string) *Operation {
	for _, op := range a.Operations {
		if op.Method == method && matches(op.Path, path) {
			return op
		}
	}
	return nil
}

// matches reports whether a path is one of the template.
func matches(template, path string) bool {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != have[i] && (!strings.HasPrefix(want[i], "{") || have[i] == "") {
			return false
		}
	}
	return true
}
