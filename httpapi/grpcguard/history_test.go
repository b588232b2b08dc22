package grpcguard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/grpcguard"
)

// A history of a gRPC server has streams as uses. The handler records when a use begins and ends. A
// use of the action aN is a stream about the order aN.

const (
	historyPrincipals = 2
	historyClients    = 4
	historyTurns      = 12
)

// recorded is a guarded server whose handlers record a history.
type recorded struct {
	*station
	conns   [historyPrincipals]*grpc.ClientConn
	names   [historyPrincipals]policy.Principal
	history atomic.Pointer[historytest.History]

	mu    sync.Mutex
	overs map[string]chan struct{} // by what names the use in the metadata
}

func newRecorded(t *testing.T, way transport) *recorded {
	t.Helper()
	s := &recorded{station: newStation(t, rules()), overs: map[string]chan struct{}{}}
	s.service.stream = s.use
	s.start(way)
	s.prepare(t)
	return s
}

// prepare makes the roles and connects the principals.
func (s *recorded) prepare(t *testing.T) {
	t.Helper()
	var changes []policy.Change
	for a := range historytest.Actions {
		changes = append(changes, policy.PutRole(roleOf(t, a), ""))
	}
	requireQuiesced(t, s.update(changes...))
	for p := range s.names {
		s.names[p] = who(fmt.Sprintf("h%d", p))
		s.conns[p] = s.as(fmt.Sprintf("h%d", p))
	}
}

func roleOf(t *testing.T, action int) *policy.Role {
	t.Helper()
	a, err := policy.ParseActionPattern("orders:watch")
	require.NoError(t, err)
	r, err := policy.ParseResourcePattern(fmt.Sprintf("orders/a%d", action))
	require.NoError(t, err)
	role, err := policy.NewRole(fmt.Sprintf("a%d", action), nil, []policy.Permission{
		{Effect: policy.Allow, Actions: []policy.ActionPattern{a}, Resources: []policy.ResourcePattern{r}},
	})
	require.NoError(t, err)
	return role
}

// use is the handler. It records the use that the metadata names.
func (s *recorded) use(_ string, stream grpc.ServerStream) error {
	u, linger, call, text := useOf(stream.Context())
	defer close(s.overOf(text))
	h := s.history.Load()
	u.Kind = historytest.Begin
	h.Add(u, call, h.Now())
	defer func() {
		u.Kind = historytest.End
		h.Instant(u)
	}()
	if revision, ok := actors.RevisionOf(stream.Context()); ok {
		h.Decision(call, revision)
	}
	for range linger {
		if err := send(stream, "line"); err != nil {
			return err
		}
		runtime.Gosched()
	}
	if linger%3 == 2 { // only a revocation ends it, or its client
		<-stream.Context().Done()
		runtime.Gosched()
	}
	return nil
}

// overOf returns what is closed when the handler of a use has ended.
func (s *recorded) overOf(use string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.overs[use] == nil {
		s.overs[use] = make(chan struct{})
	}
	return s.overs[use]
}

// useOf reads the use that the metadata names.
func useOf(ctx context.Context) (u historytest.Event, linger int, call int64, text string) {
	text = metadata.ValueFromIncomingContext(ctx, "use")[0]
	var seed uint64
	if _, err := fmt.Sscanf(text, "s%d p%d c%d a%d %d %d", &seed, &u.Principal, &u.Client, &u.Action, &linger, &call); err != nil {
		panic(err)
	}
	return u, linger, call, text
}

