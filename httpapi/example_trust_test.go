package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
)

// A service that embeds the engine serves with certificates, CAs and CRLs that rotate while it runs.
func ExampleUseTrust() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, ca := exampleFiles()
	defer os.RemoveAll(dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	log := slog.New(slog.DiscardHandler)

	trust, err := certs.NewTrust(certs.TrustOptions{
		Source: certs.Files{
			Certificate: in("server.crt"), Key: in("server.key"),
			TrustAnchors: []certs.Binding{{File: in(devca.CertFile)}},
		},
		Logger: log,
	})
	check(err)
	connections := httpapi.NewConnections(trust.State().Identifier())
	engine, err := actors.New(actors.Options{Log: oplog.NewMemory(), Connections: connections, Logger: log})
	check(err)
	check(httpapi.UseTrust(ctx, trust, connections, engine, log))
	go trust.Watch(ctx)

	server := httpapi.NewServer(httpapi.ServerOptions{
		TLS: trust.ServerConfig(), Connections: connections, Logger: log,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, err := connections.Identify(r)
			check(err)
			fmt.Println("caller", caller.Identity.Name)
		}),
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() { _ = server.ServeTLS(listener, "", "") }()

	before := call(listener, in)
	pair, err := ca.IssueServer(devca.ServerOptions{})
	check(err)
	check(pair.Write(dir, "server", true))
	_, err = trust.Reload() // Watch does it too, a moment later
	check(err)
	fmt.Println("rotated:", call(listener, in) != before)

	check(server.Shutdown(ctx))
	check(engine.Close(ctx))
	// Output:
	// caller spiffe://interlock.test/alice
	// caller spiffe://interlock.test/alice
	// rotated: true
}

// call calls the server as alice and returns the serial number of the server's certificate.
func call(listener net.Listener, in func(string) string) string {
	config, err := certs.ClientConfig(certs.ClientOptions{CAFile: in(devca.CertFile), CertFile: in("alice.crt"), KeyFile: in("alice.key"), ServerName: "localhost"})
	check(err)
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("https://" + listener.Addr().String())
	check(err)
	defer answer.Body.Close()
	return answer.TLS.PeerCertificates[0].SerialNumber.String()
}

// exampleFiles makes a development CA, and certificates of a server and of alice.
func exampleFiles() (string, *devca.CA) {
	dir, err := os.MkdirTemp("", "interlock")
	check(err)
	ca, err := devca.Init(dir, devca.Options{})
	check(err)
	server, err := ca.IssueServer(devca.ServerOptions{})
	check(err)
	check(server.Write(dir, "server", false))
	alice, err := ca.IssueClient(devca.ClientOptions{SPIFFEID: "spiffe://interlock.test/alice"})
	check(err)
	check(alice.Write(dir, "alice", false))
	return dir, ca
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
