// Package openapi describes the HTTP APIs in OpenAPI 3.1: one document for each listener of interlock
// serve. Each document is complete in itself, so that a generator of clients needs one file.
//
// To add an endpoint, add its path to the document of its listener. The tests of the listener's
// routes and of the recorded answers fail until the document has the path, its methods and every
// answer that they see.
package openapi

import (
	_ "embed" // for the documents
	"net/http"
)

const (
	// Path is where each listener serves its document.
	Path = "/openapi.yaml"
	// Media is the media type of a document.
	Media = "application/yaml"
)

//go:embed admin.yaml
var admin string

//go:embed callers.yaml
var callers string

//go:embed operator.yaml
var operator string

// Document is the description of a listener's API. It is an [http.Handler] that answers every
// request with the document, whoever asks. It is immutable.
type Document struct{ name, text string }

// Admin describes the listener for administrators: package admin.
func Admin() Document { return Document{"admin", admin} }

// Callers describes the listeners for callers and for proxies: packages authzen, leases and
// forwardauth.
func Callers() Document { return Document{"callers", callers} }

// Operator describes the listener for operators: httpapi.NewOperatorAPI.
func Operator() Document { return Document{"operator", operator} }

// All returns every document.
func All() []Document { return []Document{Admin(), Callers(), Operator()} }

// Name is the name of the document's file, without its ending.
func (d Document) Name() string { return d.name }

// String returns the document, which is YAML.
func (d Document) String() string { return d.text }

// ServeHTTP implements [http.Handler].
func (d Document) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", Media)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(d.text)) // the client may be gone
}
