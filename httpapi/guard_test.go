package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

var modes = map[string]httpapi.Mode{"admit": httpapi.Admit, "execute": httpapi.Execute}

func TestG1_GuardLetsThroughOnlyWhatIsAllowed(t *testing.T) {
	s := newGuardStation(t)
	var reached atomic.Int32
	for kind, mode := range modes {
		s.protect(kind, httpapi.Rule{Action: "orders:read", Mode: mode}, func(w http.ResponseWriter, _ *http.Request) {
			reached.Add(1)
			w.WriteHeader(http.StatusTeapot)
		})
		s.protect(kind+"-unknown", httpapi.Rule{Action: "orders:unheard-of", Mode: mode}, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	}
	for _, speaks := range servertest.Wires {
		for kind := range modes {
			get := func(c *http.Client, path string) servertest.Reply {
				return s.Send(c, s.Request(http.MethodGet, path, ""))
			}
			anonymous := get(s.Client(speaks), "/"+kind+"/1")
			require.Equal(t, 401, anonymous.StatusCode)
			require.Equal(t, "urn:interlock:problem:no-identity", anonymous.Problem(t)["type"])
			for _, refused := range []servertest.Reply{
				get(s.Client(speaks, s.Issue("spiffe://interlock.test/stranger")), "/"+kind+"/1"),
				get(s.Client(speaks, s.Issue("spiffe://interlock.test/alice")), "/"+kind+"-unknown/1"),
			} {
				require.Equal(t, 403, refused.StatusCode)
				doc := refused.Problem(t)
				require.Equal(t, "urn:interlock:problem:denied", doc["type"])
				require.Equal(t, "The policy does not allow this.", doc["detail"], "the answer has no reason")
			}
			require.Zero(t, reached.Load())
			require.Equal(t, http.StatusTeapot, get(s.Client(speaks, s.Issue("spiffe://interlock.test/alice")), "/"+kind+"/1").StatusCode)
			require.EqualValues(t, 1, reached.Swap(0))
		}
	}
}

// resourceOf answers with the resource of the lease under which it runs.
func (s *guardStation) resourceOf(w http.ResponseWriter, r *http.Request) {
	caller, _ := httpapi.CallerOf(r.Context())
	leases, err := s.Engine.Leases(context.Background(), caller.Principal)
	if err != nil || len(leases) != 1 {
		http.Error(w, fmt.Sprint(leases, err), http.StatusInternalServerError)
		return
	}
	_, _ = fmt.Fprint(w, leases[0].Resource)
}

func TestGuardTakesVariablesOfEveryRouter(t *testing.T) {
	s := newStation(t, "guard-policy.yaml")
	g := &guardStation{station: s, guard: httpapi.NewGuard(s.Engine, nil, nil)}
	one := g.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"}, http.HandlerFunc(g.resourceOf))
	two := g.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{region}/no-{id}"}, http.HandlerFunc(g.resourceOf))
	many := g.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{path...}"}, http.HandlerFunc(g.resourceOf))
	fixed := g.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/all"}, http.HandlerFunc(g.resourceOf))

	std := http.NewServeMux()
	std.Handle("/std/one/{id}", one)
	std.Handle("/std/two/{region}/{id}", two)
	std.Handle("/std/many/{path...}", many)
	std.Handle("/std/fixed", fixed)
	root := http.NewServeMux()
	root.Handle("/std/", std)
	for name, router := range map[string]*mux.Router{"/ours": httpapi.NewRouter(nil), "/gorilla": mux.NewRouter()} {
		router.Handle(name+"/one/{id}", one)
		router.Handle(name+"/two/{region}/{id}", two)
		router.Handle(name+"/many/{path:.+}", many)
		router.Handle(name+"/fixed", fixed)
		root.Handle(name+"/", router)
	}
	s.Serve(root)
	c := s.As("alice")
	for _, router := range []string{"/std", "/ours", "/gorilla"} {
		for path, resource := range map[string]string{
			"/one/1": "orders/1", "/two/eu/7": "orders/eu/no-7", "/many/a/b/c": "orders/a/b/c", "/fixed": "orders/all",
			"/one/a%20b": "orders/a b", "/one/%C3%A4": "orders/ä", "/one/a+b": "orders/a+b", "/one/a%3Fb": "orders/a?b",
			"/one/..a": "orders/..a", "/one/...": "orders/...",
		} {
			got := s.Send(c, s.Request(http.MethodGet, router+path, ""))
			require.Equal(t, 200, got.StatusCode, router+path+got.Text)
			require.Equal(t, resource, got.Text, router+path)
		}
	}
}

func TestGuardRefusesARouteWithoutItsVariable(t *testing.T) {
	s := newGuardStation(t)
	s.protect("admit", httpapi.Rule{Action: "orders:read", Resource: "orders/{nope}"}, func(http.ResponseWriter, *http.Request) { t.Error("reached") })
	got := s.Send(s.As("alice"), s.Request(http.MethodGet, "/admit/1", ""))
	require.Equal(t, 500, got.StatusCode)
	require.NotContains(t, got.Text, "nope")
	require.Contains(t, s.Log.String(), `the route /admit/{id} has no variable`)
}

func TestGuardPanicsOnAMalformedRule(t *testing.T) {
	guard := httpapi.NewGuard(nil, nil, nil)
	for _, rule := range []httpapi.Rule{
		{}, {Action: "a:b"}, {Resource: "a/b"}, {Action: "a\nb", Resource: "a/b"}, {Action: "a:b", Resource: "a/{b"},
		{Action: "a:b", Resource: "a/{}"}, {Action: "a:b", Resource: "a/{...}"}, {Action: "\xff", Resource: "a/{b}"},
		{Action: "a:b", Resource: "a/{b}", Grace: new(-time.Second)},
		{Action: "a:b", Resource: "a/{b}", Grace: new(time.Second), Mode: httpapi.Execute},
	} {
		require.Panics(t, func() { guard.Protect(rule, http.NotFoundHandler()) }, "%q on %q", rule.Action, rule.Resource)
	}
	require.NotPanics(t, func() { guard.Protect(httpapi.Rule{Action: "a:b", Resource: "a/{b}"}, http.NotFoundHandler()) })
}

func TestG4_GuardTellsTheHandlerWhoAndWhen(t *testing.T) {
	s := newGuardStation(t)
	for kind, mode := range modes {
		s.protect(kind, httpapi.Rule{Action: "orders:read", Mode: mode}, func(w http.ResponseWriter, r *http.Request) {
			caller, ok := httpapi.CallerOf(r.Context())
			revision, of := actors.RevisionOf(r.Context())
			_, _ = fmt.Fprint(w, caller.Principal, " ", caller.Credential.Fingerprint(), " ", revision, ok, of)
		})
	}
	cert := s.Issue("spiffe://interlock.test/alice")
	c := s.Client(servertest.HTTP2, cert)
	for range 2 {
		for kind := range modes {
			want := fmt.Sprint("spiffe://interlock.test/alice ", servertest.FingerprintOf(cert), " ", s.Engine.Revision(), true, true)
			require.Equal(t, want, s.Send(c, s.Request(http.MethodGet, "/"+kind+"/1", "")).Text)
		}
		requireQuiesced(t, s.revoke("bob", "reader"))
	}
	_, ok := httpapi.CallerOf(t.Context())
	require.False(t, ok)
}

// amountOf reads the amount from the query.
func amountOf(r *http.Request) (map[string]any, error) {
	text := r.URL.Query().Get("amount")
	switch text {
	case "":
		return nil, nil
	case "own":
		return nil, &client.Problem{Type: "urn:example:own", Title: "Own", Status: 422}
	}
	amount, err := strconv.ParseFloat(text, 64)
	return map[string]any{"amount": amount}, err
}

func TestG6_GuardGivesConditionsTheirProperties(t *testing.T) {
	s := newGuardStation(t)
	for kind, mode := range modes {
		s.protect(kind, httpapi.Rule{Action: "orders:write", Mode: mode, Properties: amountOf}, nothing)
	}
	for kind := range modes {
		for query, status := range map[string]int{
			"?amount=999": 200, "?amount=1000": 403, "": 403, "?amount=NaN": 403, "?amount=much": 400, "?amount=own": 422,
		} {
			got := s.Send(s.As("alice"), s.Request(http.MethodPut, "/"+kind+"/1"+query, ""))
			require.Equal(t, status, got.StatusCode, kind+query)
			if status == 400 {
				require.Equal(t, "urn:interlock:problem:malformed-request", got.Problem(t)["type"])
				require.NotContains(t, got.Text, "ParseFloat", "the cause is for the log")
			}
		}
	}
}

func TestGuardReadsNoPropertiesWithoutACaller(t *testing.T) {
	asked := false
	guard := httpapi.NewGuard(nil, nil, nil)
	h := guard.Protect(httpapi.Rule{Action: "a:b", Resource: "c", Properties: func(*http.Request) (map[string]any, error) {
		asked = true
		return nil, errors.ErrUnsupported
	}}, http.NotFoundHandler())
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, 401, recorder.Code)
	require.False(t, asked)
}

func TestG3_GuardRunsNothingForAClientThatHasGone(t *testing.T) {
	s := newGuardStation(t)
	for _, mode := range modes {
		h := s.guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/1", Mode: mode},
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, s.RequestWith(s.Issue("spiffe://interlock.test/alice")).WithContext(ctx))
		require.Equal(t, 503, recorder.Code)
	}
}
