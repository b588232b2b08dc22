package openapitest

import (
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// RequireRoutes requires that a document describes exactly the routes of a router and the others,
// which are of the form "GET /path".
func RequireRoutes(t testing.TB, d openapi.Document, router *mux.Router, others ...string) {
	t.Helper()
	api, err := Load(d)
	require.NoError(t, err)
	routes := others
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
	var documented []string
	for _, op := range api.Operations {
		documented = append(documented, op.Method+" "+op.Path)
	}
	require.ElementsMatch(t, routes, documented, "the routes, and those in %s.yaml", d.Name())
}
