package extauthz_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/certs/devca"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/extauthz"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for an event that has to come, and comes soon.
const patience = 10 * time.Second

// station is a listener for Envoy, and an Envoy that asks.
type station struct {
	*servertest.Server
	server  *extauthz.Server
	ingress tls.Certificate
	envoy   authv3.AuthorizationClient
}

var orders = []routes.Route{
	{Methods: []string{"GET"}, Path: "/orders/{id:.*}", Action: "orders:read", Resource: "orders/{id...}"},
	{
		Methods: []string{"PUT"}, Path: "/orders/{id}", Action: "orders:write", Resource: "orders/{id}",
		Properties: map[string]routes.Source{"amount": {Header: "Order-Amount", Type: "number"}},
	},
	{Host: "{tenant}.example", Path: "/{id}", Action: "orders:read", Resource: "{tenant}/{id}"},
}

func newStation(t *testing.T, header string) *station {
	t.Helper()
	s := &station{Server: servertest.New(t, "policy.yaml")}
	anchors, err := certs.LoadTrustAnchors(certs.Binding{File: filepath.Join(s.Dir, "ca", devca.CertFile)})
	require.NoError(t, err)
	s.Connections.Use(new(certs.Identifier).Under(anchors))
	s.server, err = extauthz.New(extauthz.Options{
		Engine: s.Engine, Connections: s.Connections, Header: header, Routes: orders, Logger: s.Log.Logger(),
	})
	require.NoError(t, err)
	t.Cleanup(s.server.Close)
	s.serve(s.server, header)
	s.ingress = s.Issue("spiffe://interlock.test/ingress")
	s.envoy = s.dial(s.ingress)
	return s
}

// serve starts a listener for proxies.
func (s *station) serve(server *extauthz.Server, header string) {
	s.T.Helper()
	reader, err := forwarded.NewReader(forwarded.Envoy, header)
	require.NoError(s.T, err)
	other := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	s.Serve(server.Handler(other), func(o *httpapi.ServerOptions) {
		o.Proxied = &httpapi.Proxied{Reader: reader, Proxies: []policy.Principal{who("ingress")}}
	})
}

// dial connects as the peer with the certificate.
func (s *station) dial(certificates ...tls.Certificate) authv3.AuthorizationClient {
	s.T.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.Authority.Pool(), Certificates: certificates}
	conn, err := grpc.NewClient(strings.TrimPrefix(s.URL, "https://"), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}

// question asks about a request as Envoy does. The headers have the client's certificate or another
// one; source is the certificate of the attribute.
func question(source, xfcc *tls.Certificate, method, host, path string, headers ...string) *authv3.CheckRequest {
	all := map[string]string{":method": method, ":path": path, ":authority": host, "user-agent": "test"}
	if xfcc != nil {
		_, all["x-forwarded-client-cert"] = servertest.Spelled[forwarded.Envoy](xfcc)
	}
	for i := 0; i < len(headers); i += 2 {
		all[headers[i]] = headers[i+1]
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source:  &authv3.AttributeContext_Peer{Certificate: servertest.EscapedPEM(source)},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: method, Host: host, Path: path, Headers: all}},
	}}
}

func (s *station) check(from authv3.AuthorizationClient, q *authv3.CheckRequest) *authv3.CheckResponse {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := from.Check(ctx, q)
	require.NoError(s.T, err)
	require.NoError(s.T, got.ValidateAll())
	return got
}

func (s *station) requireAllowed(q *authv3.CheckRequest, name string) *authv3.OkHttpResponse {
	s.T.Helper()
	got := s.check(s.envoy, q)
	require.EqualValues(s.T, codes.OK, got.GetStatus().GetCode(), got)
	require.NotNil(s.T, got.GetOkResponse())
	want := map[string]string{httpapi.PrincipalHeader: "spiffe://interlock.test/" + name}
	require.Equal(s.T, want[httpapi.PrincipalHeader], headersOf(got.GetOkResponse().GetHeaders())[httpapi.PrincipalHeader])
	require.Equal(s.T, "spiffe://interlock.test/"+name, got.GetDynamicMetadata().AsMap()["principal"])
	require.EqualValues(s.T, s.Engine.Revision(), got.GetDynamicMetadata().AsMap()["revision"])
	return got.GetOkResponse()
}

