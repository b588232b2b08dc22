package grpcguard

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
)

var _ grpc.StreamServerInterceptor = (*Guard)(nil).Stream

// Stream is the interceptor for streams. The context of the stream that the handler gets is that of
// its lease. It has the deadline, the metadata and the values of the call's context, and ends with
// the lease, with the client or at the deadline.
//
// The operation is admitted before the handler starts. A server-streaming method whose rule has
// ResourceOf is admitted at the handler's first RecvMsg, which receives the only request. The code
// that protoc generates does this before it calls the method's implementation. Until then, the
// handler can send nothing.
//
// The lease is released when the handler has returned or panicked, and no SendMsg or RecvMsg is
// running. A revocation sends its status to the client at once, which makes both fail.
func (g *Guard) Stream(server any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	ctx := ss.Context()
	a, err := g.begin(ctx, info.FullMethod)
	if err == nil && a.rule.Mode == httpapi.Execute {
		err = errStreamInTurn
	}
	if err != nil {
		return g.refuse(ctx, info.FullMethod, err)
	}
	s := &stream{ServerStream: ss, guard: g, attempt: a, http: callOf(ctx)}
	var ok bool
	if s.transport, ok = grpc.ServerTransportStreamFromContext(ctx).(statusWriter); !ok {
		return g.refuse(ctx, info.FullMethod, errCannotEnd)
	}
	s.late = a.rule.ResourceOf != nil && info.IsServerStream && !info.IsClientStream
	if !s.late {
		if err := s.admit(nil); err != nil {
			return err
		}
	}
	defer s.handlerEnded()
	return s.result(handler(server, s))
}

// statusWriter is the stream of grpc's transport. To write the status is the only way to end a
// blocked RecvMsg or SendMsg of one call: grpc does it too when the other one fails. It may be
// called concurrently with both. The first status counts.
type statusWriter interface {
	WriteStatus(*status.Status) error
}

// errCannotEnd rejects all streams, because they could not be ended.
var errCannotEnd = errors.New("streams of this version of google.golang.org/grpc, or of this wrapper of its streams, have no WriteStatus")

// stream is the stream of a guarded handler.
type stream struct {
	grpc.ServerStream
	guard     *Guard
	attempt   *attempt
	transport statusWriter
	http      *call // nil for a native server
	late      bool  // admitted at the first RecvMsg

	// sending orders SendMsg and the status of a revocation. With Handler grpc relies on the order
	// in which they begin.
	sending sync.Mutex

	mu      sync.Mutex
	lease   *actors.Lease // nil until admitted
	stop    func() bool   // stops the hook
	refused error         // why it is not admitted
	parts   int           // the handler and each call of it: the last to end releases
	over    bool          // the handler has ended
}

// admit decides and starts the operation.
func (s *stream) admit(message any) error {
	lease, err := s.decide(message)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		s.refused = s.guard.refuse(s.attempt.ctx, s.attempt.method, err)
	case s.over:
		lease.Release()
		s.refused = errOver
	default:
		s.lease, s.parts = lease, 1
		if s.http != nil {
			s.http.admitted()
		}
		s.stop = lease.AfterFunc(func() { s.leaseEnded(lease) })
	}
	return s.refused
}

func (s *stream) decide(message any) (*actors.Lease, error) {
	req, err := s.attempt.request(message)
	if err != nil {
		return nil, err
	}
	return s.guard.engine.Admit(s.attempt.ctx, req)
}

// leaseEnded ends the call if the operation lost its authority.
func (s *stream) leaseEnded(lease *actors.Lease) {
	lost := lostAuthority(lease)
	if lost == nil {
		return
	}
	if s.http != nil {
		s.http.endStalledWrites()
		s.sending.Lock() // a SendMsg in progress is not stalled for long
		defer s.sending.Unlock()
	}
	_ = s.transport.WriteStatus(s.guard.statusOf(lost)) // the client may be gone
}

var (
	errOver        = status.Error(codes.Canceled, "the handler has returned")
	errNotAdmitted = status.Error(codes.PermissionDenied, "the handler did not receive the request")
)

// enter starts a part of the operation.
func (s *stream) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case s.lease == nil:
		return errNotAdmitted
	case s.over:
		return errOver
	}
	if ended := s.lease.Context().Err(); ended != nil {
		return s.guard.statusOf(ended).Err()
	}
	s.parts++
	return nil
}

// leave ends a part of the operation. It returns the part's error, or that of the revocation. No
// part succeeds after the end of the lease's context: one that ended with its client is not
// canceled again by a revocation.
func (s *stream) leave(err error) error {
	if ended := s.lease.Context().Err(); ended != nil && (err == nil || lostAuthority(s.lease) != nil) {
		err = s.guard.statusOf(ended).Err()
	}
	s.mu.Lock()
	s.parts--
	last := s.parts == 0
	s.mu.Unlock()
	if last {
		s.stop()
		s.lease.Release()
	}
	return err
}

// handlerEnded is called when the handler has returned or panicked. A RecvMsg of another goroutine
// may still be running. It ends when grpc has written the status, which is after the interceptor.
func (s *stream) handlerEnded() {
	s.mu.Lock()
	s.over = true
	admitted := s.lease != nil
	s.mu.Unlock()
	if admitted {
		_ = s.leave(nil) // result has examined the lease
	}
}

// result returns the error of the call of a handler that returned err.
func (s *stream) result(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return s.refused
	case s.lease == nil:
		return errNotAdmitted
	}
	if lost := lostAuthority(s.lease); lost != nil {
		return s.guard.refuse(s.attempt.ctx, s.attempt.method, lost)
	}
	return err
}

// Context implements [grpc.ServerStream].
func (s *stream) Context() context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil {
		return s.attempt.ctx
	}
	return s.lease.Context()
}

// RecvMsg implements [grpc.ServerStream].
func (s *stream) RecvMsg(message any) error {
	if s.late && s.notAdmitted() {
		return s.receiveFirst(message)
	}
	if err := s.enter(); err != nil {
		return err
	}
	return s.leave(s.ServerStream.RecvMsg(message))
}

func (s *stream) notAdmitted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease == nil && s.refused == nil
}

// receiveFirst receives the request and admits the operation. By the contract of grpc, no other
// RecvMsg is running.
func (s *stream) receiveFirst(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.refused = err
		return err
	}
	return s.admit(message)
}

// SendMsg implements [grpc.ServerStream].
func (s *stream) SendMsg(message any) error {
	return s.send(func() error { return s.ServerStream.SendMsg(message) })
}

// SendHeader implements [grpc.ServerStream].
func (s *stream) SendHeader(header metadata.MD) error {
	return s.send(func() error { return s.ServerStream.SendHeader(header) })
}

func (s *stream) send(f func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	if s.http != nil {
		s.sending.Lock()
		defer s.sending.Unlock()
	}
	return s.leave(f())
}
