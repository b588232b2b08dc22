// Package web has what interlock's HTTP handlers share: errors as problem documents, handlers
// that return errors, strict JSON bodies, and the scope of a request.
package web
