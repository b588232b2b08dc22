package authzen_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// station is a test server for the decision API.
type station struct{ *servertest.Server }

func newStation(t testing.TB, policyFile string) *station {
	t.Helper()
	return &station{servertest.New(t, policyFile)}
}

// decisions is a handler of the decision API.
func (s *station) decisions(alter ...func(*authzen.Options)) *authzen.API {
	s.T.Helper()
	o := authzen.Options{
		Engine: s.Engine, Identifier: s.Connections, BaseURL: "https://pdp.example.org/", Logger: s.Log.Logger(),
	}
	for _, f := range alter {
		f(&o)
	}
	api, err := authzen.New(o)
	require.NoError(s.T, err)
	return api
}

func (s *station) serve(handler http.Handler) *station {
	s.T.Helper()
	s.Serve(handler)
	s.Describe(openapi.Callers())
	return s
}
