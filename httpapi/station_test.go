package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// station is a test server with the helpers of this package.
type station struct{ *servertest.Server }

func newStation(t testing.TB, policyFile string) *station {
	t.Helper()
	return &station{servertest.New(t, policyFile)}
}

func (s *station) serve(handler http.Handler, alter ...func(*httpapi.ServerOptions)) *station {
	s.T.Helper()
	s.Serve(handler, alter...)
	return s
}

// decisions is a handler of the decision API.
func (s *station) decisions() http.Handler {
	s.T.Helper()
	api, err := authzen.New(authzen.Options{
		Engine: s.Engine, Identifier: s.Connections, BaseURL: "https://pdp.example.org/", Logger: s.Log.Logger(),
	})
	require.NoError(s.T, err)
	return api
}

func (s *station) serveDecisions() *station {
	s.serve(s.decisions())
	s.Describe(openapi.Callers())
	return s
}

// Policies of other packages, seen from testdata.
const (
	authzenPolicy = "../authzen/testdata/authzen-policy.yaml"
	adminPolicy   = "../admin/testdata/admin-policy.yaml"
)

// The paths of the decision API.
const (
	evaluation  = client.EvaluationPath
	evaluations = client.EvaluationsPath
)