// record records a history. It ends with nothing granted.
func (s *recorded) record(seed uint64) *historytest.History {
	h := &historytest.History{}
	s.history.Store(h)
	change := func(p, a int, allowed bool) uint64 {
		g := policy.Grant{Principal: s.names[p], Role: fmt.Sprintf("a%d", a)}
		c := policy.RevokeRole(g)
		if allowed {
			c = policy.GrantRole(g)
		}
		receipt, err := s.Engine.Update(context.Background(), actors.Update{Changes: []policy.Change{c}})
		if err != nil {
			s.T.Errorf("update: %v", err)
		}
		return receipt.Revision
	}
	h.Run(historytest.Load{
		Seed: seed, Clients: historyClients, Principals: historyPrincipals, Turns: historyTurns, Change: change,
		Use: func(u historytest.Event, linger int) { s.stream(seed, u, linger) },
	})
	for p := range s.names {
		for a := range historytest.Actions {
			change(p, a, false)
		}
	}
	return h
}

// stream opens a stream and returns when its handler has ended.
func (s *recorded) stream(seed uint64, u historytest.Event, linger int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h := s.history.Load()
	call := h.Now()
	use := fmt.Sprintf("s%d p%d c%d a%d %d %d", seed, u.Principal, u.Client, u.Action, linger, call)
	ctx = metadata.AppendToOutgoingContext(ctx, "order", fmt.Sprintf("a%d", u.Action), "use", use)
	client, err := s.conns[u.Principal].NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, chat)
	if err != nil {
		s.T.Error(err)
		return
	}
	lines := 0
	for err == nil {
		if lines == linger && linger%3 == 2 {
			cancel()
		}
		if _, err = receive(client); err == nil {
			lines++
		}
	}
	info := status.Convert(err)
	if info.Code() == codes.PermissionDenied && !isRevoked(info) {
		u.Kind = historytest.Denied
		h.Add(u, call, h.Now())
		return
	}
	if !errors.Is(err, io.EOF) && info.Code() != codes.PermissionDenied && info.Code() != codes.Canceled {
		s.T.Errorf("a stream failed: %v", err)
	}
	select {
	case <-s.overOf(use):
	case <-time.After(patience):
		s.T.Errorf("the handler of %s has not ended: %v", use, err)
	}
}

func isRevoked(s *status.Status) bool {
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetReason() == grpcguard.ReasonRevoked {
			return true
		}
	}
	return false
}

func histories() int {
	if os.Getenv("INTERLOCK_SOAK") != "" {
		return 2000
	}
	return 200
}

// TestG1G2G4_StreamHistories checks histories of gRPC streams, as their handlers see them.
func TestG1G2G4_StreamHistories(t *testing.T) {
	for _, way := range transports {
		t.Run(way.name, func(t *testing.T) {
			s := newRecorded(t, way)
			events := 0
			for seed := range histories() / len(transports) {
				h := s.record(uint64(seed))
				events += len(h.Operations())
				if !h.Check(t) {
					t.Fatalf("history of seed %d is illegal:\n%s", seed, h.Dump())
				}
				require.NoError(t, h.MonotonicErr(), "seed %d", seed)
			}
			t.Logf("%d histories with %d events", histories()/len(transports), events)
		})
	}
}

// TestHistoriesCatchAnotherGuard checks that histories show a guard that asks first and holds no
// lease.
func TestHistoriesCatchAnotherGuard(t *testing.T) {
	s := &recorded{station: newStation(t, rules()), overs: map[string]chan struct{}{}}
	s.service.stream = s.use
	s.serveNative([]grpc.ServerOption{grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		u, _, _, _ := useOf(stream.Context())
		d, err := s.Engine.Decide(stream.Context(), actors.Request{
			Principal: s.names[u.Principal], Action: "orders:watch", Resource: fmt.Sprintf("orders/a%d", u.Action),
		})
		if err != nil || !d.Allowed {
			return status.Error(codes.PermissionDenied, "denied")
		}
		return next(srv, stream)
	})})
	s.prepare(t)
	for seed := range uint64(200) {
		if !s.record(seed).Check(t) {
			t.Logf("caught in history %d", seed+1)
			return
		}
	}
	t.Fatal("200 histories of a design that is known to be wrong were all found legal")
}
