package grpcguard_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
)

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := grpcguard.New(grpcguard.Options{Rules: map[string]grpcguard.Rule{
		"test.Orders/Get": {Action: "orders:read", Resource: "orders/1"},
		"/test.Orders":    {Action: "orders:read", Resource: "orders/1"},
		"/a/b/c":          {Action: "orders:read", Resource: "orders/1"},
		"/test.Orders/1":  {Action: "", Resource: "orders/1"},
		"/test.Orders/2":  {Action: "orders:read"},
		"/test.Orders/3":  {Action: "orders:read", Resource: "orders/1", ResourceOf: orderOf},
		"/test.Orders/4":  {Action: "orders:read", Resource: "orders/1", Mode: 7},
		"/test.Orders/5":  {Action: "orders:read", Resource: "orders/1", Grace: new(-time.Second)},
		"/test.Orders/6":  {Action: "orders:read", Resource: "orders/1", Grace: new(time.Second), Mode: httpapi.Execute},
	}})
	require.Error(t, err)
	for _, part := range []string{"engine", `"test.Orders/Get"`, `"/test.Orders"`, `"/a/b/c"`, "Orders/1", "Orders/2", "Orders/3", "Orders/4", "Orders/5", "Orders/6"} {
		require.ErrorContains(t, err, part)
	}
}

func TestCheckComparesRulesWithServices(t *testing.T) {
	t.Parallel()
	all := rules()
	all["/test.Orders/Gte"] = all[get]
	all[chat] = grpcguard.Rule{Action: "orders:watch", Resource: "orders/1", Mode: httpapi.Execute}
	s := newStation(t, all)
	server := grpc.NewServer()
	server.RegisterService(desc(), s.service)
	err := s.guard.Check(server)
	require.ErrorContains(t, err, "Gte")
	require.ErrorContains(t, err, chat)
	require.NotContains(t, err.Error(), watch)
}

func TestG1_UnaryCalls(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		reached := make(chan string, 1)
		s.service.unary = func(ctx context.Context, in string) (string, error) {
			caller, ok := httpapi.CallerOf(ctx)
			if !ok {
				return "", errors.New("no caller")
			}
			if revision, ok := actors.RevisionOf(ctx); !ok || revision != s.Engine.Revision() {
				return "", errors.New("no revision")
			}
			reached <- in
			return caller.Principal.String(), nil
		}
		alice, bob, mallory, nobody := s.as("alice"), s.as("bob"), s.as("mallory"), s.dial()
		for _, method := range []string{get, amend} {
			got, err := call(alice, method, "1")
			require.NoError(t, err)
			require.Equal(t, "spiffe://interlock.test/alice", got)
			require.Equal(t, "1", await(t, reached))
		}
		got, err := call(bob, get, "1")
		require.NoError(t, err)
		require.Equal(t, "spiffe://interlock.test/bob", got, "another principal")
		require.Equal(t, "1", await(t, reached))

		for _, refused := range []struct {
			by         *grpc.ClientConn
			method, in string
			code       codes.Code
			reason     string
		}{
			{bob, amend, "1", codes.PermissionDenied, "DENIED"},
			{mallory, get, "1", codes.PermissionDenied, "DENIED"},
			{alice, unruled, "1", codes.PermissionDenied, "DENIED"},
			{nobody, get, "1", codes.Unauthenticated, "NO_IDENTITY"},
			{nobody, unruled, "1", codes.Unauthenticated, "NO_IDENTITY"},
			{alice, get, "malformed", codes.InvalidArgument, "MALFORMED_REQUEST"},
			{alice, get, "missing", codes.NotFound, ""},
			{alice, get, "\x00", codes.InvalidArgument, "MALFORMED_REQUEST"},
			{alice, "/test.Orders/None", "1", codes.Unimplemented, ""},
		} {
			_, err := call(refused.by, refused.method, refused.in)
			requireCode(t, err, refused.code, refused.reason)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "orders/")
		}
		require.Empty(t, reached)
	})
}

func TestG1_Streams(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		reached := make(chan string, 1)
		s.service.stream = func(in string, stream grpc.ServerStream) error {
			reached <- in
			caller, ok := httpapi.CallerOf(stream.Context())
			if !ok {
				return errors.New("no caller")
			}
			if _, ok := actors.RevisionOf(stream.Context()); !ok {
				return errors.New("no revision")
			}
			return send(stream, caller.Principal.String())
		}
		alice, bob, nobody := s.as("alice"), s.as("bob"), s.dial()
		for method, in := range map[string]string{watch: "2", upload: "", chat: ""} {
			client := s.open(alice, method, "2")
			requireReceived(t, client, "spiffe://interlock.test/alice")
			_, err := receive(client)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, in, await(t, reached))

			_, err = receive(s.open(nobody, method, "2"))
			requireCode(t, err, codes.Unauthenticated, "NO_IDENTITY")
		}
		for _, method := range []string{watch, chat} {
			_, err := receive(s.open(bob, method, "2"))
			requireCode(t, err, codes.PermissionDenied, "DENIED")
		}
		require.Empty(t, reached)
	})
}

