package client

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Problem is an answer other than success, as RFC 9457 defines it. A client gets one as the
// error of a call. A server's handler may return one as its error. Everything in it is public
// except Cause.
type Problem struct {
	// Type is a URI that identifies the kind of problem and never changes, such as
	// "urn:interlock:problem:denied".
	Type string `json:"type,omitzero"`
	// Title is the same for all problems of a type.
	Title string `json:"title,omitzero"`
	// Status is the HTTP status, 400 to 599. A server answers any other value as 500.
	Status int `json:"status,omitzero"`
	// Detail is about this occurrence.
	Detail string `json:"detail,omitzero"`
	// Instance identifies this occurrence. A server sets it to the ID of the request.
	Instance string `json:"instance,omitzero"`
	// Members are further members of the document. They cannot replace those above.
	Members map[string]any `json:",embed"`
	// Cause is the error behind the problem. A server logs it and never sends it.
	Cause error `json:"-"`
}

// Error returns the public text, and the cause if there is one.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, p.Title)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Cause != nil {
		text += ": " + p.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// Document returns the problem as JSON. It replaces invalid UTF-8. It leaves out members that
// have the name of a field above, and all members if one of them has no JSON form.
func (p *Problem) Document() []byte {
	doc := *p
	doc.Members = make(map[string]any, len(p.Members))
	for name, value := range p.Members {
		switch name {
		case "type", "title", "status", "detail", "instance":
		default:
			doc.Members[name] = value
		}
	}
	text, err := json.Marshal(&doc, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		doc.Members = nil
		text, _ = json.Marshal(&doc, jsontext.AllowInvalidUTF8(true))
	}
	return append(text, '\n')
}

// Fault is one element of the member "errors" of a [Problem]: what is wrong with one field.
type Fault struct {
	Field string `json:"field"`
	// Line and Column count from 1; 0 if they are unknown.
	Line   int    `json:"line,omitzero"`
	Column int    `json:"column,omitzero"`
	Detail string `json:"detail"`
}

// IsProblem reports whether err is a [*Problem] of the type urn:interlock:problem:name.
func IsProblem(err error, name string) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Type == ProblemType(name)
}

// ProblemType returns the URI of one of interlock's own problem types.
func ProblemType(name string) string { return "urn:interlock:problem:" + name }

// problemIn reads a problem document, or makes one for an answer that has none.
func problemIn(resp *http.Response, body []byte) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(resp.StatusCode)}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "application/problem+json" {
		var doc Problem
		if json.Unmarshal(body, &doc) == nil {
			p = &doc
		}
	}
	p.Status = resp.StatusCode
	return p
}
