package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/interlock-authz/interlock/cmd/interlock/internal/config"
	"github.com/interlock-authz/interlock/cmd/interlock/internal/serve"
)

// agent is a Workload API that serves the configured SVIDs and bundles.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	address string
	answers chan *workload.X509SVIDResponse
}

func newAgent(t *testing.T, first *workload.X509SVIDResponse) *agent {
	t.Helper()
	folder, err := os.MkdirTemp("", "agent") // t.TempDir's name may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	a := &agent{address: "unix://" + filepath.Join(folder, "agent.sock"), answers: make(chan *workload.X509SVIDResponse, 1)}
	a.answers <- first
	listener, err := net.Listen("unix", filepath.Join(folder, "agent.sock"))
	require.NoError(t, err)
	server, served := grpc.NewServer(), make(chan error, 1)
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return a
}

// FetchX509SVID implements the Workload API.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	for {
		select {
		case answer := <-a.answers:
			if err := stream.Send(answer); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// answerOf returns an SVID of one CA for the server, and the CA of another domain.
func answerOf(own *minter, federated map[string]*minter) *workload.X509SVIDResponse {
	svid := own.leaf(uri("spiffe://a.example/server"), extKeyUsage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))
	answer := &workload.X509SVIDResponse{
		Svids: []*workload.X509SVID{{
			SpiffeId: "spiffe://a.example/server", X509Svid: svid.Certificate[0],
			X509SvidKey: must(x509.MarshalPKCS8PrivateKey(svid.PrivateKey)), Bundle: own.cert.Raw,
		}},
		FederatedBundles: map[string][]byte{},
	}
	for domain, m := range federated {
		answer.FederatedBundles["spiffe://"+domain] = m.cert.Raw
	}
	return answer
}

// TestServeFromAWorkloadAPI checks that the server gets its certificate and its client CAs
// from a Workload API, and follows its updates.
func TestServeFromAWorkloadAPI(t *testing.T) {
	own, partner := newRoot(t, "own"), newRoot(t, "partner")
	a := newAgent(t, answerOf(own, map[string]*minter{"b.example": partner}))
	s := &running{dir: t.TempDir(), clients: own, log: &sharedText{}}
	require.NoError(t, os.WriteFile(s.file("policy.yaml"), []byte(echoPolicy), 0o600))
	c := s.config()
	c.TLS = config.TLS{WorkloadAPI: config.WorkloadAPI{Address: a.address}}
	require.NoError(t, c.Check())
	s.serve(t, &c)

	visit := func(leaf tls.Certificate, who string) (visit, error) {
		return s.visit(&tls.Config{
			InsecureSkipVerify:   true, // an SVID has no host name
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &leaf, nil },
		}, who)
	}
	alices, partners := own.leaf(), partner.leaf(uri("spiffe://b.example/bob"))
	before, err := visit(alices, alice)
	require.NoError(t, err)
	require.Equal(t, 200, before.status, before.body)
	v, err := visit(partners, "spiffe://b.example/bob")
	require.NoError(t, err)
	require.Equal(t, 200, v.status, v.body)
	v, err = visit(partner.leaf(), alice)
	require.NoError(t, err)
	require.Equal(t, 401, v.status)
	require.Contains(t, v.body, "not-bound", "a federated domain speaks for itself alone")

	a.answers <- answerOf(own, nil)
	s.eventually(t, func() bool {
		after, err := visit(alices, alice)
		return err == nil && !after.state.PeerCertificates[0].Equal(before.state.PeerCertificates[0])
	})
	_, err = visit(partners, "spiffe://b.example/bob")
	require.Error(t, err, "its CA is not known any more")

	broken := answerOf(own, nil)
	broken.Svids[0].X509Svid = []byte("broken")
	a.answers <- broken
	s.eventually(t, func() bool { return strings.Contains(s.log.String(), "CRLs are unchanged") })
	v, err = visit(alices, alice)
	require.NoError(t, err)
	require.Equal(t, 200, v.status)
}

// TestServeFailsWithoutAWorkloadAPI gives the server an address that the Workload API does not support.
func TestServeFailsWithoutAWorkloadAPI(t *testing.T) {
	c, inMemory := config.Default(), ""
	c.Data, c.TLS = &inMemory, config.TLS{WorkloadAPI: config.WorkloadAPI{Address: "tcp://127.0.0.1:1"}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.ErrorContains(t, serve.Run(ctx, &c, false, (&sharedText{}).logger()), "tls.workload-api: ")
}