// TestG1_NothingIsSentBeforeTheRequestIsReceived has a server-streaming handler that does not
// receive the request.
func TestG1_NothingIsSentBeforeTheRequestIsReceived(t *testing.T) {
	for _, way := range transports {
		s := newStation(t, map[string]grpcguard.Rule{"/test.Hasty/Watch": rules()[watch]})
		desc := &grpc.ServiceDesc{ServiceName: "test.Hasty", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
			StreamName: "Watch", ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				require.Error(t, send(stream, "hasty"))
				require.Error(t, stream.SendHeader(metadata.Pairs("hasty", "1")))
				return nil
			},
		}}}
		s.also = desc
		way.start(s, []grpc.ServerOption{grpc.StreamInterceptor(s.guard.Stream)})
		_, err := receive(s.openWith(context.Background(), s.as("alice"), "/test.Hasty/Watch", "1"))
		requireCode(t, err, codes.PermissionDenied, "")
	}
}

func TestTheErrorOfAHandlerPasses(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		full := status.New(codes.DataLoss, "lost it")
		full, err := full.WithDetails(wrapperspb.String("a detail"))
		require.NoError(t, err)
		s.service.unary = func(context.Context, string) (string, error) { return "", full.Err() }
		s.service.stream = func(string, grpc.ServerStream) error { return full.Err() }
		alice := s.as("alice")
		_, one := call(alice, get, "1")
		_, two := call(alice, amend, "1")
		_, three := receive(s.open(alice, watch, "1"))
		_, four := receive(s.open(alice, chat, "1"))
		for _, err := range []error{one, two, three, four} {
			got := status.Convert(err)
			require.Equal(t, codes.DataLoss, got.Code())
			require.Equal(t, "lost it", got.Message())
			require.Len(t, got.Details(), 1)
		}
	})
}

func TestDeadlineMetadataAndValuesStay(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		check := func(ctx context.Context) error {
			deadline, ok := ctx.Deadline()
			if !ok || time.Until(deadline) > time.Hour || time.Until(deadline) < time.Minute {
				return errors.New("another deadline")
			}
			if got := metadata.ValueFromIncomingContext(ctx, "order"); len(got) != 1 || got[0] != "1" {
				return errors.New("other metadata")
			}
			return grpc.SetHeader(ctx, metadata.Pairs("seen", "yes"))
		}
		s.service.unary = func(ctx context.Context, _ string) (string, error) { return "", check(ctx) }
		s.service.stream = func(_ string, stream grpc.ServerStream) error { return check(stream.Context()) }
		alice := s.as("alice")
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "order", "1"), time.Hour)
		defer cancel()
		for _, method := range []string{get, amend} {
			var header metadata.MD
			require.NoError(t, alice.Invoke(ctx, method, wrapperspb.String("1"), new(text), grpc.Header(&header)))
			require.Equal(t, []string{"yes"}, header.Get("seen"))
		}
		for _, method := range []string{watch, chat} {
			client := s.openWith(ctx, alice, method, "1")
			_, err := receive(client)
			require.ErrorIs(t, err, io.EOF)
			header, err := client.Header()
			require.NoError(t, err)
			require.Equal(t, []string{"yes"}, header.Get("seen"))
		}
	})
}

func TestAStreamEndsWithItsClientAndItsDeadline(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		ended, began := make(chan error, 1), make(chan struct{}, 1)
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			began <- struct{}{}
			_, err := receive(stream)
			<-stream.Context().Done()
			ended <- stream.Context().Err()
			return err
		}
		alice := s.as("alice")
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "order", "1"))
		s.openWith(ctx, alice, chat, "1")
		await(t, began)
		cancel()
		require.ErrorIs(t, await(t, ended), context.Canceled)
		s.requireNoLeases()

		ctx, cancel = context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "order", "1"), time.Second)
		defer cancel()
		client := s.openWith(ctx, alice, chat, "1")
		await(t, began)
		_, err := receive(client)
		requireCode(t, err, codes.DeadlineExceeded, "")
		require.Error(t, await(t, ended))
	})
}

