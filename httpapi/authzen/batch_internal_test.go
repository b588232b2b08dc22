package authzen

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/share"
)

// watchedContext calls a function when somebody looks whether it has ended.
type watchedContext struct {
	context.Context
	look func()
}

func (c watchedContext) Err() error { c.look(); return c.Context.Err() }

// TestG2_ABatchEndsWithTheRightToAsk takes the right while the first part of a batch is decided.
//
// SECURITY, line 29.
func TestG2_ABatchEndsWithTheRightToAsk(t *testing.T) {
	file, err := policyfile.Parse("policy.yaml", []byte(`
roles: {pep: {permissions: [{actions: ["interlock:decide"], resources: ["principals/*"]}]}}
grants: [{principal: "user:pep", role: pep}]`))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	engine, err := actors.New(actors.Options{Log: memory})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	pep := policy.MustPrincipal("user:pep")
	for n, refused := range map[int]bool{maxTogether: false, maxTogether + 1: true} {
		for _, s := range []semantic{executeAll, permitOnFirstPermit} {
			_, err = engine.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: pep, Role: "pep"})}})
			require.NoError(t, err)
			take := sync.OnceFunc(func() {
				_, err := engine.Update(t.Context(), actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: pep, Role: "pep"})}})
				require.NoError(t, err)
			})
			q := &inquiry{engine: engine, ctx: watchedContext{t.Context(), take}, caller: &httpapi.Caller{Principal: pep}}
			ask := actors.Request{Principal: policy.MustPrincipal("user:erin"), Action: "a", Resource: "r"}
			_, err = q.decideAll(slices.Repeat([]actors.Request{ask}, n), s)
			if refused {
				require.ErrorIs(t, err, actors.ErrDenied)
			} else {
				require.NoError(t, err, "it was allowed when it was asked")
			}
		}
	}
}

// TestLimits_LargeQuestionsWaitInALine has another caller's body in the only place for large ones. A small body needs none.
//
// SECURITY, line 23.
func TestLimits_LargeQuestionsWaitInALine(t *testing.T) {
	memory, err := oplog.NewMemoryWith(nil, nil)
	require.NoError(t, err)
	engine, err := actors.New(actors.Options{Log: memory})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	role, err := policy.NewRole("pep", nil, nil)
	require.NoError(t, err)
	pep := identified{Principal: policy.MustPrincipal("user:pep")}
	_, err = engine.Update(t.Context(), actors.Update{Changes: []policy.Change{
		policy.PutRole(role, ""), policy.GrantRole(policy.Grant{Principal: pep.Principal, Role: "pep"})}})
	require.NoError(t, err)
	api, err := New(Options{Engine: engine, Identifier: pep, BaseURL: "https://pdp.example.org", Timeout: 50 * time.Millisecond})
	require.NoError(t, err)
	api.parsing = share.NewLine[policy.Principal](1)
	leave, err := api.parsing.Enter(t.Context(), policy.MustPrincipal("user:other"))
	require.NoError(t, err)
	ask := func(size int) int {
		body := `{"subject":{"type":"user","id":"pep"},"action":{"name":"a"},"resource":{"type":"b","id":"c"},"more":"` + strings.Repeat("x", size) + `"}`
		r := httptest.NewRequest(http.MethodPost, client.EvaluationPath, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusOK, ask(10))
	require.Equal(t, http.StatusGatewayTimeout, ask(quickBody))
	leave()
	require.Equal(t, http.StatusOK, ask(quickBody))
	require.Equal(t, http.StatusOK, ask(quickBody), "each leaves the line")
}

// identified identifies each caller as itself.
type identified httpapi.Caller

func (c identified) Identify(*http.Request) (*httpapi.Caller, error) {
	return (*httpapi.Caller)(&c), nil
}
