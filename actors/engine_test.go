package actors_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

func role(t testing.TB, name, action, resource string) *policy.Role {
	t.Helper()
	a, err := policy.ParseActionPattern(action)
	require.NoError(t, err)
	r, err := policy.ParseResourcePattern(resource)
	require.NoError(t, err)
	ro, err := policy.NewRole(name, nil, []policy.Permission{{Actions: []policy.ActionPattern{a}, Resources: []policy.ResourcePattern{r}}})
	require.NoError(t, err)
	return ro
}

func TestBasic(t *testing.T) {
	alice := policy.MustPrincipal("spiffe://interlock.test/alice")
	m, err := actors.NewMemoryWith([]*policy.Role{role(t, "w", "orders:write", "orders/**")}, []policy.Grant{{Principal: alice, Role: "w"}})
	require.NoError(t, err)
	e, err := actors.New(actors.Options{Log: m})
	require.NoError(t, err)
	ctx := context.Background()
	req := actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/1"}
	n := 0
	require.NoError(t, e.Execute(ctx, req, func(ctx context.Context) error { n++; return nil }))
	require.Equal(t, 1, n)
	l, err := e.Admit(ctx, req)
	require.NoError(t, err)
	go func() { <-l.Context().Done(); l.Release() }()
	r, err := e.Update(ctx, actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: alice, Role: "w"})}})
	require.NoError(t, err)
	t.Logf("%+v", r)
	err = e.Execute(ctx, req, func(ctx context.Context) error { n++; return nil })
	require.True(t, errors.Is(err, actors.ErrDenied))
	t.Log(err)
	require.NoError(t, e.Close(ctx))
}

func BenchmarkHot(b *testing.B) {
	alice := policy.MustPrincipal("spiffe://interlock.test/alice")
	m, _ := actors.NewMemoryWith([]*policy.Role{role(b, "w", "orders:write", "orders/**")}, []policy.Grant{{Principal: alice, Role: "w"}})
	e, _ := actors.New(actors.Options{Log: m})
	defer e.Close(context.Background())
	ctx := context.Background()
	req := actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/1"}
	fn := func(ctx context.Context) error { return nil }
	b.Run("execute", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Execute(ctx, req, fn)
		}
	})
	b.Run("decide", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			e.Decide(ctx, req)
		}
	})
	b.Run("admit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l, _ := e.Admit(ctx, req)
			l.Release()
		}
	})
	b.Run("execute64", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				e.Execute(ctx, req, fn)
			}
		})
	})
}
