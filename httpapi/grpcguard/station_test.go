package grpcguard_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what comes soon, and has to come.
const patience = 10 * time.Second

// The methods of the test service.
const (
	get     = "/test.Orders/Get"     // unary
	amend   = "/test.Orders/Amend"   // unary, in mode Execute
	unruled = "/test.Orders/Unruled" // unary, without a rule
	watch   = "/test.Orders/Watch"   // server-streaming
	upload  = "/test.Orders/Upload"  // client-streaming
	chat    = "/test.Orders/Chat"    // in both directions; the order is in the metadata
)

type text = wrapperspb.StringValue

// service has the handlers of a test.
type service struct {
	unary  func(ctx context.Context, in string) (string, error)
	stream func(in string, s grpc.ServerStream) error
}

// desc describes the service as generated code does.
func desc() *grpc.ServiceDesc {
	d := &grpc.ServiceDesc{ServiceName: "test.Orders", HandlerType: (*any)(nil)}
	for _, name := range []string{"Get", "Amend", "Unruled"} {
		d.Methods = append(d.Methods, grpc.MethodDesc{MethodName: name, Handler: func(srv any, ctx context.Context, decode func(any) error, inner grpc.UnaryServerInterceptor) (any, error) {
			in := new(text)
			if err := decode(in); err != nil {
				return nil, err
			}
			info := &grpc.UnaryServerInfo{Server: srv, FullMethod: "/test.Orders/" + name}
			return inner(ctx, in, info, func(ctx context.Context, in any) (any, error) {
				out, err := srv.(*service).unary(ctx, in.(*text).GetValue())
				return wrapperspb.String(out), err
			})
		}})
	}
	direct := func(srv any, s grpc.ServerStream) error { return srv.(*service).stream("", s) }
	first := func(srv any, s grpc.ServerStream) error {
		in := new(text)
		if err := s.RecvMsg(in); err != nil {
			return err
		}
		return srv.(*service).stream(in.GetValue(), s)
	}
	d.Streams = []grpc.StreamDesc{
		{StreamName: "Watch", Handler: first, ServerStreams: true},
		{StreamName: "Upload", Handler: direct, ClientStreams: true},
		{StreamName: "Chat", Handler: direct, ClientStreams: true, ServerStreams: true},
	}
	return d
}

// orderOf takes the order from the message, or from the metadata.
func orderOf(ctx context.Context, _ string, message any) (string, map[string]any, error) {
	id := ""
	if message == nil {
		id = strings.Join(metadata.ValueFromIncomingContext(ctx, "order"), "")
	} else {
		id = message.(*text).GetValue()
	}
	switch id {
	case "malformed":
		return "", nil, errors.New("a secret")
	case "missing":
		return "", nil, status.Error(codes.NotFound, "no such kind of order")
	}
	return "orders/" + id, map[string]any{"amount": 1}, nil
}

func rules() map[string]grpcguard.Rule {
	return map[string]grpcguard.Rule{
		get:    {Action: "orders:read", ResourceOf: orderOf},
		amend:  {Action: "orders:write", ResourceOf: orderOf, Mode: httpapi.Execute},
		watch:  {Action: "orders:watch", ResourceOf: orderOf},
		upload: {Action: "orders:watch", Resource: "orders/1"},
		chat:   {Action: "orders:watch", ResourceOf: orderOf},
	}
}

// station is a guarded gRPC server. When its test is over, no operation may be left.
type station struct {
	*servertest.Server
	service  *service
	guard    *grpcguard.Guard
	server   *grpc.Server
	address  string
	also     *grpc.ServiceDesc // another service; nil for none
	underWay uint64            // the revision of the newest update
}

// transport is one of the ways to serve.
type transport struct {
	name  string
	start func(*station, []grpc.ServerOption, ...func(*httpapi.ServerOptions))
}

var transports = []transport{{"native", (*station).serveNative}, {"http", (*station).serveHTTP}}

// onBoth runs a test with each transport.
func onBoth(t *testing.T, test func(*testing.T, *station, transport)) {
	for _, way := range transports {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t, rules())
			s.start(way)
			test(t, s, way)
		})
	}
}

func newStation(t *testing.T, rules map[string]grpcguard.Rule) *station {
	t.Helper()
	s := &station{Server: servertest.New(t, "../../testdata/guard-policy.yaml"), service: &service{}}
	var err error
	s.guard, err = grpcguard.New(grpcguard.Options{Engine: s.Engine, Connections: s.Connections, Rules: rules, Logger: s.Log.Logger()})
	require.NoError(t, err)
	return s
}

// start starts the server. The interceptors are outside the guard.
func (s *station) start(way transport, outside ...grpc.StreamServerInterceptor) {
	streams := append([]grpc.StreamServerInterceptor{recoverStream}, append(outside, s.guard.Stream)...)
	way.start(s, []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(recoverUnary, s.guard.Unary), grpc.ChainStreamInterceptor(streams...),
	}, func(o *httpapi.ServerOptions) { o.ReadTimeout, o.WriteTimeout = time.Hour, time.Hour })
	s.T.Cleanup(s.requireNoLeases)
}

func recoverUnary(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
	defer func() {
		if recover() != nil {
			err = status.Error(codes.Internal, "recovered")
		}
	}()
	return next(ctx, in)
}

func recoverStream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer func() {
		if recover() != nil {
			err = status.Error(codes.Internal, "recovered")
		}
	}()
	return next(srv, s)
}