func TestAPanicReleases(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		s.service.unary = func(context.Context, string) (string, error) { panic("a secret") }
		s.service.stream = func(string, grpc.ServerStream) error { panic("a secret") }
		alice := s.as("alice")
		_, err := call(alice, get, "1")
		requireCode(t, err, codes.Internal, "")
		_, err = receive(s.open(alice, watch, "1"))
		requireCode(t, err, codes.Internal, "")
		_, err = receive(s.open(alice, chat, "1"))
		requireCode(t, err, codes.Internal, "")
		s.requireNoLeases()
		_, err = call(alice, amend, "1")
		requireCode(t, err, codes.Internal, "INTERNAL")
		require.NotContains(t, err.Error(), "secret")
		require.Contains(t, s.Log.String(), "a secret")
		requireQuiesced(t, s.revoke("alice", "watcher-of-1"))
	})
}

func TestClosedEngineIsUnavailable(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		began := make(chan struct{})
		s.service.stream = func(_ string, stream grpc.ServerStream) error {
			close(began)
			_, err := receive(stream)
			return err
		}
		alice := s.as("alice")
		client := s.open(alice, chat, "1")
		await(t, began)
		soon, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Engine.Close(soon) // it cancels the stream
		_, err := receive(client)
		requireCode(t, err, codes.Unavailable, "CLOSED")
		_, err = call(alice, get, "1")
		requireCode(t, err, codes.Unavailable, "CLOSED")
	})
}

func TestAConnectionIsIdentifiedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		callers := make(chan *httpapi.Caller, 1)
		s.service.unary = func(ctx context.Context, _ string) (string, error) {
			caller, _ := httpapi.CallerOf(ctx)
			callers <- caller
			return "", nil
		}
		cert := s.Issue("spiffe://interlock.test/alice")
		one, two := s.dial(cert), s.dial(cert)
		callerOf := func(conn *grpc.ClientConn) *httpapi.Caller {
			_, err := call(conn, get, "1")
			require.NoError(t, err)
			return await(t, callers)
		}
		first := callerOf(one)
		runtime.GC()
		require.Same(t, first, callerOf(one))
		require.NotSame(t, first, callerOf(two), "another connection")

		s.Connections.Use(&certs.Identifier{})
		again := callerOf(one)
		require.NotSame(t, first, again, "another identifier")
		require.Same(t, again, callerOf(one))
	})
}

func TestMetadataIsNoIdentity(t *testing.T) {
	onBoth(t, func(t *testing.T, s *station, _ transport) {
		leaf := s.Issue("spiffe://interlock.test/alice")
		ctx := metadata.AppendToOutgoingContext(context.Background(),
			"x-forwarded-client-cert", "Hash="+servertest.FingerprintOf(leaf)+";URI=spiffe://interlock.test/alice",
			"x-request-id", "one")
		err := s.dial().Invoke(ctx, get, wrapperspb.String("1"), new(text))
		requireCode(t, err, codes.Unauthenticated, "NO_IDENTITY")
	})
}

func TestHandlerServesAllElseWithNext(t *testing.T) {
	s := newStation(t, rules())
	s.start(transports[1])
	c := s.As("alice")
	for _, contentType := range []string{"", "application/json", "application/grpc-web", "application/grpcs"} {
		r := s.Request(http.MethodPost, get, "")
		r.Header.Set("Content-Type", contentType)
		require.Equal(t, "not gRPC", s.Send(c, r).Text, contentType)
	}
	r := s.Request(http.MethodPost, get, "")
	r.Header.Set("Content-Type", "application/grpc")
	require.Equal(t, "not gRPC", s.Send(s.Client(servertest.HTTP1, s.Issue("spiffe://interlock.test/alice")), r).Text)
}

// TestHandlerLeavesStreamsTheirTime has a server whose timeouts are far shorter than its streams.
func TestHandlerLeavesStreamsTheirTime(t *testing.T) {
	t.Parallel()
	const timeout = 200 * time.Millisecond
	s := newStation(t, rules())
	s.service.stream = func(_ string, stream grpc.ServerStream) error {
		for {
			in, err := receive(stream)
			if err != nil {
				return nil
			}
			if err := send(stream, in); err != nil {
				return err
			}
		}
	}
	s.serveHTTP([]grpc.ServerOption{grpc.StreamInterceptor(s.guard.Stream)}, func(o *httpapi.ServerOptions) {
		o.ReadTimeout, o.WriteTimeout = timeout, timeout
	})
	client := s.open(s.as("alice"), chat, "1")
	for range 3 {
		require.NoError(t, send(client, "alive"))
		requireReceived(t, client, "alive")
		<-time.After(2 * timeout) // the time that passes is what is tested
	}
	require.NoError(t, client.CloseSend())
	_, err := receive(client)
	require.ErrorIs(t, err, io.EOF)
}
