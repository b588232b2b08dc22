package httpapi_test

import (
	"net/http"
	"testing"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

func TestCheckRoutesNamesEachVariableThatARouteDoesNotHave(t *testing.T) {
	guard := httpapi.NewGuard(nil, nil, nil)
	protect := func(resource string) http.Handler {
		return guard.Protect(httpapi.Rule{Action: "orders:read", Resource: resource}, http.NotFoundHandler())
	}
	router := httpapi.NewRouter(nil)
	router.Handle("/orders/{id}", protect("orders/{id}"))
	router.Handle("/files/{path:.+}", protect("files/{path...}"))
	router.Handle("/fixed", protect("orders/all"))
	router.Handle("/other/{x}", http.NotFoundHandler())
	router.Handle("/host/{id}", protect("{tenant}/{id}/{page}")).Host("{tenant}.example.org").Queries("page", "{page}")
	sub := router.PathPrefix("/in/{tenant}").Subrouter()
	sub.Handle("/{id}", protect("{tenant}/{id}"))
	inner := mux.NewRouter()
	inner.Handle("/inner/{id}", protect("inner/{id}"))
	router.PathPrefix("/inner/").Handler(inner)
	require.NoError(t, httpapi.CheckRoutes(router))
	require.NotPanics(t, func() { httpapi.NewServer(httpapi.ServerOptions{Handler: router}) })

	router.Handle("/typo/{id}", protect("orders/{ID}/{id}"))
	sub.Handle("/x/{id}", protect("{tenant}/{order}"))
	inner.Handle("/inner/x", protect("inner/{id}"))
	router.NewRoute().Host("example.org").Handler(protect("{host}"))
	err := httpapi.CheckRoutes(router)
	require.ErrorIs(t, err, policy.ErrInvalid)
	require.EqualError(t, err, `rule for "orders:read" on "{tenant}/{order}": invalid: the route /in/{tenant}/x/{id} has no variable "order"
rule for "orders:read" on "inner/{id}": invalid: the route /inner/x has no variable "id"
rule for "orders:read" on "orders/{ID}/{id}": invalid: the route /typo/{id} has no variable "ID"
rule for "orders:read" on "{host}": invalid: the route without a path has no variable "host"`)
	require.PanicsWithValue(t, "httpapi: "+err.Error(), func() { httpapi.NewServer(httpapi.ServerOptions{Handler: router}) })
}

func TestServeMuxFindsAMissingVariableAtTheFirstRequest(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	guard := httpapi.NewGuard(s.Engine, nil, nil)
	std := http.NewServeMux()
	std.Handle("GET /orders/{id}", guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{order}"},
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })))
	s.Serve(std)
	got := s.Send(s.As("alice"), s.Request(http.MethodGet, "/orders/1", ""))
	require.Equal(t, 500, got.StatusCode)
	require.Equal(t, "urn:interlock:problem:rule", got.Problem(t)["type"])
	require.Contains(t, s.Log.String(), `the route GET /orders/{id} has no variable`)
}

func TestAnEmptyVariableIsTheCallersMistake(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	guard := httpapi.NewGuard(s.Engine, nil, nil)
	h := guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{path...}"},
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	std, router := http.NewServeMux(), httpapi.NewRouter(nil)
	std.Handle("/std/{path...}", h)
	router.Handle("/mux/{path:.*}", h)
	std.Handle("/mux/", router)
	s.Serve(std)
	for _, path := range []string{"/std/", "/mux/"} {
		got := s.Send(s.As("alice"), s.Request(http.MethodGet, path, ""))
		require.Equal(t, 400, got.StatusCode, path)
		require.Equal(t, "urn:interlock:problem:path", got.Problem(t)["type"])
	}
}
