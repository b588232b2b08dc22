package forwardauth_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwardauth"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for an event that has to come, and comes soon.
const patience = 10 * time.Second

// station is a listener for proxies that ask, and one of the proxies.
type station struct {
	*servertest.Server
	format  forwarded.Format
	handler *forwardauth.Handler
	ingress tls.Certificate
	proxy   *http.Client
}

// orders are the routes of the tests.
var orders = []routes.Route{
	{Methods: []string{"GET", "HEAD"}, Path: "/orders/{id:.*}", Action: "orders:read", Resource: "orders/{id...}"},
	{
		Methods: []string{"PUT"}, Path: "/orders/{id}", Action: "orders:write", Resource: "orders/{id}",
		Properties: map[string]routes.Source{"amount": {Header: "Order-Amount", Type: "number"}},
	},
	{Host: "{tenant}.example", Path: "/{id}", Action: "orders:read", Resource: "{tenant}/{id}"},
}

// formats are those that ask by forward authentication, with the headers of the original request.
var formats = map[forwarded.Format][3]string{
	forwarded.Nginx:   {"X-Original-Method", "X-Original-Host", "X-Original-URI"},
	forwarded.HAProxy: {"X-Original-Method", "X-Original-Host", "X-Original-URI"},
	forwarded.RFC9440: {"X-Original-Method", "X-Original-Host", "X-Original-URI"},
	forwarded.Caddy:   {"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"},
	forwarded.Traefik: {"X-Forwarded-Method", "X-Forwarded-Host", "X-Forwarded-Uri"},
}

func newStation(t *testing.T, format forwarded.Format, wire servertest.Wire) *station {
	t.Helper()
	s := &station{Server: servertest.New(t, "policy.yaml"), format: format}
	anchors, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(s.Dir, "ca", devca.CertFile)})
	require.NoError(t, err)
	s.Connections.Use(new(certs.Identifier).Under(anchors))
	s.handler, err = forwardauth.New(forwardauth.Options{
		Engine: s.Engine, Identifier: s.Connections, Format: format, Routes: orders, Logger: s.Log.Logger(),
	})
	require.NoError(t, err)
	reader, err := forwarded.NewReader(format, "")
	require.NoError(t, err)
	s.Serve(s.handler, func(o *httpapi.ServerOptions) {
		o.Proxied = &httpapi.Proxied{Reader: reader, Proxies: []policy.Principal{who("ingress")}}
	})
	s.Describe(openapi.Callers())
	s.ingress = s.Issue("spiffe://interlock.test/ingress")
	s.proxy = s.Client(wire, s.ingress)
	return s
}

// question is a request that asks about one of the client, as the proxy sends it; nil is a client
// without a certificate.
func (s *station) question(client *tls.Certificate, method, host, uri string) *http.Request {
	s.T.Helper()
	r := s.Request(http.MethodGet, forwardauth.Path, "")
	if name, value := servertest.Spelled[s.format](client); value != "" {
		r.Header.Set(name, value)
	}
	for i, value := range []string{method, host, uri} {
		r.Header.Set(formats[s.format][i], value)
	}
	return r
}

func (s *station) ask(client *tls.Certificate, method, uri string) servertest.Reply {
	s.T.Helper()
	return s.Send(s.proxy, s.question(client, method, "shop.test", uri))
}

// requireRefused requires a problem. Format nginx gets a 403 for those that it does not understand.
func (s *station) requireRefused(got servertest.Reply, status int, name string) {
	s.T.Helper()
	sent := status
	if s.format == forwarded.Nginx && status != 401 {
		sent = 403
	}
	require.Equal(s.T, sent, got.StatusCode, got.Text)
	require.Equal(s.T, "application/problem+json", got.Header.Get("Content-Type"))
	require.Contains(s.T, got.Text, `"urn:interlock:problem:`+name+`"`)
	require.Empty(s.T, got.Header.Get(httpapi.PrincipalHeader))
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}

func (s *station) update(changes ...policy.Change) actors.Receipt {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := s.Engine.Update(ctx, actors.Update{Changes: changes})
	require.NoError(s.T, err)
	require.True(s.T, r.Quiesced)
	return r
}

func (s *station) revocationOf(cert tls.Certificate) policy.Change {
	s.T.Helper()
	id, err := policy.ByFingerprint(servertest.FingerprintOf(cert))
	require.NoError(s.T, err)
	return policy.RevokeCertificate(id, "lost")
}
