package main_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
)

// The functions down to the example stand in the README too, word for word.

func newEngine(policyText []byte, callers *httpapi.Connections) (*actors.Engine, error) {
	file, err := policy.ParseFile("policy.yaml", policyText)
	if err != nil {
		return nil, err
	}
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	if err != nil {
		return nil, err
	}
	return actors.New(actors.Options{Log: memory, Connections: callers}) // closes those of revoked certificates
}

func newServer(engine *actors.Engine, callers *httpapi.Connections, mutual *tls.Config, putOrder, watchOrder http.Handler) *http.Server {
	guard := httpapi.NewGuard(engine, callers, nil)
	router := httpapi.NewRouter(nil) // a mux.Router of gorilla/mux
	router.Handle("/orders/{id}", guard.Protect(httpapi.Rule{
		Action: "orders:write", Resource: "orders/{id}", Mode: httpapi.Execute, // short: in the turn that checks
	}, putOrder)).Methods(http.MethodPut)
	router.Handle("/orders/{id}/watch", guard.Protect(httpapi.Rule{
		Action: "orders:watch", Resource: "orders/{id}", Mode: httpapi.Admit, // may last: a revocation ends it
	}, watchOrder)).Methods(http.MethodGet)
	return httpapi.NewServer(httpapi.ServerOptions{Addr: ":8443", Handler: router, TLS: mutual, Connections: callers})
}

func use(ctx context.Context, engine *actors.Engine, request actors.Request, short, long actors.Func) error {
	if err := engine.Execute(ctx, request, short); err != nil { // runs in the turn, once, or never
		return err
	}
	lease, err := engine.Admit(ctx, request)
	if err != nil {
		return err
	}
	defer lease.Release()
	return long(lease.Context()) // runs beside others, and is cancelled with actors.ErrRevoked
}

func dismiss(ctx context.Context, engine *actors.Engine, who policy.Principal) (actors.Receipt, error) {
	return engine.Update(ctx, actors.Update{Changes: []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: who, Role: "order-writer"}),
	}})
}

func openEngine(dir string) (*actors.Engine, *journal.Journal, error) {
	log, err := journal.Open(dir, journal.Options{})
	if err != nil {
		return nil, nil, err
	}
	engine, err := actors.New(actors.Options{Log: log})
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return engine, log, nil
}

const embedPolicy = `
roles:
  order-writer:
    permissions:
      - actions: [orders:*]
        resources: [orders/**]
grants:
  - principal: spiffe://interlock.test/alice
    role: order-writer
`

func Example() {
	ctx := context.Background()
	engine, err := newEngine([]byte(embedPolicy), httpapi.NewConnections(nil))
	if err != nil {
		panic(err)
	}
	defer engine.Close(ctx)
	alice := policy.MustPrincipal("spiffe://interlock.test/alice")
	request := actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/42"}
	say := func(text string) actors.Func {
		return func(context.Context) error {
			fmt.Println(text)
			return nil
		}
	}

	fmt.Println(use(ctx, engine, request, say("short"), say("long")))
	receipt, err := dismiss(ctx, engine, alice)
	fmt.Println(receipt.Revision, receipt.Quiesced, err)
	err = use(ctx, engine, request, say("never"), say("never"))
	fmt.Println(errors.Is(err, actors.ErrDenied))
	// Output:
	// short
	// long
	// <nil>
	// 2 true <nil>
	// true
}

func TestNewServer(t *testing.T) {
	callers := httpapi.NewConnections(nil)
	engine, err := newEngine([]byte(embedPolicy), callers)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	require.NotNil(t, newServer(engine, callers, nil, http.NotFoundHandler(), http.NotFoundHandler()).Handler)
}

// TestOpenEngine checks that what an engine was told is there when it is opened again.
func TestOpenEngine(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	alice := policy.MustPrincipal("spiffe://interlock.test/alice")
	open := func(use func(*actors.Engine)) {
		engine, log, err := openEngine(dir)
		require.NoError(t, err)
		use(engine)
		require.NoError(t, engine.Close(ctx))
		require.NoError(t, log.Close())
	}
	open(func(engine *actors.Engine) {
		require.Zero(t, engine.Revision())
		file, err := policy.ParseFile("policy.yaml", []byte(embedPolicy))
		require.NoError(t, err)
		var changes []policy.Change
		for r := range file.AllRoles() {
			changes = append(changes, policy.PutRole(r, ""))
		}
		for i := range file.Grants {
			changes = append(changes, policy.GrantRole(file.Grants[i]))
		}
		_, err = engine.Update(ctx, actors.Update{Changes: changes})
		require.NoError(t, err)
		_, err = dismiss(ctx, engine, alice)
		require.NoError(t, err)
	})
	open(func(engine *actors.Engine) {
		require.EqualValues(t, 2, engine.Revision())
		err := engine.Execute(ctx, actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/42"},
			func(context.Context) error { return nil })
		require.ErrorIs(t, err, actors.ErrDenied)
	})
}

// TestReadmeCode checks that the Go code of the README is the code above.
func TestReadmeCode(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	code, err := os.ReadFile("embed_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		require.Contains(t, string(code), strings.TrimSpace(block[1]))
	}
}
