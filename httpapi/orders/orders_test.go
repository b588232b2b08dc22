package orders_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto/tls"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/orders"
)

const text = `
roles:
  clerk:
    permissions:
      - actions: [orders:read, orders:watch]
        resources: [orders/**]
      - actions: [orders:write]
        resources: [orders/**]
        when: resource.properties.amount < 1000
grants:
  - principal: spiffe://interlock.test/alice
    role: clerk
  - principal: spiffe://interlock.test/bob
    role: clerk
`

// shop serves the orders API over TLS.
type shop struct {
	t         *testing.T
	engine    *actors.Engine
	authority *devca.CA
	url       string
}

func newShop(t *testing.T) *shop {
	t.Helper()
	file, err := policyfile.Parse("policy.yaml", []byte(text))
	require.NoError(t, err)
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	require.NoError(t, err)
	s := &shop{t: t}
	s.engine, err = actors.New(actors.Options{Log: memory})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, s.engine.Close(ctx))
	})
	s.serve()
	return s
}

func (s *shop) serve() {
	dir := s.t.TempDir()
	var err error
	s.authority, err = devca.Init(filepath.Join(dir, "ca"), devca.Options{})
	require.NoError(s.t, err)
	pair, err := s.authority.IssueServer(devca.ServerOptions{})
	require.NoError(s.t, err)
	require.NoError(s.t, pair.Write(dir, "server", true))
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: s.authority.Pool(),
	})
	require.NoError(s.t, err)
	router, connections := httpapi.NewRouter(nil), httpapi.NewConnections(nil)
	orders.New(time.Millisecond, nil).Register(router, httpapi.NewGuard(s.engine, connections, nil))
	server := httpapi.NewServer(httpapi.ServerOptions{Handler: router, TLS: config, Connections: connections})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	s.url = "https://" + listener.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	s.t.Cleanup(func() {
		require.NoError(s.t, server.Close())
		require.ErrorIs(s.t, <-ended, http.ErrServerClosed)
	})
}

func (s *shop) as(name string, http2 bool) *http.Client {
	s.t.Helper()
	pair, err := s.authority.IssueClient(devca.ClientOptions{
		SPIFFEID: "spiffe://interlock.test/" + name, Now: func() time.Time { return time.Now().Add(-time.Minute) },
	})
	require.NoError(s.t, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(s.t, err)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: s.authority.Pool(), Certificates: []tls.Certificate{cert}}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func (s *shop) do(c *http.Client, method, path, body string) (int, string) {
	s.t.Helper()
	got := s.open(c, method, path, body)
	defer func() { _ = got.Body.Close() }()
	answer, err := io.ReadAll(got.Body)
	require.NoError(s.t, err)
	return got.StatusCode, string(answer)
}

func (s *shop) open(c *http.Client, method, path, body string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	got, err := c.Do(r)
	require.NoError(s.t, err)
	return got
}

func TestOrdersAreWrittenReadAndWatchedUntilRevoked(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		s := newShop(t)
		alice, bob, carol := s.as("alice", http2), s.as("bob", http2), s.as("carol", http2)
		status, answer := s.do(alice, http.MethodPut, "/orders/7", `{"amount": 12}`)
		require.Equal(t, 200, status, answer)
		const order = `{"id":"7","amount":12,"by":"spiffe://interlock.test/alice"}`
		require.JSONEq(t, order, answer)
		status, answer = s.do(bob, http.MethodGet, "/orders/7", "")
		require.Equal(t, 200, status)
		require.JSONEq(t, order, answer)
		for _, refused := range []struct {
			c                  *http.Client
			method, path, body string
			status             int
		}{
			{alice, http.MethodPut, "/orders/7", `{"amount": 1000}`, 403},
			{alice, http.MethodPut, "/orders/7", `{"amount": "12"}`, 400},
			{alice, http.MethodPut, "/orders/7", `{"amount": 1, "by": "bob"}`, 400},
			{alice, http.MethodPut, "/orders/7", `{"amount": 1} {"amount": 1000}`, 400},
			{alice, http.MethodPut, "/orders/7", `{}`, 400},
			{alice, http.MethodGet, "/orders/8", "", 404},
			{carol, http.MethodGet, "/orders/7", "", 403},
			{carol, http.MethodGet, "/orders/8", "", 403},
			{carol, http.MethodPut, "/orders/7", `{"amount": 1}`, 403},
			{carol, http.MethodGet, "/orders/7/watch", "", 403},
			{alice, http.MethodDelete, "/orders/7", "", 405},
		} {
			status, answer := s.do(refused.c, refused.method, refused.path, refused.body)
			require.Equal(t, refused.status, status, answer)
		}
		status, answer = s.do(alice, http.MethodPut, "/orders/a%20b", `{"amount": 1}`)
		require.Equal(t, 200, status)
		require.Contains(t, answer, `"id":"a b"`)
		s.watchUntilRevoked(alice, bob)
	}
}

// watchUntilRevoked has both watch; alice loses her role, and bob watches on.
func (s *shop) watchUntilRevoked(alice, bob *http.Client) {
	s.t.Helper()
	watch := func(c *http.Client) *bufio.Reader {
		got := s.open(c, http.MethodGet, "/orders/7/watch", "")
		s.t.Cleanup(func() { _ = got.Body.Close() })
		require.Equal(s.t, "application/x-ndjson", got.Header.Get("Content-Type"))
		return bufio.NewReader(got.Body)
	}
	line := func(from *bufio.Reader) (doc struct {
		Line   int
		ID     string
		Amount float64
	}) {
		text, err := from.ReadBytes('\n')
		require.NoError(s.t, err)
		require.NoError(s.t, json.Unmarshal(text, &doc))
		require.Equal(s.t, "7", doc.ID)
		require.EqualValues(s.t, 12, doc.Amount)
		return doc
	}
	ends, goesOn := watch(alice), watch(bob)
	for n := 1; n < 4; n++ {
		require.Equal(s.t, n, line(ends).Line)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	who := policy.MustPrincipal("spiffe://interlock.test/alice")
	receipt, err := s.engine.Update(ctx, actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: who, Role: "clerk"})}})
	require.NoError(s.t, err)
	require.Len(s.t, receipt.Ended, 1)
	_, err = io.ReadAll(ends)
	require.Error(s.t, err, "broken off, and no clean end")
	for last := line(goesOn).Line; line(goesOn).Line < last+20; {
		continue
	}
	status, _ := s.do(alice, http.MethodGet, "/orders/7", "")
	require.Equal(s.t, 403, status)
}
