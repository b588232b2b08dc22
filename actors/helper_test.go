package actors_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func permission(effect policy.Effect, action, resource string) policy.Permission {
	a, err := policy.ParseActionPattern(action)
	if err != nil {
		panic(err)
	}
	r, err := policy.ParseResourcePattern(resource)
	if err != nil {
		panic(err)
	}
	return policy.Permission{Effect: effect, Actions: []policy.ActionPattern{a}, Resources: []policy.ResourcePattern{r}}
}

func roleOf(t testing.TB, name string, permissions ...policy.Permission) *policy.Role {
	t.Helper()
	r, err := policy.NewRole(name, nil, permissions)
	require.NoError(t, err)
	return r
}

// newEngine starts an engine with roles and ends it with the test, checking that nothing
// is left running then.
func newEngine(t testing.TB, o actors.Options, roles ...*policy.Role) *actors.Engine {
	t.Helper()
	if o.Log == nil {
		m, err := oplog.NewMemoryWith(roles, nil)
		require.NoError(t, err)
		o.Log = m
	}
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := actors.New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Close(ctx), "an operation was left running")
	})
	return e
}

func grant(t testing.TB, e *actors.Engine, who policy.Principal, roles ...string) {
	t.Helper()
	var changes []policy.Change
	for _, r := range roles {
		changes = append(changes, policy.GrantRole(policy.Grant{Principal: who, Role: r}))
	}
	_, err := e.Update(t.Context(), actors.Update{Changes: changes})
	require.NoError(t, err)
}

func revoke(who policy.Principal, role string) actors.Update {
	return actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: who, Role: role})}}
}
