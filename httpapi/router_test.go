package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRouterRefusesInProblemDocuments(t *testing.T) {
	s := newStation(t, authzenPolicy).serveDecisions()
	c := s.As("pep")
	for _, path := range []string{
		"/", "/access", "/access/v1/evaluation/", "/access/v1//evaluation", "//access/v1/evaluation", "/access/v1/../v1/evaluation",
		"/access/v1/./evaluation", "/access%2Fv1/evaluation", "/access/v1/%65valuation", "/access/v1/evaluation;a=b",
		"/Access/v1/evaluation", "/access\\v1/evaluation", "/access/v1/evaluation%00", "/access/v1/search/subject",
	} {
		t.Run(path, func(t *testing.T) {
			r := s.Request(http.MethodPost, "/", "{}")
			r.URL.Opaque = strings.TrimPrefix(s.URL, "https:") + path
			got := s.Send(c, r)
			require.Equal(t, 404, got.StatusCode, "not found, and not redirected")
			require.Equal(t, "urn:interlock:problem:not-found", got.Problem(t)["type"])
		})
	}
}

func TestRouterNamesTheAllowedMethods(t *testing.T) {
	s := newStation(t, authzenPolicy).serveDecisions()
	c := s.As("pep")
	for path, allow := range map[string]string{
		evaluation: "POST", evaluations: "POST", "/.well-known/authzen-configuration": "GET, HEAD",
	} {
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodOptions, "BREW"} {
			got := s.Send(c, s.Request(method, path, ""))
			require.Equal(t, 405, got.StatusCode)
			require.Equal(t, allow, got.Header.Get("Allow"))
			require.Equal(t, "urn:interlock:problem:method-not-allowed", got.Problem(t)["type"])
		}
	}
	require.Equal(t, 405, s.Send(c, s.Request(http.MethodGet, evaluation, "")).StatusCode)
}
