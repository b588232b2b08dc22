package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

// badPaths are paths, after /many/, that two readers could read differently.
var badPaths = map[string]string{
	"an encoded slash":             "a%2Fb",
	"an encoded slash, small":      "a%2fb",
	"hidden by a brace":            "{%2F}",
	"hidden by a quote":            "\"%2Fadmin",
	"a backslash":                  `a\b`,
	"an encoded backslash":         "a%5Cb",
	"an encoded backslash, small":  "a%5cb",
	"a segment of one dot":         "a/./b",
	"a segment of two dots":        "a/../b",
	"dots at the end":              "a/..",
	"encoded dots":                 "a/%2e%2e/b",
	"encoded dots, large":          "a/%2E%2E/b",
	"one encoded dot":              "a/.%2e/b",
	"one encoded segment":          "a/%2e/b",
	"encoded dots and slash":       "a%2f%2e%2e%2fb",
	"a double slash":               "a//b",
	"a double slash at the front":  "/a",
	"a slash at the end":           "a/",
	"NUL":                          "a%00b",
	"a line feed":                  "a%0Ab",
	"DEL":                          "a%7Fb",
	"a control of Latin 1":         "a%C2%85b",
	"invalid UTF-8":                "a%FFb",
	"overlong UTF-8":               "%C0%AFb",
	"a surrogate":                  "%ED%A0%80",
	"a direction override":         "a%E2%80%AEb",
	"a line separator":             "a%E2%80%A8b",
	"a matrix parameter":           "a;v=1",
	"an encoded matrix parameter":  "a%3Bv=1",
	"dots with a parameter":        "..;/b",
	"an over-encoded letter":       "%61",
	"an over-encoded digit":        "%31",
	"an over-encoded tilde":        "%7E",
	"an over-encoded hyphen":       "a%2Db",
	"over-encoded behind a brace":  "{%61",
	"a percent sign":               "a%25b",
	"a slash that is encoded more": "a%252Fb",
}

// rawStatus sends a request whose path is just these bytes: Go's client would clean it.
func (s *guardStation) rawStatus(speaks servertest.Wire, path string) int {
	s.T.Helper()
	if speaks == servertest.HTTP2 {
		r := s.Request(http.MethodGet, "/", "")
		r.URL.Opaque = s.URL[len("https:"):] + path
		c := s.As("alice")
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return s.Send(c, r).StatusCode
	}
	conn := s.raw("alice")
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path)
	require.NoError(s.T, err)
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(s.T, err)
	_, _ = io.Copy(io.Discard, got.Body)
	require.NoError(s.T, got.Body.Close())
	return got.StatusCode
}

// SECURITY, line 12.
func TestPaths_AmbiguousPathsAreRejected(t *testing.T) {
	s := newGuardStation(t)
	var reached atomic.Int32
	for kind, mode := range modes {
		// It takes every path, and the guard sees what was sent.
		s.router.Handle("/"+kind+"/{path:.*}", s.guard.Protect(
			httpapi.Rule{Action: "orders:read", Resource: "orders/{path...}", Mode: mode},
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })))
		s.router.Handle("/"+kind+"-fixed/{path:.*}", s.guard.Protect(
			httpapi.Rule{Action: "orders:read", Resource: "orders/all", Mode: mode},
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })))
	}
	for _, speaks := range servertest.Wires {
		for kind := range modes {
			for name, path := range badPaths {
				require.Equal(t, 400, s.rawStatus(speaks, "/"+kind+"/"+path), "%s: %s", name, path)
				switch name {
				case "a percent sign", "a slash that is encoded more", "a slash at the end":
				default: // it is refused whether or not it is a part of the resource
					require.Equal(t, 400, s.rawStatus(speaks, "/"+kind+"-fixed/"+path), "%s: %s", name, path)
				}
			}
			require.Zero(t, reached.Load())
			require.Equal(t, 200, s.rawStatus(speaks, "/"+kind+"/a/b"))
			require.EqualValues(t, 1, reached.Swap(0))
		}
	}
}

// SECURITY, line 12.
func TestPaths_MalformedPathsAreRejected(t *testing.T) {
	s := newGuardStation(t)
	s.router.NotFoundHandler = s.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/1"},
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error("reached", r.URL) }))
	for _, target := range []string{"*", "https:admit/1", "//admit//1"} {
		require.Equal(t, 400, s.rawStatus(servertest.HTTP1, target), target)
	}
}

// SECURITY, line 12.
func TestPaths_CleanedPathsReachNoHandler(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	guard := httpapi.NewGuard(s.Engine, nil, nil)
	std := http.NewServeMux()
	std.Handle("/orders/{id}", guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"},
		http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Error("reached", r.URL.EscapedPath()) })))
	s.Serve(std)
	g := &guardStation{station: s}
	for _, path := range []string{"/orders/a%2Fb", "/orders/a%5Cb", "/orders//b", "/orders/a/../b", "/orders/%2e%2e", "/orders/%61", "/orders/a%25b", "/orders/a;b"} {
		for _, speaks := range servertest.Wires {
			require.GreaterOrEqual(t, g.rawStatus(speaks, path), 300, path)
		}
	}
}

// TestPaths_PatternSyntaxIsText has grants whose patterns look like the names
// that are asked for.
//
// SECURITY, line 12.
func TestPaths_PatternSyntaxIsText(t *testing.T) {
	s := newGuardStation(t)
	s.protect("star", httpapi.Rule{Action: "orders:star"}, s.resourceOf)
	s.protect("braces", httpapi.Rule{Action: "orders:braces"}, s.resourceOf)
	for _, speaks := range servertest.Wires {
		for path, status := range map[string]int{
			"/star/{x}": 200, "/star/%7Bx%7D": 200, "/star/*": 200, "/star/**": 200, "/star/1": 200, "/star/{id}": 200,
			"/braces/{x}": 200, "/braces/%7Bx%7D": 200,
			"/braces/1": 403, "/braces/*": 403, "/braces/**": 403, "/braces/x": 403, "/braces/{y}": 403, "/braces/{id}": 403,
		} {
			require.Equal(t, status, s.rawStatus(speaks, path), path)
		}
	}
	got := s.Send(s.As("alice"), s.Request(http.MethodGet, "/star/{id}", ""))
	require.Equal(t, "orders/{id}", got.Text, "a variable's text is no template")
}