func (s *station) requireDenied(from authv3.AuthorizationClient, q *authv3.CheckRequest, httpStatus int, name string) {
	s.T.Helper()
	got := s.check(from, q)
	code := codes.PermissionDenied
	if httpStatus == 401 {
		code = codes.Unauthenticated
	}
	require.EqualValues(s.T, code, got.GetStatus().GetCode(), got)
	denied := got.GetDeniedResponse()
	require.NotNil(s.T, denied)
	require.EqualValues(s.T, httpStatus, denied.GetStatus().GetCode(), denied)
	require.Equal(s.T, "application/problem+json", headersOf(denied.GetHeaders())["Content-Type"])
	var problem struct{ Type string }
	require.NoError(s.T, json.Unmarshal([]byte(denied.GetBody()), &problem))
	require.Equal(s.T, "urn:interlock:problem:"+name, problem.Type)
	require.Nil(s.T, got.GetDynamicMetadata())
}

func headersOf(options []*corev3.HeaderValueOption) map[string]string {
	all := map[string]string{}
	for _, o := range options {
		if o.GetAppendAction() == corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			all[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
		}
	}
	return all
}

func (s *station) update(changes ...policy.Change) {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := s.Engine.Update(ctx, actors.Update{Changes: changes})
	require.NoError(s.T, err)
	require.True(s.T, r.Quiesced)
}

func (s *station) revocationOf(cert tls.Certificate) policy.Change {
	s.T.Helper()
	id, err := policy.ByFingerprint(servertest.FingerprintOf(cert))
	require.NoError(s.T, err)
	return policy.RevokeCertificate(id, "lost")
}

func TestChecks(t *testing.T) {
	s := newStation(t, "")
	alice, carol := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/carol")
	for name, from := range map[string]func(c *tls.Certificate, method, host, path string) *authv3.CheckRequest{
		"attribute": func(c *tls.Certificate, m, h, p string) *authv3.CheckRequest { return question(c, nil, m, h, p) },
		"header":    func(c *tls.Certificate, m, h, p string) *authv3.CheckRequest { return question(nil, c, m, h, p) },
		"both":      func(c *tls.Certificate, m, h, p string) *authv3.CheckRequest { return question(c, c, m, h, p) },
	} {
		t.Run(name, func(t *testing.T) {
			ok := s.requireAllowed(from(&alice, "GET", "shop.test", "/orders/1?x=a%2Fb"), "alice")
			require.Equal(t, "1", headersOf(ok.GetHeaders())[httpapi.RevisionHeader])
			s.requireAllowed(from(&alice, "POST", "acme.example:443", "/7"), "alice")
			s.requireDenied(s.envoy, from(&alice, "POST", "other.example", "/7"), 403, "denied")
			s.requireDenied(s.envoy, from(&carol, "GET", "shop.test", "/orders/1"), 403, "denied")
			s.requireDenied(s.envoy, from(&alice, "DELETE", "shop.test", "/orders/1"), 403, "no-route")
			s.requireDenied(s.envoy, from(nil, "GET", "shop.test", "/orders/1"), 401, "no-identity")
			for _, path := range []string{"/orders/a%2Fb", "/orders/4%32", "/orders/../1", "/orders/a;b", "/orders/a{b", "/orders/a#b", "orders/1", ""} {
				s.requireDenied(s.envoy, from(&alice, "GET", "shop.test", path), 400, "path")
			}
		})
	}
	s.requireDenied(s.envoy, &authv3.CheckRequest{}, 400, "path")
	require.Equal(t, http.StatusTeapot, s.Send(s.Client(servertest.HTTP2, s.ingress), s.Request(http.MethodGet, "/x", "")).StatusCode)
}

