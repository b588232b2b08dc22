package authzen_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"
)

var answers = regexp.MustCompile(`^(\{"decision":(true|false)\}|\{"evaluations":\[(\{"decision":(true|false)\},?)+\]\})\n$`)

// FuzzHTTPAPIEvaluationBody sends bodies to both endpoints: each gets a decision or a
// problem document, the same when it is repeated, and never an internal error.
func FuzzHTTPAPIEvaluationBody(f *testing.F) {
	good := ask("user", "erin", "orders:read", "orders/1")
	for _, seed := range []string{
		"", "{}", good, nested(70), asItems("", "orders:read", ""), `{"evaluations":[{},{}]}`, `{"subject":{"Type":1}}`,
		`{"evaluations":[` + good + `],"options":{"evaluations_semantic":"deny_on_first_deny"}}`, `[{"a":` + good + `}]`,
		ask("spiffe", "//a/b", "x", "y/z"), ask("principal", "spiffe://interlock.test/pep", "x", "y/z"), good + " x", "\xff",
	} {
		f.Add([]byte(seed))
	}
	s := newStation(f, "authzen-policy.yaml")
	api := s.decisions()
	cert := s.Issue("spiffe://interlock.test/pep")
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, path := range []string{evaluation, evaluations} {
			send := func() *httptest.ResponseRecorder {
				r := s.RequestWith(cert)
				sent := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
				sent.TLS = r.TLS
				sent.Header.Set("Content-Type", "application/json")
				recorder := httptest.NewRecorder()
				api.ServeHTTP(recorder, sent)
				return recorder
			}
			got := send()
			require.Equal(t, got.Body.String(), send().Body.String())
			if got.Code == http.StatusOK {
				require.Regexp(t, answers, got.Body.String())
				continue
			}
			require.Contains(t, []int{400, 403, 413}, got.Code)
			var doc map[string]any
			require.NoError(t, json.Unmarshal(got.Body.Bytes(), &doc))
			require.EqualValues(t, got.Code, doc["status"])
		}
	})
}
