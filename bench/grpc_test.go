//go:build unix

package bench

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
)

// grpcClients is the number of parallel clients, each with its own principal and connection.
const grpcClients = 4

// BenchmarkGRPCUnary compares a unary call through grpcguard with the same call without it: over
// TLS on loopback, with parallel clients. The processor time is that of the clients and the server.
func BenchmarkGRPCUnary(b *testing.B) {
	for _, mode := range []struct {
		name string
		mode httpapi.Mode
	}{{"admit", httpapi.Admit}, {"execute", httpapi.Execute}, {"unguarded", 0}} {
		b.Run(mode.name, func(b *testing.B) { benchmarkGRPC(b, mode.name != "unguarded", mode.mode) })
	}
}

func benchmarkGRPC(b *testing.B, guarded bool, mode httpapi.Mode) {
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
	options := []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}
	w := eightPermissions(grpcClients)
	if guarded {
		engine := w.engine()
		defer func() { require.NoError(b, engine.Close(context.Background())) }()
		guard, err := grpcguard.New(grpcguard.Options{Engine: engine, Rules: map[string]grpcguard.Rule{
			grpc_health_v1.Health_Check_FullMethodName: {Action: w.queries[0].Action, Resource: w.queries[0].Resource, Mode: mode},
		}})
		require.NoError(b, err)
		options = append(options, grpc.UnaryInterceptor(guard.Unary))
	}
	server := grpc.NewServer(options...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	clients := make(chan grpc_health_v1.HealthClient, grpcClients)
	for i := range grpcClients {
		conn := dialGRPC(b, ca, listener.Addr().String(), w.grants[i].Principal.String())
		defer conn.Close()
		clients <- grpc_health_v1.NewHealthClient(conn)
	}
	b.SetParallelism(grpcClients) // at least one goroutine for each client
	before := processorTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		client := <-clients
		clients <- client // in turn: connections are shared evenly
		for pb.Next() {
			if _, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// dialGRPC connects, so that the handshake is not measured.
func dialGRPC(b *testing.B, ca *devca.CA, address, name string) *grpc.ClientConn {
	past := func() time.Time { return time.Now().Add(-time.Minute) }
	pair, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: name, Now: past})
	require.NoError(b, err)
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	require.NoError(b, err)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert},
	})))
	require.NoError(b, err)
	_, err = grpc_health_v1.NewHealthClient(conn).Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	require.NoError(b, err)
	return conn
}

// processorTime is the processor time of this process.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
