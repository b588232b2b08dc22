package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/internal/openapitest"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// operators asks the listener for operators. Its answers are checked against the document.
func (s *station) operators(o httpapi.OperatorOptions) (ask func(method, path, host string) servertest.Reply) {
	s.T.Helper()
	o.Engine = s.Engine
	api, err := openapitest.Load(openapi.Operator())
	require.NoError(s.T, err)
	server := httptest.NewServer(httpapi.NewOperatorAPI(o))
	s.T.Cleanup(server.Close)
	transport := &http.Transport{}
	s.T.Cleanup(transport.CloseIdleConnections)
	c := &http.Client{Transport: openapitest.NewTransport(s.T, transport, api)}
	return func(method, path, host string) servertest.Reply {
		s.T.Helper()
		r, err := http.NewRequest(method, server.URL+path, nil)
		require.NoError(s.T, err)
		r.Host = host
		return s.Send(c, r)
	}
}

func TestOperatorsSeeHealthAndReadiness(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	var fault error
	registry := prometheus.NewRegistry()
	ask := s.operators(httpapi.OperatorOptions{
		Faults:  func() error { return fault },
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	})
	require.JSONEq(t, `{"status":"ok"}`, ask("GET", "/healthz", "").Text)
	got := ask("GET", "/readyz", "")
	require.JSONEq(t, `{"status":"ready","revision":1,"active":0}`, got.Text)
	require.Equal(t, 200, ask("GET", "/metrics", "").StatusCode)
	fault = errors.New("the store is damaged")
	got = ask("GET", "/healthz", "")
	require.Equal(t, 503, got.StatusCode)
	require.JSONEq(t, `{"status":"red","faults":["the store is damaged"]}`, got.Text)
	registry.MustRegister(broken{})
	require.Equal(t, 500, ask("GET", "/metrics", "").StatusCode)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", openapi.Path} {
		ask("GET", path, "evil.example").RequireProblem(t, 421, "foreign-host")
	}
	ask("GET", "/health", "").RequireProblem(t, 404, "not-found")
	ask("POST", "/healthz", "").RequireProblem(t, 405, "method-not-allowed")
	require.NoError(t, s.Engine.Close(context.Background()))
	ask("GET", "/readyz", "").RequireProblem(t, 503, "closed")
}

func TestOperatorsReadTheDocument(t *testing.T) {
	got := newStation(t, "guard-policy.yaml").operators(httpapi.OperatorOptions{})("GET", openapi.Path, "")
	require.Equal(t, 200, got.StatusCode)
	require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
	require.Equal(t, openapi.Operator().String(), got.Text+"\n")
}

// broken is a collector that fails.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(to chan<- prometheus.Metric) {
	to <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "", nil, nil), errors.New("broken"))
}

func TestAFencedServerIsNotReady(t *testing.T) {
	memory, err := oplog.NewMemoryWith(nil, nil)
	require.NoError(t, err)
	log := &servertest.FencedLog{Memory: memory}
	s := &station{servertest.NewWith(t, log)}
	ask := s.operators(httpapi.OperatorOptions{})
	<-log.Fence()
	ask("GET", "/readyz", "").RequireProblem(t, 503, "fenced")
	require.Equal(t, 200, ask("GET", "/healthz", "").StatusCode)
	log.Unfence()
	require.Equal(t, 200, ask("GET", "/readyz", "").StatusCode)
}
