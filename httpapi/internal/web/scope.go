package web

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
)

// RequestIDHeader identifies a request in both directions.
const RequestIDHeader = "X-Request-ID"

// maxRequestID bounds an ID that a client sends, in bytes.
const maxRequestID = 256

// RequestIDOf returns the ID that the client sent, if it is one value of 1 to 256 bytes, else a
// new one. A header has no control characters but tabs. Logs quote it.
func RequestIDOf(h http.Header) string {
	if given := h.Values(RequestIDHeader); len(given) == 1 && given[0] != "" && len(given[0]) <= maxRequestID {
		return given[0]
	}
	return newRequestID()
}

// newRequestID makes a UUID of version 4.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// scopeKey is the context key of a *Scope.
type scopeKey struct{}

// Scope is the request's ID, log and origin.
type Scope struct {
	ID  string
	Log *slog.Logger
	// ViaProxy means that a known proxy made the connection, on behalf of other clients too.
	ViaProxy bool
}

// WithScope returns r with a scope in its context.
func WithScope(r *http.Request, s *Scope) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), scopeKey{}, s))
}

func scopeOf(ctx context.Context) *Scope {
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}

// withDefaultLogger gives the request a log if it has none.
func withDefaultLogger(r *http.Request, log *slog.Logger) *http.Request {
	if log == nil || scopeOf(r.Context()) != nil {
		return r
	}
	return WithScope(r, &Scope{Log: log})
}

// LoggerOf returns the log of a request, which carries the request's ID.
func LoggerOf(ctx context.Context) *slog.Logger {
	if s := scopeOf(ctx); s != nil {
		return s.Log
	}
	return slog.Default()
}

// RequestID returns the ID of a request; empty if it has none.
func RequestID(ctx context.Context) string {
	if s := scopeOf(ctx); s != nil {
		return s.ID
	}
	return ""
}

// instanceOf identifies a request by a URI; empty if the request has no ID.
func instanceOf(ctx context.Context) string {
	id := RequestID(ctx)
	if id == "" {
		return ""
	}
	return "urn:interlock:request:" + url.PathEscape(id)
}
