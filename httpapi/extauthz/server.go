package extauthz

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/forwarded"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// DefaultHeader is the header with the client's certificate.
const DefaultHeader = "X-Forwarded-Client-Cert"

// maxMessage bounds a request of the service in bytes. Envoy sends no body unless it is configured to.
const maxMessage = 256 << 10

// Options of [New].
type Options struct {
	// Engine decides. It is required.
	Engine *actors.Engine
	// Connections identifies callers. It is required, and that of the listener.
	Connections *httpapi.Connections
	// Header is the header that the Reader of the listener reads. Empty is DefaultHeader.
	Header string
	// Routes are tried in this order. The first one that matches a request decides.
	Routes []routes.Route
	// Logger is slog.Default by default.
	Logger *slog.Logger
}

// Server implements [authv3.AuthorizationServer]. Make one with [New]. It is safe for concurrent
// use. The caller closes it.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	connections *httpapi.Connections
	decider     *routes.Decider
	header      string            // in canonical form
	certificate *forwarded.Reader // of attributes.source.certificate
	service     *grpc.Server
}

// New makes a server. The error lists all faults of the routes and wraps [policy.ErrInvalid].
//
// [policy.ErrInvalid]: https://pkg.go.dev/github.com/interlock-authz/interlock/actors/policy#ErrInvalid
func New(o Options) (*Server, error) {
	decider, err := routes.NewDecider(routes.DeciderOptions{Engine: o.Engine, Identifier: known{}, Routes: o.Routes, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	// nginx writes only the leaf, in the same encoding as Envoy.
	certificate, err := forwarded.NewReader(forwarded.Nginx, attribute)
	if err != nil {
		return nil, err
	}
	s := &Server{
		connections: o.Connections, decider: decider, certificate: certificate,
		header:  http.CanonicalHeaderKey(cmp.Or(o.Header, DefaultHeader)),
		service: grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage)),
	}
	authv3.RegisterAuthorizationServer(s.service, s)
	return s, nil
}

// Use replaces the routes for all later requests, or returns the error of [New] and changes nothing.
func (s *Server) Use(all []routes.Route) error { return s.decider.Use(all) }

// Handler serves the service, and all requests that are not gRPC with next; nil for none. It is a
// handler for [httpapi.NewServer]: see [grpcguard.Handler].
func (s *Server) Handler(next http.Handler) http.Handler { return grpcguard.Handler(s.service, next) }

// Close ends the service. Shut the HTTP server down first.
func (s *Server) Close() { s.service.Stop() }

// Check implements [authv3.AuthorizationServer]. What cannot be decided is denied, without an error.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	q := newQuestion(ctx, in)
	removed := q.removeIdentities(s.header)
	return s.decide(q).response(removed)
}

// decide answers the question. It denies if it panics: grpc would end the process.
func (s *Server) decide(q *question) (a *answer) {
	defer func() {
		if v := recover(); v != nil {
			a = newAnswer()
			httpapi.WriteProblem(a, q.base, fmt.Errorf("the decision panicked: %v\n%s", v, debug.Stack()))
		}
	}()
	a = newAnswer()
	asked, err := q.request(s.identify)
	if err != nil {
		httpapi.WriteProblem(a, q.base, err)
		return a
	}
	s.decider.ServeHTTP(a, asked)
	return a
}
