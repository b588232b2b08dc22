package workload_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/certs"
	source "github.com/interlock-authz/interlock/certs/workload"
)

// patience is how long a test waits for what should take no time.
const patience = 20 * time.Second

// api is a Workload API on a Unix socket.
type api struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t      *testing.T
	socket string
	calls  chan struct{} // one for each that there is room for
	said   chan struct{} // one for each answer, if there is room
	server *grpc.Server
	served chan struct{}

	mu      sync.Mutex
	answer  *workload.X509SVIDResponse
	refusal *status.Status // what ends a call, OK too, if it is not nil
	changed chan struct{}
}

// newAPI serves nothing yet, and refuses whoever asks.
func newAPI(t *testing.T) *api {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	folder, err := os.MkdirTemp("", "workload") // t.TempDir's name may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return &api{
		t: t, socket: filepath.Join(folder, "agent.sock"), calls: make(chan struct{}, 1000), said: make(chan struct{}, 1000),
		refusal: status.New(codes.PermissionDenied, "no identity issued"), changed: make(chan struct{}),
	}
}

// serve makes a Workload API that gives an answer.
func serve(t *testing.T, answer *workload.X509SVIDResponse) *api {
	a := newAPI(t)
	a.say(answer)
	a.start()
	t.Cleanup(a.stop)
	return a
}

func (a *api) address() string { return "unix://" + a.socket }

func (a *api) listen() net.Listener {
	listener, err := net.Listen("unix", a.socket)
	require.NoError(a.t, err)
	return listener
}

func (a *api) start() {
	listener := a.listen()
	a.server, a.served = grpc.NewServer(), make(chan struct{})
	workload.RegisterSpiffeWorkloadAPIServer(a.server, a)
	go func() {
		defer close(a.served)
		_ = a.server.Serve(listener)
	}()
}

func (a *api) stop() {
	a.server.Stop()
	<-a.served
}

func (a *api) say(answer *workload.X509SVIDResponse) { a.set(answer, nil) }

func (a *api) refuse(code codes.Code) { a.set(nil, status.New(code, "so says the test")) }

func (a *api) set(answer *workload.X509SVIDResponse, refusal *status.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.refusal = answer, refusal
	close(a.changed)
	a.changed = make(chan struct{})
}

// FetchX509SVID implements the Workload API.
func (a *api) FetchX509SVID(_ *workload.X509SVIDRequest, stream workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
	if header, _ := metadata.FromIncomingContext(stream.Context()); len(header.Get("workload.spiffe.io")) != 1 {
		return status.Error(codes.InvalidArgument, "security header missing from request")
	}
	select {
	case a.calls <- struct{}{}:
	default:
	}
	for {
		a.mu.Lock()
		answer, refusal, changed := a.answer, a.refusal, a.changed
		a.mu.Unlock()
		if refusal != nil {
			return refusal.Err()
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
		select {
		case a.said <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// asked waits for n requests from now on.
func (a *api) asked(n int) {
	for len(a.calls) > 0 {
		<-a.calls
	}
	for range n {
		receive(a.t, a.calls)
	}
}

func receive[T any](t testing.TB, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(patience):
		require.Fail(t, "nothing has come in time")
	}
	return got
}

// within is a context that a test does not see the end of.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// follow makes a source that is closed at the end.
func (a *api) follow(o source.Options) *source.Source {
	a.t.Helper()
	o.Address = a.address()
	s, err := source.New(within(a.t), o)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { require.NoError(a.t, s.Close()) })
	return s
}

// watch gives what Watch calls.
func watch(t *testing.T, s certs.Source) <-chan struct{} {
	ctx, cancel := context.WithCancel(context.Background())
	changed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, ended)
	})
	receive(t, changed) // the one at the beginning
	return changed
}

// until waits for the change after which Load is as it should be.
func until(t *testing.T, s certs.Source, changed <-chan struct{}, good func(certs.Material, error) bool) certs.Material {
	t.Helper()
	for {
		receive(t, changed)
		if m, err := s.Load(); good(m, err) {
			return m
		}
	}
}

// usable is for until.
func usable(_ certs.Material, err error) bool { return err == nil }

// broken is for until.
func broken(_ certs.Material, err error) bool { return err != nil }

// has is for until: the leaf is the one that was given.
func has(svid *workload.X509SVID) func(certs.Material, error) bool {
	return func(m certs.Material, err error) bool {
		return err == nil && bytes.Equal(m.Certificate.Certificate[0], svid.X509Svid)
	}
}

// log counts what is logged.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

func logger(to io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(to, nil)) }
