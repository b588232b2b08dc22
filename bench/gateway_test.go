package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

const (
	streamPrincipals = 100
	streamsOfEach    = 100
)

// BenchmarkGatewayStreams opens 10,000 streams of 100 principals through the gateway. Each stream
// needs one of several roles, which all principals hold. One of the roles is emptied. The gateway
// must cut the streams that need it, and no others. The benchmark reports the time until the update
// is quiesced. Use -benchtime 20x. Clients, gateway and upstream share the processors.
func BenchmarkGatewayStreams(b *testing.B) {
	for _, roles := range []int{10, 2} {
		b.Run(fmt.Sprintf("one of %d roles", roles), func(b *testing.B) { benchmarkStreams(b, roles) })
	}
}

func benchmarkStreams(b *testing.B, roles int) {
	s := newStreams(b, roles)
	const all = streamPrincipals * streamsOfEach
	var took []time.Duration
	for b.Loop() {
		s.openMissing()
		b.StopTimer()
		s.requireOpen(all)
		began := time.Now()
		r := s.allow(0, false)
		took = append(took, time.Since(began))
		require.Equal(b, all/roles, r.EndedCount)
		s.requireOpen(int64(all - all/roles))
		require.EqualValues(b, all/roles, s.cut.Swap(0), "streams that were cut, at the clients")
		s.allow(0, true)
		b.StartTimer()
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
	s.closing.Store(true)
}

// streams are the clients, the gateway and its upstream.
type streams struct {
	b       *testing.B
	roles   int
	engine  *actors.Engine
	url     string
	clients []*http.Client
	open    atomic.Int64
	cut     atomic.Int64
	missing [streamPrincipals][streamsOfEach]atomic.Bool // the streams that are not open
	closing atomic.Bool
	running sync.WaitGroup
}

func newStreams(b *testing.B, roles int) *streams {
	s := &streams{b: b, roles: roles}
	dir := b.TempDir()
	ca, err := devca.Init(dir, devca.Options{})
	require.NoError(b, err)
	pair, err := ca.IssueServer(devca.ServerOptions{})
	require.NoError(b, err)
	require.NoError(b, pair.Write(dir, "server", false))
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: ca.Pool(),
	})
	require.NoError(b, err)
	var grants []policy.Grant
	for p := range streamPrincipals {
		who := policy.MustPrincipal(fmt.Sprintf("spiffe://bench.test/%d", p))
		for n := range roles {
			grants = append(grants, policy.Grant{Principal: who, Role: streamRoleName(n)})
		}
	}
	var held []*policy.Role
	for n := range roles {
		held = append(held, streamRole(b, n, true))
	}
	log := slog.New(slog.DiscardHandler)
	memory, err := oplog.NewMemoryWith(held, grants)
	require.NoError(b, err)
	connections := httpapi.NewConnections(nil)
	s.engine, err = actors.New(actors.Options{Log: memory, Connections: connections, Logger: log})
	require.NoError(b, err)

	upstream := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	upstream.Protocols.SetUnencryptedHTTP2(true)
	at := s.serve(upstream, func(l net.Listener) error { return upstream.Serve(l) })
	g, err := gateway.New(gateway.Config{
		Upstreams: map[string]gateway.Upstream{"streams": {Addresses: []string{at}, Protocol: gateway.HTTP2}},
		Routes:    []gateway.Route{{Upstream: "streams", Route: routes.Route{Path: "/{role}/{id}", Action: "streams:watch", Resource: "{role}/{id}"}}},
	}, gateway.Options{Engine: s.engine, Identifier: connections, Logger: log})
	require.NoError(b, err)
	server := httpapi.NewServer(httpapi.ServerOptions{Handler: g, TLS: config, Connections: connections, Logger: log})
	s.url = "https://" + s.serve(server, func(l net.Listener) error { return server.ServeTLS(l, "", "") })
	for p := range streamPrincipals {
		s.clients = append(s.clients, streamClient(b, ca, fmt.Sprintf("spiffe://bench.test/%d", p)))
		for i := range streamsOfEach {
			s.missing[p][i].Store(true)
		}
	}
	b.Cleanup(func() {
		for _, c := range s.clients {
			c.CloseIdleConnections()
		}
		g.Close()
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.engine.Close(now) // cuts the streams; on a busy machine, some end later
		s.running.Wait()
	})
	return s
}

// serve serves until the benchmark ends, and returns the address.
func (s *streams) serve(server *http.Server, serve func(net.Listener) error) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.b, err)
	go func() { _ = serve(l) }() // until it is closed
	s.b.Cleanup(func() { _ = server.Close() })
	return l.Addr().String()
}

func streamClient(b *testing.B, ca *devca.CA, name string) *http.Client {
	past := func() time.Time { return time.Now().Add(-time.Minute) }
	pair, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: name, Now: past})
	require.NoError(b, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(b, err)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert},
	}}}
}

func streamRoleName(n int) string { return fmt.Sprintf("role-%d", n) }

// streamRole allows the streams of its name, or nothing.
func streamRole(b *testing.B, n int, allows bool) *policy.Role {
	name := streamRoleName(n)
	var permissions []policy.Permission
	if allows {
		action, err := policy.ParseActionPattern("streams:watch")
		require.NoError(b, err)
		resource, err := policy.ParseResourcePattern(name + "/*")
		require.NoError(b, err)
		permissions = []policy.Permission{{Effect: policy.Allow, Actions: []policy.ActionPattern{action}, Resources: []policy.ResourcePattern{resource}}}
	}
	role, err := policy.NewRole(name, nil, permissions)
	require.NoError(b, err)
	return role
}

// allow changes a role, and waits until the update is quiesced.
func (s *streams) allow(role int, allows bool) actors.Receipt {
	r, err := s.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{policy.PutRole(streamRole(s.b, role, allows), "")}})
	require.NoError(s.b, err)
	return r
}

// openMissing opens the streams that are not open.
func (s *streams) openMissing() {
	var opening sync.WaitGroup
	for p := range streamPrincipals {
		opening.Go(func() {
			for i := range streamsOfEach {
				if s.missing[p][i].Swap(false) {
					s.stream(p, i)
				}
			}
		})
	}
	opening.Wait()
}

// stream opens one stream and returns when its first line has come.
func (s *streams) stream(p, i int) {
	response, err := s.clients[p].Get(fmt.Sprintf("%s/%s/%d", s.url, streamRoleName(i%s.roles), i))
	if err != nil || response.StatusCode != http.StatusOK {
		s.b.Errorf("stream %d of principal %d: %v", i, p, err)
		return
	}
	line := make([]byte, len("first\n"))
	if _, err := io.ReadFull(response.Body, line); err != nil {
		s.b.Error(err)
	}
	s.open.Add(1)
	s.running.Go(func() {
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err == nil && !s.closing.Load() {
			s.b.Error("a stream ended as if it were whole")
		}
		s.cut.Add(1)
		s.missing[p][i].Store(true)
		s.open.Add(-1)
	})
}

// requireOpen waits until so many streams are open at their clients.
func (s *streams) requireOpen(n int64) {
	require.Eventually(s.b, func() bool { return s.open.Load() == n }, 30*time.Second, time.Millisecond)
}