// TestOnlyProxiesAreBelieved: neither the attribute nor the header counts from another peer.
func TestOnlyProxiesAreBelieved(t *testing.T) {
	s := newStation(t, "")
	alice := s.Issue("spiffe://interlock.test/alice")
	for _, peer := range []authv3.AuthorizationClient{s.dial(), s.dial(alice), s.dial(s.Issue("spiffe://interlock.test/other"))} {
		s.requireDenied(peer, question(&alice, nil, "GET", "shop.test", "/orders/1"), 401, "no-identity")
		s.requireDenied(peer, question(nil, &alice, "GET", "shop.test", "/orders/1"), 401, "no-identity")
	}
	// On a listener that is not for proxies no peer is believed, whoever it is.
	s.Serve(s.server.Handler(nil))
	s.requireDenied(s.dial(s.ingress), question(&alice, nil, "GET", "shop.test", "/orders/1"), 401, "no-identity")
}

func TestCertificatesAreVerified(t *testing.T) {
	s := newStation(t, "")
	alice, bob := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob")
	stranger := s.IssueBy(s.NewAuthority("other"), servertest.ClientLeaf("alice"))
	for name, q := range map[string]*authv3.CheckRequest{
		"another CA, attribute": question(&stranger, nil, "GET", "shop.test", "/orders/1"),
		"another CA, header":    question(nil, &stranger, "GET", "shop.test", "/orders/1"),
		"two clients":           question(&bob, &alice, "GET", "shop.test", "/orders/1"),
		"two elements": question(nil, nil, "GET", "shop.test", "/orders/1",
			"x-forwarded-client-cert", forwardedBy(&alice)+","+forwardedBy(&alice)),
		"no certificate": question(nil, nil, "GET", "shop.test", "/orders/1", "x-forwarded-client-cert", "URI=spiffe://interlock.test/alice"),
	} {
		t.Run(name, func(t *testing.T) { s.requireDenied(s.envoy, q, 401, "no-identity") })
	}
	for _, text := range []string{"x", servertest.EscapedPEM(&alice) + servertest.EscapedPEM(&bob), servertest.EscapedPEM(&alice) + "x"} {
		q := question(nil, &alice, "GET", "shop.test", "/orders/1")
		q.Attributes.Source.Certificate = text
		s.requireDenied(s.envoy, q, 401, "no-identity")
	}
}

func forwardedBy(c *tls.Certificate) string {
	_, text := servertest.Spelled[forwarded.Envoy](c)
	return text
}

// TestIdentityHeadersAreRemoved: neither the upstream nor a property sees them.
func TestIdentityHeadersAreRemoved(t *testing.T) {
	s := newStation(t, "X-Own")
	alice := s.Issue("spiffe://interlock.test/alice")
	q := question(&alice, nil, "PUT", "shop.test", "/orders/1", "order-amount", "1", "x-own", forwardedBy(&alice),
		"client-cert", "forged", "x-ssl-client-verify", "forged", "interlock-principal", "forged", "interlock-other", "forged", "x_spiffe_id", "forged")
	ok := s.requireAllowed(q, "alice")
	require.Equal(t, []string{"client-cert", "interlock-other", "x-own", "x-ssl-client-verify", "x_spiffe_id"}, ok.GetHeadersToRemove())
	require.NoError(t, s.server.Use([]routes.Route{{
		Path: "/orders/{id}", Action: "orders:write", Resource: "orders/{id}",
		Properties: map[string]routes.Source{"amount": {Header: "Interlock-Amount", Type: "number"}},
	}}))
	s.requireDenied(s.envoy, question(&alice, nil, "PUT", "shop.test", "/orders/1", "interlock-amount", "1"), 403, "denied")
}

