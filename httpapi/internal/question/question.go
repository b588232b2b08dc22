// Package question reads questions of the AuthZEN Authorization API 1.0: whether a subject may do
// an action on a resource.
package question

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Others are the unknown members of an object. AuthZEN requires servers to ignore them. A
// known name in another case is rejected: a server that ignores case would decide differently.
type Others map[string]jsontext.Value

// Check rejects a known name in another case.
func (o Others) Check(pointer string, known ...string) error {
	for name := range o {
		for _, k := range known {
			if strings.EqualFold(name, k) {
				return &web.BodyError{Pointer: pointer + "/" + k, Offset: -1, Detail: "has another case; names are case-sensitive"}
			}
		}
	}
	return nil
}

// Entity reads a subject or a resource. Unlike [client.Entity] it tells a missing member, which
// is nil, from an empty one, and has the unknown members.
type Entity struct {
	Type       *string        `json:"type"`
	ID         *string        `json:"id"`
	Properties map[string]any `json:"properties"`
	Others     Others         `json:",embed"`
}

// Action reads an action.
type Action struct {
	Name       *string        `json:"name"`
	Properties map[string]any `json:"properties"`
	Others     Others         `json:",embed"`
}

// Evaluation reads a [client.Evaluation].
type Evaluation struct {
	Subject  *Entity        `json:"subject"`
	Action   *Action        `json:"action"`
	Resource *Entity        `json:"resource"`
	Context  map[string]any `json:"context"`
	Others   Others         `json:",embed"`
}

// Check rejects names in another case, including those in the entities.
func (e *Evaluation) Check(pointer string, more ...string) error {
	if err := e.Others.Check(pointer, append(more, "subject", "action", "resource", "context")...); err != nil {
		return err
	}
	if err := e.Subject.check(pointer + "/subject"); err != nil {
		return err
	}
	if err := e.Resource.check(pointer + "/resource"); err != nil {
		return err
	}
	if e.Action == nil {
		return nil
	}
	return e.Action.Others.Check(pointer+"/action", "name", "properties")
}

func (e *Entity) check(pointer string) error {
	if e == nil {
		return nil
	}
	return e.Others.Check(pointer, "type", "id", "properties")
}

// Inherit fills in from d what e lacks: whole entities, and the type, ID or name of an entity
// that e has.
func (e *Evaluation) Inherit(d *Evaluation) {
	e.Subject = e.Subject.orElse(d.Subject)
	e.Resource = e.Resource.orElse(d.Resource)
	if e.Action == nil {
		e.Action = d.Action
	} else if e.Action.Name == nil && d.Action != nil {
		e.Action.Name = d.Action.Name
	}
	if e.Context == nil {
		e.Context = d.Context
	}
}

func (e *Entity) orElse(d *Entity) *Entity {
	if e == nil || d == nil {
		if e == nil {
			return d
		}
		return e
	}
	if e.Type == nil {
		e.Type = d.Type
	}
	if e.ID == nil {
		e.ID = d.ID
	}
	return e
}

// Request makes the engine's request of the evaluation. The error is a *web.BodyError.
func (e *Evaluation) Request() (actors.Request, error) {
	who, err := e.Subject.principal()
	if err != nil {
		return actors.Request{}, err
	}
	if e.Action == nil || e.Action.Name == nil {
		return actors.Request{}, Unusable("/action/name", "is missing")
	}
	if err := policy.CheckAction(*e.Action.Name); err != nil {
		return actors.Request{}, Unusable("/action/name", err.Error())
	}
	what, err := e.Resource.resource()
	if err != nil {
		return actors.Request{}, err
	}
	properties := e.properties()
	if bad, ok := errors.AsType[*policy.FieldError](policy.CheckProperties(properties)); ok {
		return actors.Request{}, Unusable("/"+strings.ReplaceAll(bad.Field, ".", "/"), bad.Err.Error())
	}
	return actors.Request{Principal: who, Action: *e.Action.Name, Resource: what, Properties: properties}, nil
}

func (e *Evaluation) properties() *policy.Properties {
	if e.Subject.Properties == nil && e.Action.Properties == nil && e.Resource.Properties == nil && e.Context == nil {
		return nil
	}
	return &policy.Properties{
		Principal: e.Subject.Properties, Action: e.Action.Properties, Resource: e.Resource.Properties, Context: e.Context,
	}
}

// Unusable is the error of a value that is missing or malformed.
func Unusable(pointer, detail string) *web.BodyError {
	return &web.BodyError{Pointer: pointer, Offset: -1, Detail: detail}
}

// principalType is the type of a subject whose ID is a whole principal.
const principalType = "principal"

// certificateKinds are the kinds of principals that only a certificate gives. No subject may have
// one as its type.
var certificateKinds = map[certs.Rule]bool{
	certs.RuleSPIFFE: true, certs.RuleDNS: true, certs.RuleEmail: true, certs.RuleURI: true,
	certs.RuleSHA256: true, certs.RuleSPKI: true, certs.RuleCN: true,
}

// Principal is the subject that names a principal.
func Principal(who policy.Principal) *Entity {
	kind, name := principalType, who.String()
	return &Entity{Type: &kind, ID: &name}
}

// principal is the subject's ID if its type is "principal", else type:id.
func (e *Entity) principal() (policy.Principal, error) {
	if err := e.complete("/subject"); err != nil {
		return policy.Principal{}, err
	}
	text := *e.ID
	if *e.Type != principalType {
		if certificateKinds[certs.Rule(strings.ToLower(*e.Type))] {
			return policy.Principal{}, Unusable("/subject/type", fmt.Sprintf(
				"is %q, a kind of identity that only certificates give; use the type %q with the whole identity as the id", *e.Type, principalType))
		}
		text = *e.Type + ":" + *e.ID
	}
	who, err := policy.ParsePrincipal(text)
	if err != nil {
		return policy.Principal{}, Unusable("/subject", err.Error())
	}
	return who, nil
}

// resource is type/id. An ID that begins with a slash begins with %2F there, because the segment
// before that slash would be empty, and '*' in an allow matches no empty segment. So that two IDs
// are two resources, an ID that begins with a percent sign begins with %25.
func (e *Entity) resource() (string, error) {
	if err := e.complete("/resource"); err != nil {
		return "", err
	}
	id := *e.ID
	switch id[0] {
	case '/':
		id = "%2F" + id[1:]
	case '%':
		id = "%25" + id[1:]
	}
	what := *e.Type + "/" + id
	if err := policy.CheckResource(what); err != nil {
		return "", Unusable("/resource", err.Error())
	}
	return what, nil
}

// complete rejects an entity that lacks a type or an ID, or whose type is malformed.
func (e *Entity) complete(pointer string) error {
	switch {
	case e == nil:
		return Unusable(pointer, "is missing")
	case e.Type == nil:
		return Unusable(pointer+"/type", "is missing")
	case e.ID == nil || *e.ID == "":
		return Unusable(pointer+"/id", "is missing or empty")
	case !policy.IsKind(*e.Type):
		return Unusable(pointer+"/type", "is not one or more of the characters A-Z a-z 0-9 _ . -")
	}
	return nil
}
