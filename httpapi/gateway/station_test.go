package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for an event that has to come, and comes soon.
const patience = 10 * time.Second

// station is a gateway in front of an upstream. When its test ends, no call may be left.
type station struct {
	*servertest.Server
	gateway *gateway.Gateway
	config  gateway.Config
}

// kind is how the gateway and its upstream speak.
type kind struct {
	protocol gateway.Protocol
	tls      bool
}

// kinds are all ways to speak to an upstream.
var kinds = map[string]kind{
	"http1": {gateway.HTTP1, false}, "http1-tls": {gateway.HTTP1, true},
	"http2": {gateway.HTTP2, false}, "http2-tls": {gateway.HTTP2, true},
}

// newStation starts a gateway in front of a server with the handler. The gateway sends /files/{id}
// there, as an action files:METHOD in lower case.
func newStation(t testing.TB, k kind, handler http.HandlerFunc, alter ...func(*gateway.Config)) *station {
	t.Helper()
	s := &station{Server: servertest.New(t, "gateway-policy.yaml")}
	up := s.startUpstream(k, handler)
	s.config = gateway.Config{Upstreams: map[string]gateway.Upstream{"files": up}}
	for _, method := range []string{"GET", "PUT", "POST", "DELETE"} {
		s.config.Routes = append(s.config.Routes, gateway.Route{Upstream: "files", Route: routes.Route{
			Methods: []string{method}, Path: "/files/{id}", Action: "files:" + strings.ToLower(method), Resource: "files/{id}",
		}})
	}
	for _, f := range alter {
		f(&s.config)
	}
	var err error
	s.gateway, err = gateway.New(s.config, gateway.Options{Engine: s.Engine, Identifier: s.Connections, Logger: s.Log.Logger()})
	require.NoError(t, err)
	t.Cleanup(s.gateway.Close)
	t.Cleanup(s.requireNoLeases)
	s.Serve(s.gateway)
	return s
}

// startUpstream starts a server until the test ends. Over TLS it requires the gateway's certificate.
func (s *station) startUpstream(k kind, handler http.HandlerFunc) gateway.Upstream {
	s.T.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(k.protocol == gateway.HTTP1)
	server.Config.Protocols.SetHTTP2(k.protocol == gateway.HTTP2)
	server.Config.Protocols.SetUnencryptedHTTP2(k.protocol == gateway.HTTP2)
	u := gateway.Upstream{Protocol: k.protocol}
	if k.tls {
		own, err := s.Authority.IssueServer(devca.ServerOptions{})
		require.NoError(s.T, err)
		pair, err := tls.X509KeyPair(own.CertPEM, own.KeyPEM)
		require.NoError(s.T, err)
		server.EnableHTTP2 = k.protocol == gateway.HTTP2
		server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: s.Authority.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
		server.StartTLS()
		u.TLS = &tls.Config{
			RootCAs: s.Authority.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13,
			Certificates: []tls.Certificate{s.Issue("spiffe://interlock.test/gateway")},
		}
	} else {
		server.Start()
	}
	s.T.Cleanup(server.Close)
	u.Addresses = []string{server.Listener.Addr().String()}
	return u
}

// requireCounts checks the counts of the calls that have ended. A client may see an answer before it
// is counted.
func (s *station) requireCounts(want gateway.Counts) {
	s.T.Helper()
	require.EventuallyWithT(s.T, func(c *assert.CollectT) { assert.Equal(c, want, s.gateway.Counts()) }, 10*time.Second, time.Millisecond)
}

func (s *station) leases() []actors.LeaseInfo {
	s.T.Helper()
	leases, err := s.Engine.Leases(context.Background(), policy.Principal{})
	require.NoError(s.T, err)
	return leases
}

func (s *station) requireNoLeases() {
	s.T.Helper()
	require.Eventually(s.T, func() bool { return len(s.leases()) == 0 }, patience, time.Millisecond, "every call ends")
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}

// revoke takes a role from a principal, and waits for the receipt.
func (s *station) revoke(name, role string) actors.Receipt {
	s.T.Helper()
	return s.update(actors.Update{Changes: []policy.Change{policy.RevokeRole(policy.Grant{Principal: who(name), Role: role})}})
}

func (s *station) grant(name, role string) actors.Receipt {
	s.T.Helper()
	return s.update(actors.Update{Changes: []policy.Change{policy.GrantRole(policy.Grant{Principal: who(name), Role: role})}})
}

func (s *station) update(u actors.Update) actors.Receipt {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := s.Engine.Update(ctx, u)
	require.NoError(s.T, err)
	require.True(s.T, r.Quiesced)
	return r
}

// stream is a response that a test reads line by line.
type stream struct {
	t    testing.TB
	body io.ReadCloser
	text *bufio.Reader
}

// open sends a request and returns its response as a stream.
func (s *station) open(c *http.Client, r *http.Request) *stream {
	s.T.Helper()
	response, err := c.Do(r) //nolint:bodyclose // closed by the cleanup
	require.NoError(s.T, err)
	require.Equal(s.T, http.StatusOK, response.StatusCode)
	s.T.Cleanup(func() { _ = response.Body.Close() })
	return &stream{t: s.T, body: response.Body, text: bufio.NewReader(response.Body)}
}

func (w *stream) requireLine(want string) {
	w.t.Helper()
	line, err := w.text.ReadString('\n')
	require.NoError(w.t, err)
	require.Equal(w.t, want+"\n", line)
}

// requireCut requires that the response ends, and not as whole ones do.
func (w *stream) requireCut() {
	w.t.Helper()
	_, err := io.ReadAll(w.text)
	require.Error(w.t, err, "the response ended as if it were whole")
}

func (w *stream) requireWhole() {
	w.t.Helper()
	_, err := io.ReadAll(w.text)
	require.NoError(w.t, err)
}

// await takes a value that has to come.
func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.Fail(t, "it did not come")
		panic("unreachable")
	}
}

// certificateOf returns the certificate of a client as the gateway sees it.
func certificateOf(t testing.TB, pair tls.Certificate) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	return cert
}

var _ http.Handler = (*gateway.Gateway)(nil)
var _ = httpapi.NewServer