func TestHeadersOfTheRequest(t *testing.T) {
	s := newStation(t, "")
	alice := s.Issue("spiffe://interlock.test/alice")
	for amount, status := range map[string]int{"1000": 403, "many": 400, "1,2": 400} {
		name := map[int]string{403: "denied", 400: "malformed-property"}[status]
		s.requireDenied(s.envoy, question(&alice, nil, "PUT", "shop.test", "/orders/1", "order-amount", amount), status, name)
	}
	raw := question(nil, nil, "PUT", "shop.test", "/orders/1")
	raw.Attributes.Request.Http.Headers = nil
	raw.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: "x-forwarded-client-cert", RawValue: []byte(forwardedBy(&alice))}, {Key: "order-amount", RawValue: []byte("1")},
	}}
	s.requireAllowed(raw, "alice")
	raw.Attributes.Request.Http.HeaderMap.Headers = append(raw.Attributes.Request.Http.HeaderMap.Headers,
		&corev3.HeaderValue{Key: "x-forwarded-client-cert", RawValue: []byte(forwardedBy(&alice))})
	s.requireDenied(s.envoy, raw, 401, "no-identity")
}

func TestRevocations(t *testing.T) {
	s := newStation(t, "")
	alice, bob, again := s.Issue("spiffe://interlock.test/alice"), s.Issue("spiffe://interlock.test/bob"), s.Issue("spiffe://interlock.test/alice")
	about := func(c *tls.Certificate) *authv3.CheckRequest {
		return question(c, nil, "GET", "shop.test", "/orders/1")
	}
	s.requireAllowed(about(&alice), "alice")
	s.requireAllowed(about(&bob), "bob")
	s.update(policy.RevokeRole(policy.Grant{Principal: who("bob"), Role: "reader"}))
	s.requireDenied(s.envoy, about(&bob), 403, "denied")
	s.update(s.revocationOf(alice))
	s.requireDenied(s.envoy, about(&alice), 401, "credential-revoked")
	s.requireAllowed(about(&again), "alice")
	s.update(s.revocationOf(s.ingress))
	s.requireDenied(s.dial(s.ingress), about(&again), 401, "credential-revoked")
}

// TestAnUndecidedQuestionIsDenied: an error of gRPC would be let through by failure_mode_allow.
func TestAnUndecidedQuestionIsDenied(t *testing.T) {
	s := newStation(t, "")
	alice := s.Issue("spiffe://interlock.test/alice")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, s.Engine.Close(ctx))
	s.requireDenied(s.envoy, question(&alice, nil, "GET", "shop.test", "/orders/1"), 503, "closed")
}

// TestAPanicIsDenied: grpc does not recover.
func TestAPanicIsDenied(t *testing.T) {
	s := newStation(t, "")
	alice := s.Issue("spiffe://interlock.test/alice")
	broken, err := extauthz.New(extauthz.Options{Connections: s.Connections, Routes: orders, Logger: s.Log.Logger()}) // without an engine
	require.NoError(t, err)
	t.Cleanup(broken.Close)
	s.serve(broken, "")
	q := question(&alice, nil, "GET", "shop.test", "/orders/1")
	s.requireDenied(s.dial(s.ingress), q, 500, "internal")
	require.NotContains(t, s.check(s.dial(s.ingress), q).GetDeniedResponse().GetBody(), "panicked")
}

func TestLargeQuestionsAreNotRead(t *testing.T) {
	s := newStation(t, "")
	q := question(nil, nil, "GET", "shop.test", "/orders/1")
	q.Attributes.Request.Http.Body = strings.Repeat("x", 300<<10)
	_, err := s.envoy.Check(t.Context(), q)
	require.Equal(t, codes.ResourceExhausted, status.Code(err))
}

func TestFaultyRoutes(t *testing.T) {
	s := newStation(t, "")
	faulty := []routes.Route{{Path: "/orders", Action: "orders:read", Resource: "orders/{id}"}}
	require.ErrorContains(t, s.server.Use(faulty), `no variable "id"`)
	_, err := extauthz.New(extauthz.Options{Engine: s.Engine, Connections: s.Connections, Routes: faulty})
	require.ErrorIs(t, err, policy.ErrInvalid)
	alice := s.Issue("spiffe://interlock.test/alice")
	s.requireAllowed(question(&alice, nil, "GET", "shop.test", "/orders/1"), "alice")
}
