//go:build unix

package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// leaseBench is a server of decisions and remote leases with mutual TLS on loopback.
type leaseBench struct {
	b      *testing.B
	ca     *devca.CA
	engine *actors.Engine
	remote *leases.Server
	server *http.Server
	url    string
}

var leasedOperation = client.Evaluation{Action: client.Action{Name: "orders:do3"}, Resource: client.Entity{Type: "orders", ID: "area-3/42"}}

func newLeaseBench(b *testing.B, principals int) *leaseBench {
	s := &leaseBench{b: b}
	dir := b.TempDir()
	var err error
	s.ca, err = devca.Init(dir, devca.Options{})
	require.NoError(b, err)
	pair, err := s.ca.IssueServer(devca.ServerOptions{})
	require.NoError(b, err)
	require.NoError(b, pair.Write(dir, "server", false))
	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: s.ca.Pool(),
	})
	require.NoError(b, err)
	w := eightPermissions(principals)
	memory, err := oplog.NewMemoryWith(w.roles, w.grants)
	require.NoError(b, err)
	log := slog.New(slog.DiscardHandler)
	connections := httpapi.NewConnections(nil)
	s.engine, err = actors.New(actors.Options{Log: memory, Connections: connections, Logger: log})
	require.NoError(b, err)
	s.remote, err = leases.New(leases.Options{Engine: s.engine, Identifier: connections, Logger: log, PerHolder: 100_000})
	require.NoError(b, err)
	decisions, err := authzen.New(authzen.Options{Engine: s.engine, Identifier: connections, BaseURL: "https://localhost", Logger: log})
	require.NoError(b, err)
	router := httpapi.NewRouter(log)
	s.remote.Mount(router)
	decisions.Mount(router)
	s.server = httpapi.NewServer(httpapi.ServerOptions{Handler: router, TLS: config, Connections: connections, Limits: httpapi.ConnectionLimits{PerPrincipal: 4096}, Logger: log})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	s.url = "https://" + l.Addr().String()
	go func() { _ = s.server.ServeTLS(l, "", "") }() // until it is closed
	b.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_, _ = s.remote.Close(now)
		_ = s.server.Close()
		_ = s.engine.Close(now)
	})
	return s
}

// client is a process of a principal: a session with connections of its own.
func (s *leaseBench) client(principal int) *client.Client {
	pair, err := s.ca.IssueClient(devca.ClientOptions{SPIFFEID: principalNumber(principal).String(), Now: func() time.Time { return time.Now().Add(-time.Minute) }})
	require.NoError(s.b, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(s.b, err)
	c, err := client.New(client.Options{BaseURL: s.url, TLS: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: s.ca.Pool(), ServerName: "localhost", Certificates: []tls.Certificate{cert},
	}})
	require.NoError(s.b, err)
	s.b.Cleanup(c.Close)
	return c
}

// BenchmarkLease compares the two halves of a remote lease with a decision of the decision API, on
// one connection. The processor time is that of client and server. Use -benchtime 20000x.
func BenchmarkLease(b *testing.B) {
	ctx := context.Background()
	decide := func(b *testing.B, c *client.Client) {
		d, err := c.Evaluate(ctx, client.Evaluation{
			Subject: client.Entity{Type: "principal", ID: principalNumber(0).String()}, Action: leasedOperation.Action, Resource: leasedOperation.Resource,
		}, client.EvaluateOptions{})
		require.NoError(b, err)
		require.True(b, d.Decision)
	}
	measure := func(b *testing.B, one func(i int)) {
		before := processorTime(b)
		b.ResetTimer()
		for i := range b.N {
			one(i)
		}
		b.StopTimer()
		b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
	}
	b.Run("decision", func(b *testing.B) {
		c := newLeaseBench(b, 1).client(0)
		decide(b, c)
		measure(b, func(int) { decide(b, c) })
	})
	acquire := func(b *testing.B, c *client.Client) *client.Lease {
		l, err := c.Acquire(ctx, leasedOperation)
		require.NoError(b, err)
		return l
	}
	b.Run("acquire", func(b *testing.B) {
		c := newLeaseBench(b, 1).client(0)
		acquire(b, c).Release()
		held := make([]*client.Lease, b.N)
		measure(b, func(i int) { held[i] = acquire(b, c) })
		for _, l := range held {
			l.Release()
		}
	})
	b.Run("release", func(b *testing.B) {
		c := newLeaseBench(b, 1).client(0)
		held := make([]*client.Lease, b.N)
		for i := range held {
			held[i] = acquire(b, c)
		}
		measure(b, func(i int) { held[i].Release() })
	})
}