func (s *station) serveNative(options []grpc.ServerOption, _ ...func(*httpapi.ServerOptions)) {
	s.T.Helper()
	config := s.ServerOptions(nil).TLS
	s.register(append(options, grpc.Creds(credentials.NewTLS(config))))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.T, err)
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(listener) }()
	s.T.Cleanup(func() {
		s.server.Stop()
		require.NoError(s.T, <-ended)
	})
	s.address = listener.Addr().String()
}

func (s *station) serveHTTP(options []grpc.ServerOption, alter ...func(*httpapi.ServerOptions)) {
	s.T.Helper()
	s.register(options)
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "not gRPC") })
	s.Serve(grpcguard.Handler(s.server, next), alter...)
	s.T.Cleanup(s.server.Stop)
	s.address = strings.TrimPrefix(s.URL, "https://")
}

func (s *station) register(options []grpc.ServerOption) {
	s.server = grpc.NewServer(options...)
	s.server.RegisterService(desc(), s.service)
	if s.also != nil {
		s.server.RegisterService(s.also, nil)
	}
	require.NoError(s.T, s.guard.Check(s.server))
}

// dial connects with the certificate, or with none.
func (s *station) dial(chain ...tls.Certificate) *grpc.ClientConn {
	s.T.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.Authority.Pool(), ServerName: "127.0.0.1", Certificates: chain}
	conn, err := grpc.NewClient("passthrough:///"+s.address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as connects with a certificate for the name.
func (s *station) as(name string) *grpc.ClientConn {
	s.T.Helper()
	return s.dial(s.Issue("spiffe://interlock.test/" + name))
}

// call makes a unary call.
func call(conn *grpc.ClientConn, method, in string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out := new(text)
	err := conn.Invoke(ctx, method, wrapperspb.String(in), out)
	return out.GetValue(), err
}

// open opens a stream about an order. It is canceled when the test ends.
func (s *station) open(conn *grpc.ClientConn, method, order string) grpc.ClientStream {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "order", order), 2*patience)
	s.T.Cleanup(cancel)
	return s.openWith(ctx, conn, method, order)
}

func (s *station) openWith(ctx context.Context, conn *grpc.ClientConn, method, order string) grpc.ClientStream {
	s.T.Helper()
	client, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: method != upload, ClientStreams: method != watch}, method)
	require.NoError(s.T, err)
	if method == watch {
		require.NoError(s.T, client.SendMsg(wrapperspb.String(order)))
		require.NoError(s.T, client.CloseSend())
	}
	return client
}

func receive(from interface{ RecvMsg(any) error }) (string, error) {
	m := new(text)
	err := from.RecvMsg(m)
	return m.GetValue(), err
}

func send(to interface{ SendMsg(any) error }, value string) error {
	return to.SendMsg(wrapperspb.String(value))
}

// requireReceived receives a message.
func requireReceived(t testing.TB, from grpc.ClientStream, want string) {
	t.Helper()
	got, err := receive(from)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// requireCode finds the code and the ErrorInfo of the guard, whose reason is empty for none.
func requireCode(t testing.TB, err error, code codes.Code, reason string) *errdetails.ErrorInfo {
	t.Helper()
	s := status.Convert(err)
	require.Equal(t, code.String(), s.Code().String(), "%v", err)
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			require.Equal(t, reason, info.GetReason(), "%v", err)
			require.Equal(t, grpcguard.Domain, info.GetDomain())
			return info
		}
	}
	require.Empty(t, reason, "%v has no ErrorInfo", err)
	return nil
}

func requireRevoked(t testing.TB, err error) *errdetails.ErrorInfo {
	t.Helper()
	return requireCode(t, err, codes.PermissionDenied, grpcguard.ReasonRevoked)
}

func who(name string) policy.Principal {
	return policy.MustPrincipal("spiffe://interlock.test/" + name)
}

func (s *station) leases() []actors.LeaseInfo {
	s.T.Helper()
	leases, err := s.Engine.Leases(context.Background(), policy.Principal{})
	require.NoError(s.T, err)
	return leases
}

func (s *station) requireNoLeases() {
	s.T.Helper()
	require.Eventually(s.T, func() bool { return len(s.leases()) == 0 }, patience, time.Millisecond, "every operation ends")
}

// outcome is what an update came to.
type outcome struct {
	actors.Receipt
	err error
}

// revoke takes a role from a principal in the background.
func (s *station) revoke(name, role string) <-chan outcome {
	return s.update(policy.RevokeRole(policy.Grant{Principal: who(name), Role: role}))
}

func (s *station) update(changes ...policy.Change) <-chan outcome {
	s.underWay = s.Engine.Revision() + 1
	done := make(chan outcome, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		r, err := s.Engine.Update(ctx, actors.Update{Changes: changes})
		done <- outcome{r, err}
	}()
	return done
}

func requireQuiesced(t testing.TB, update <-chan outcome) actors.Receipt {
	t.Helper()
	o := await(t, update)
	require.NoError(t, o.err)
	require.True(t, o.Quiesced)
	return o.Receipt
}

// requireRunning finds that the update under way still waits for a number of operations.
func (s *station) requireRunning(n int) {
	s.T.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	require.Eventually(s.T, func() bool {
		receipt, err := s.Engine.Receipt(over, s.underWay)
		return errors.Is(err, actors.ErrNotQuiesced) && len(receipt.Running) == n
	}, patience, time.Millisecond, "an update that waits for %d operations", n)
}

// await takes a value that has to come.
func await[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(2 * patience):
		require.Fail(t, "it did not come")
		panic("unreachable")
	}
}
