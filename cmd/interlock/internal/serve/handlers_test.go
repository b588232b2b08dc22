package serve

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwardauth"
	"github.com/interlock-authz/interlock/httpapi/leases"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// The document has exactly the routes of the listener for callers, and that of the listener for proxies.
func TestRoutesForCallersAreDocumented(t *testing.T) {
	connections := httpapi.NewConnections(nil)
	remote, err := leases.New(leases.Options{Identifier: connections})
	require.NoError(t, err)
	defer func() {
		left, err := remote.Close(t.Context())
		require.NoError(t, err)
		require.Zero(t, left)
	}()
	router, err := newDecisions(nil, connections, "https://localhost:8443", remote, nil, nil)
	require.NoError(t, err)
	w := httptest.NewRecorder()
	router.ServeHTTP(w, httptest.NewRequest("GET", openapi.Path, nil)) // without a certificate
	require.Equal(t, 200, w.Code)
	require.Equal(t, openapi.Callers().String(), w.Body.String())
	routes := []string{"GET " + forwardauth.Path}
	require.NoError(t, router.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		path, err := route.GetPathTemplate()
		require.NoError(t, err)
		methods, err := route.GetMethods()
		require.NoError(t, err, "%s is for every method", path)
		for _, method := range methods {
			routes = append(routes, method+" "+path)
		}
		return nil
	}))
	var document struct{ Paths map[string]map[string]any }
	require.NoError(t, yaml.Unmarshal([]byte(openapi.Callers().String()), &document))
	var documented []string
	for path, methods := range document.Paths {
		for method := range methods {
			if method != "servers" {
				documented = append(documented, strings.ToUpper(method)+" "+path)
			}
		}
	}
	require.ElementsMatch(t, routes, documented, "the routes, and those in callers.yaml")
}
