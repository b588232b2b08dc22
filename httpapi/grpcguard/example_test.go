package grpcguard_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
)

const examplePolicy = `
roles:
  watcher:
    permissions:
      - {actions: ["health:*", "orders:read"], resources: ["health/**", "orders/**"]}
grants:
  - {principal: "spiffe://interlock.test/alice", role: watcher}
`

// One process serves HTTP and gRPC on one port, with one engine. A revocation ends a stream.
func ExampleNew() {
	dir, clientConfig := exampleCertificates()
	defer os.RemoveAll(dir)
	log := slog.New(slog.DiscardHandler)
	file, err := policyfile.Parse("policy.yaml", []byte(examplePolicy))
	check(err)
	store, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	check(err)
	connections := httpapi.NewConnections(nil)
	engine, err := actors.New(actors.Options{Log: store, Connections: connections, Logger: log})
	check(err)

	// gRPC: a rule for each method, and the two interceptors.
	guard, err := grpcguard.New(grpcguard.Options{
		Engine: engine, Connections: connections, Logger: log,
		Rules: map[string]grpcguard.Rule{
			grpc_health_v1.Health_Check_FullMethodName: {Action: "health:check", Resource: "health/all"},
			grpc_health_v1.Health_Watch_FullMethodName: {Action: "health:watch", ResourceOf: healthOf},
		},
	})
	check(err)
	grpcServer := grpc.NewServer(grpc.ChainUnaryInterceptor(guard.Unary), grpc.ChainStreamInterceptor(guard.Stream))
	grpc_health_v1.RegisterHealthServer(grpcServer, health.NewServer())
	check(guard.Check(grpcServer))

	// HTTP: the guard of httpapi, on the same engine.
	router := httpapi.NewRouter(log)
	router.Handle("/orders/{id}", httpapi.NewGuard(engine, connections, log).Protect(
		httpapi.Rule{Action: "orders:read", Resource: "orders/{id}"},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "an order") })))
	check(httpapi.CheckRoutes(router)) // NewServer does not see the router

	config, err := certs.ServerConfig(certs.ServerOptions{
		CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key"), ClientCAs: clientConfig.RootCAs,
	})
	check(err)
	server := httpapi.NewServer(httpapi.ServerOptions{
		Handler: grpcguard.Handler(grpcServer, router), TLS: config, Connections: connections, Logger: log,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { _ = server.ServeTLS(listener, "", "") }()

	// A client of each kind.
	transport := &http.Transport{TLSClientConfig: clientConfig}
	answer, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String() + "/orders/1")
	check(err)
	body, err := io.ReadAll(answer.Body)
	check(err)
	check(answer.Body.Close())
	fmt.Println("HTTP:", string(body))

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(clientConfig)))
	check(err)
	client := grpc_health_v1.NewHealthClient(conn)
	now, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	check(err)
	fmt.Println("gRPC:", now.GetStatus())
	stream, err := client.Watch(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	check(err)
	now, err = stream.Recv()
	check(err)
	fmt.Println("stream:", now.GetStatus())

	// Update returns when the handler of the stream has returned.
	_, err = engine.Update(context.Background(), actors.Update{Changes: []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: policy.MustPrincipal("spiffe://interlock.test/alice"), Role: "watcher"}),
	}})
	check(err)
	_, err = stream.Recv()
	fmt.Println("revoked:", status.Code(err))

	check(conn.Close())
	transport.CloseIdleConnections()
	check(server.Shutdown(context.Background()))
	grpcServer.Stop()
	check(engine.Close(context.Background()))
	// Output:
	// HTTP: an order
	// gRPC: SERVING
	// stream: SERVING
	// revoked: PermissionDenied
}

// healthOf names the service whose health is asked for.
func healthOf(_ context.Context, _ string, message any) (string, map[string]any, error) {
	request, ok := message.(*grpc_health_v1.HealthCheckRequest)
	if !ok {
		return "", nil, errors.New("another message")
	}
	return "health/" + cmp.Or(request.GetService(), "all"), nil, nil
}

// exampleCertificates makes a development CA and a server's certificate, and a client's TLS
// configuration for alice.
func exampleCertificates() (string, *tls.Config) {
	dir, err := os.MkdirTemp("", "interlock")
	check(err)
	ca, err := devca.Init(dir, devca.Options{})
	check(err)
	server, err := ca.IssueServer(devca.ServerOptions{})
	check(err)
	check(server.Write(dir, "server", false))
	alice, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice"})
	check(err)
	cert, err := tls.X509KeyPair(alice.CertPEM, alice.KeyPEM)
	check(err)
	return dir, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
