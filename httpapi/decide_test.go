package httpapi_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func TestDecideAnswersAndRunsNothing(t *testing.T) {
	s := newGuardStation(t)
	s.router.Handle("/orders/{id}", s.guard.Decide(httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"}))
	got := s.Send(s.As("alice"), s.Request(http.MethodGet, "/orders/1", ""))
	require.Equal(t, 200, got.StatusCode)
	require.Equal(t, "spiffe://interlock.test/alice", got.Header.Get(httpapi.PrincipalHeader))
	require.NotEmpty(t, got.Header.Get(httpapi.RevisionHeader))
	require.Empty(t, got.Text)
	s.Send(s.As("carol"), s.Request(http.MethodGet, "/orders/1", "")).RequireProblem(t, 403, "denied")
	s.Send(s.Client(servertest.HTTP2), s.Request(http.MethodGet, "/orders/1", "")).RequireProblem(t, 401, "no-identity")
	s.Send(s.As("alice"), s.Request(http.MethodGet, "/orders/a%2fb", "")).RequireProblem(t, 400, "path")
	braces := s.Request(http.MethodGet, "/orders/1", "")
	braces.URL.Opaque = "/orders/a{b"
	s.Send(s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/alice")), braces).RequireProblem(t, 400, "path")
}

func TestDecideTakesRulesWithoutAMode(t *testing.T) {
	s := newGuardStation(t)
	for _, rule := range []httpapi.Rule{
		{Mode: httpapi.Execute}, {Grace: new(time.Duration)}, {BodyLimit: 1}, {ResponseLimit: 1},
	} {
		rule.Action, rule.Resource = "orders:read", "orders"
		require.Panics(t, func() { s.guard.Decide(rule) })
	}
	require.Panics(t, func() { s.guard.Decide(httpapi.Rule{Action: "orders:read", Resource: "orders/{id"}) })
}

// TestIdentifyForwarded_OnlyOnListenersForProxies: headers are not believed anywhere else.
func TestIdentifyForwarded_OnlyOnListenersForProxies(t *testing.T) {
	s := newGuardStation(t)
	alice := s.Issue("spiffe://interlock.test/alice")
	name, value := servertest.Spelled["envoy"](&alice)
	_, err := s.Connections.IdentifyForwarded(t.Context(), http.Header{name: {value}})
	require.ErrorContains(t, err, "not-forwarded")
	s.router.HandleFunc("/forwarded", func(w http.ResponseWriter, r *http.Request) {
		_, err := s.Connections.IdentifyForwarded(r.Context(), http.Header{name: {value}})
		httpapi.WriteProblem(w, r, err)
	})
	s.Send(s.As("ingress"), s.Request(http.MethodGet, "/forwarded", "")).RequireProblem(t, 401, "no-identity")
}
