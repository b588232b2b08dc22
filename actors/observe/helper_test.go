package observe_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const orders = `
roles:
  writer:
    permissions:
      - actions: [orders:write]
        resources: [orders/**]
grants:
  - {principal: user:alice, role: writer}
  - {principal: user:bob, role: writer}
`

var (
	alice = policy.MustPrincipal("user:alice")
	bob   = policy.MustPrincipal("user:bob")
)

func write(who policy.Principal, resource string) actors.Request {
	return actors.Request{Principal: who, Action: "orders:write", Resource: resource}
}

func newEngine(t testing.TB, o actors.Observer) *actors.Engine {
	t.Helper()
	file, err := policyfile.Parse("policy.yaml", []byte(orders))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	e, err := actors.New(actors.Options{Log: memory, Observer: o, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, e.Close(ctx))
	})
	return e
}

func nothing(context.Context) error { return nil }

func revokeWriter(who policy.Principal) actors.Update {
	return actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: who, Role: "writer"})}}
}