// BenchmarkLeaseRenewal holds 10,000 leases of one client for a time. It reports the processor time
// that client and server take for them, in percent of a core, and what they take without a lease. Use
// -benchtime 1x.
func BenchmarkLeaseRenewal(b *testing.B) {
	const all, lasts = 10_000, 60 * time.Second
	for range b.N {
		s := newLeaseBench(b, 1)
		c := s.client(0)
		load := func() float64 {
			before := processorTime(b)
			<-time.After(lasts)
			return 100 * float64(processorTime(b)-before) / float64(lasts)
		}
		idle := load()
		held := make([]*client.Lease, all)
		for i := range held {
			l, err := c.Acquire(context.Background(), leasedOperation)
			require.NoError(b, err)
			held[i] = l
		}
		b.ReportMetric(load()-idle, "%-of-a-core")
		b.ReportMetric(idle, "%-idle")
		for _, l := range held {
			require.NoError(b, l.Check())
		}
	}
}

// BenchmarkLeaseRevocation revokes a principal with 1,000 leases in 100 sessions. It reports when the
// clients are told, and when the receipt comes after the last release was sent. Clients and server
// share the processors. Use -benchtime 20x.
func BenchmarkLeaseRevocation(b *testing.B) {
	const sessions, each = 100, 10
	s := newLeaseBench(b, 1)
	clients := make([]*client.Client, sessions)
	for i := range clients {
		clients[i] = s.client(0)
	}
	role := policy.Grant{Principal: principalNumber(0), Role: "worker"}
	var told, receipts []time.Duration
	for b.Loop() {
		b.StopTimer()
		var mu sync.Mutex
		var began, last time.Time
		var ready, work sync.WaitGroup
		ready.Add(sessions * each)
		for _, c := range clients {
			for range each {
				work.Go(func() {
					l, err := c.Acquire(context.Background(), leasedOperation)
					ready.Done()
					if err != nil {
						b.Error(err)
						return
					}
					<-l.Context().Done()
					now := time.Now()
					mu.Lock()
					told = append(told, now.Sub(began))
					if now.After(last) {
						last = now
					}
					mu.Unlock()
					l.Release()
				})
			}
		}
		ready.Wait()
		require.Eventually(b, func() bool { return s.remote.Counts().Streams == sessions }, 10*time.Second, time.Millisecond)
		mu.Lock()
		began = time.Now()
		mu.Unlock()
		b.StartTimer()
		r, err := s.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{policy.RevokeRole(role)}})
		b.StopTimer()
		require.NoError(b, err)
		require.Equal(b, sessions*each, r.EndedCount)
		receipts = append(receipts, time.Since(last))
		work.Wait()
		_, err = s.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{policy.GrantRole(role)}})
		require.NoError(b, err)
		b.StartTimer()
	}
	for name, times := range map[string][]time.Duration{"told": told, "receipt": receipts} {
		slices.Sort(times)
		for _, percent := range []int{50, 99} {
			b.ReportMetric(float64(times[len(times)*percent/100])/float64(time.Millisecond), fmt.Sprintf("%s-p%d-ms", name, percent))
		}
	}
}
