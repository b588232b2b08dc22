package httpapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
)

// requestIDHeader names a request in both directions.
const requestIDHeader = "X-Request-ID"

// maxRequestID is the longest ID that is taken from a client, in bytes.
const maxRequestID = 128

// requestIDOf returns the ID that the client gave, if it is one value of 1 to 128
// visible ASCII characters, else a new one.
func requestIDOf(h http.Header) string {
	if given := h.Values(requestIDHeader); len(given) == 1 && isRequestID(given[0]) {
		return given[0]
	}
	return newRequestID()
}

func isRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return true
}

// newRequestID makes a UUID of version 4.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// requestKey is the context's key of a *requestScope.
type requestKey struct{}

// requestScope is what the context knows of a request.
type requestScope struct {
	id  string
	log *slog.Logger
	// forwarded is the caller as a proxy has it; nil if there is none in between.
	forwarded *finding
}

func withScope(r *http.Request, s *requestScope) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, s))
}

func scopeOf(ctx context.Context) *requestScope {
	s, _ := ctx.Value(requestKey{}).(*requestScope)
	return s
}

// withDefaultLogger gives the request a log if it has none.
func withDefaultLogger(r *http.Request, log *slog.Logger) *http.Request {
	if log == nil || scopeOf(r.Context()) != nil {
		return r
	}
	return withScope(r, &requestScope{log: log})
}

// loggerOf returns the log of a request, which names the request by its ID.
func loggerOf(ctx context.Context) *slog.Logger {
	if s := scopeOf(ctx); s != nil {
		return s.log
	}
	return slog.Default()
}

// instanceOf names a request by a URI, or not at all.
func instanceOf(ctx context.Context) string {
	s := scopeOf(ctx)
	if s == nil || s.id == "" {
		return ""
	}
	return "urn:interlock:request:" + url.PathEscape(s.id)
}
