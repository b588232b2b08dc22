package guardtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/guardtest"
)

const orders = `
roles:
  reader:
    permissions:
      - actions: [orders:read]
        resources: ["orders/*"]
grants:
  - {principal: "user:alice", role: reader}
`

// showOrder is the handler under test.
func showOrder(guard *httpapi.Guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", guard.Protect(httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, _ := httpapi.CallerOf(r.Context())
			fmt.Fprintf(w, "order %s for %s", r.PathValue("id"), caller.Principal)
		})))
	return mux
}

// fromHeader identifies callers by a header, in tests only.
func fromHeader(r *http.Request) string { return r.Header.Get("Test-Principal") }

func get(h http.Handler, principal string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/orders/42", nil)
	r.Header.Set("Test-Principal", principal)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	return answer
}

func Example() {
	// In a test, t is its *testing.T.
	testOrders := func(t *testing.T) {
		engine := guardtest.NewEngine(t, orders)
		guardtest.AssertAllowed(t, engine, "user:alice", "orders:read", "orders/42")
		guardtest.AssertDenied(t, engine, "user:bob", "orders:read", "orders/42")

		handler := showOrder(httpapi.NewGuard(engine, guardtest.As("user:alice"), nil))
		answer := get(handler, "")
		require.Equal(t, http.StatusOK, answer.Code)
	}
	_ = testOrders
}

func TestCallersByRequest(t *testing.T) {
	engine := guardtest.NewEngine(t, orders)
	h := showOrder(httpapi.NewGuard(engine, guardtest.By(fromHeader), nil))
	got := get(h, "user:alice")
	require.Equal(t, 200, got.Code)
	require.Equal(t, "order 42 for user:alice", got.Body.String())
	require.Equal(t, 403, get(h, "user:bob").Code)
	require.Equal(t, 401, get(h, "").Code)
	require.Equal(t, 500, get(h, "malformed").Code)
	require.Equal(t, 200, get(showOrder(httpapi.NewGuard(engine, guardtest.As("user:alice"), nil)), "").Code)
}

// TestCallersWithoutCredentialsAreRevoked: a caller that no certificate identifies obeys updates.
func TestCallersWithoutCredentialsAreRevoked(t *testing.T) {
	engine := guardtest.NewEngine(t, orders)
	h := showOrder(httpapi.NewGuard(engine, guardtest.As("user:alice"), nil))
	require.Equal(t, 200, get(h, "").Code)
	_, err := engine.Update(t.Context(), actors.Update{Changes: []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: policy.MustPrincipal("user:alice"), Role: "reader"}),
	}})
	require.NoError(t, err)
	require.Equal(t, 403, get(h, "").Code)
}

// failures records what assertions report.
type failures struct {
	testing.TB
	all []string
}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) {
	f.all = append(f.all, fmt.Sprintf(format, args...))
}

func TestAssertionsFail(t *testing.T) {
	engine := guardtest.NewEngine(t, orders)
	f := &failures{TB: t}
	require.True(t, guardtest.AssertAllowed(f, engine, "user:alice", "orders:read", "orders/1"))
	require.True(t, guardtest.AssertDenied(f, engine, "user:alice", "orders:write", "orders/1"))
	require.Empty(t, f.all)
	require.False(t, guardtest.AssertDenied(f, engine, "user:alice", "orders:read", "orders/1"))
	require.False(t, guardtest.AssertAllowed(f, engine, "user:bob", "orders:read", "orders/1"))
	require.False(t, guardtest.AssertAllowed(f, engine, "malformed", "orders:read", "orders/1"))
	require.Len(t, f.all, 3)
	require.Contains(t, f.all[0], "reader")
}
