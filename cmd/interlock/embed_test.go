package main_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/journal"
	"github.com/interlock-authz/interlock/actors/observe"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
)

// The functions down to the example are also in docs/embedding.md.

func newEngine(policyText []byte, callers *httpapi.Connections) (*actors.Engine, error) {
	file, err := policyfile.Parse("policy.yaml", policyText)
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
	return long(lease.Context()) // runs concurrently; its context is canceled with actors.ErrRevoked
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

func newServeMux(guard *httpapi.Guard, putOrder http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("PUT /orders/{id}", guard.Protect(httpapi.Rule{
		Action: "orders:write", Resource: "orders/{id}", Mode: httpapi.Execute,
	}, putOrder))
	return mux
}

func serverTLS(certFile, keyFile, clientCA string) (*tls.Config, error) {
	cas, err := certs.LoadPool(clientCA)
	if err != nil {
		return nil, err
	}
	return certs.ServerConfig(certs.ServerOptions{CertFile: certFile, KeyFile: keyFile, ClientCAs: cas})
}

func observedEngine(log *slog.Logger) (*actors.Engine, *observe.Counters, *observe.Log, error) {
	counters := observe.NewCounters()
	denials := observe.NewLog(observe.LogOptions{Logger: log, RequestID: httpapi.RequestID})
	engine, err := actors.New(actors.Options{Observer: observe.Join(counters, denials)})
	return engine, counters, denials, err // counters.Read has the numbers; close denials after the engine
}

// faults calls a function for each request that the engine could not decide.
type faults struct {
	observe.Nothing
	tell func(*actors.ObservedDecision) // must not block
}

func (f *faults) Decided(_ policy.Principal, reason policy.Reason) (describe bool) {
	return reason == policy.ReasonFault
}

func (f *faults) Described(_ context.Context, d *actors.ObservedDecision) { f.tell(d) }

func firstPolicy(ctx context.Context, engine *actors.Engine, policyText []byte) error {
	if engine.Revision() > 0 {
		return nil // the store has a policy
	}
	file, err := policyfile.Parse("policy.yaml", policyText)
	if err != nil {
		return err
	}
	_, err = engine.Update(ctx, actors.Update{Changes: policyfile.Diff(nil, nil, file)})
	return err
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
		require.NoError(t, firstPolicy(ctx, engine, []byte(embedPolicy)))
		_, err := dismiss(ctx, engine, alice)
		require.NoError(t, err)
	})
	open(func(engine *actors.Engine) {
		require.EqualValues(t, 2, engine.Revision())
		err := engine.Execute(ctx, actors.Request{Principal: alice, Action: "orders:write", Resource: "orders/42"},
			func(context.Context) error { return nil })
		require.ErrorIs(t, err, actors.ErrDenied)
	})
}

// TestServeMuxAndTLS serves net/http's own mux behind a guard, with the TLS configuration of the
// documentation.
func TestServeMuxAndTLS(t *testing.T) {
	dir := t.TempDir()
	ca, err := devca.Init(dir, devca.Options{})
	require.NoError(t, err)
	server, err := ca.IssueServer(devca.ServerOptions{})
	require.NoError(t, err)
	require.NoError(t, server.Write(dir, "server", false))
	alice, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice"})
	require.NoError(t, err)
	require.NoError(t, alice.Write(dir, "alice", false))
	path := func(name string) string { return filepath.Join(dir, name) }

	callers := httpapi.NewConnections(nil)
	engine, err := newEngine([]byte(embedPolicy), callers)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, engine.Close(context.Background())) })
	config, err := serverTLS(path("server.crt"), path("server.key"), path(devca.CertFile))
	require.NoError(t, err)
	handler := newServeMux(httpapi.NewGuard(engine, callers, nil), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "written")
	}))
	s := httptest.NewUnstartedServer(handler)
	s.TLS = config
	s.StartTLS()
	t.Cleanup(s.Close)

	clientTLS, err := certs.ClientConfig(certs.ClientOptions{
		CAFile: path(devca.CertFile), CertFile: path("alice.crt"), KeyFile: path("alice.key"), ServerName: "localhost",
	})
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS}}
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequest(http.MethodPut, s.URL+"/orders/42", nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

func TestEmbeddedObservers(t *testing.T) {
	var log bytes.Buffer
	engine, counters, denials, err := observedEngine(slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	who := policy.MustPrincipal("user:eve")
	require.Error(t, engine.Execute(t.Context(), actors.Request{Principal: who, Action: "a", Resource: "r"}, func(context.Context) error { return nil }))
	require.NoError(t, engine.Close(t.Context()))
	denials.Close()
	require.EqualValues(t, 1, counters.Read().Decisions[policy.ReasonUnknownPrincipal])
	require.Contains(t, log.String(), "principal=user:eve")

	told := 0
	closed, err := actors.New(actors.Options{Observer: &faults{tell: func(*actors.ObservedDecision) { told++ }}, Log: &failing{}})
	require.NoError(t, err)
	require.ErrorIs(t, closed.Execute(t.Context(), actors.Request{Principal: who, Action: "a", Resource: "r"}, func(context.Context) error { return nil }), actors.ErrFault)
	require.NoError(t, closed.Close(t.Context()))
	require.Equal(t, 1, told)
}

// failing is a log that cannot read.
type failing struct{ oplog.Memory }

func (*failing) Open(oplog.Events) (oplog.InitialState, error) {
	t, err := policy.NewTable(0, nil, nil)
	return oplog.InitialState{Table: t}, err
}

func (*failing) Record(policy.Principal) (*policy.Record, error) { return nil, errors.New("damaged") }

// TestEmbeddingCode checks that the Go code of docs/embedding.md is the code above.
func TestEmbeddingCode(t *testing.T) {
	readme, err := os.ReadFile("../../docs/embedding.md")
	require.NoError(t, err)
	code, err := os.ReadFile("embed_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllStringSubmatch(string(readme), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		require.Contains(t, string(code), strings.TrimSpace(block[1]))
	}
}
