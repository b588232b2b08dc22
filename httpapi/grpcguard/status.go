package grpcguard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

const (
	// Domain is the domain of the ErrorInfo (google.rpc) in each error of the guard.
	Domain = "interlock"
	// ReasonRevoked is the reason in the ErrorInfo of a call that was revoked. Its metadata has
	// [MetadataRevision].
	ReasonRevoked = "REVOKED"
	// MetadataRevision is the key of the revision in the metadata: the revision of the policy when
	// the guard saw the revocation. It is that of the update that revoked, or a later one.
	MetadataRevision = "revision"
)

// resourceError is an error of ResourceOf.
type resourceError struct{ err error }

func (e *resourceError) Error() string { return "resource of the call: " + e.err.Error() }

func (e *resourceError) Unwrap() error { return e.err }

// lostAuthority returns why the operation lost its authority, or nil.
func lostAuthority(lease *actors.Lease) error {
	err := lease.Context().Err()
	if err == nil {
		return nil
	}
	for _, lost := range []error{actors.ErrRevoked, actors.ErrClosed} {
		if errors.Is(err, lost) {
			return lost
		}
	}
	return nil
}

// refuse logs the cause and returns the public error.
func (g *Guard) refuse(ctx context.Context, method string, cause error) error {
	s := g.statusOf(cause)
	level := slog.LevelDebug
	switch s.Code() {
	case codes.Unavailable:
		level = slog.LevelWarn
	case codes.Internal:
		level = slog.LevelError
	}
	if g.log.Enabled(ctx, level) {
		attrs := []slog.Attr{slog.String("method", method), slog.String("code", s.Code().String()), slog.Any("cause", cause)}
		if panicked, ok := errors.AsType[*actors.PanicError](cause); ok {
			attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
		}
		g.log.LogAttrs(ctx, level, "call refused", attrs...)
	}
	return s.Err()
}

// statusOf returns the public status of an error. It is never OK, and never tells whether a
// resource exists or why the policy denies.
func (g *Guard) statusOf(err error) *status.Status {
	if ofResource, ok := errors.AsType[*resourceError](err); ok {
		if s, own := status.FromError(ofResource.err); own && s.Code() != codes.OK {
			return s
		}
		if _, own := errors.AsType[*client.Problem](err); !own {
			return withInfo(codes.InvalidArgument, "The resource cannot be determined from the request.", "MALFORMED_REQUEST", nil)
		}
	}
	switch {
	case errors.Is(err, actors.ErrPanicked), errors.Is(err, actors.ErrRevoked):
	case errors.Is(err, context.DeadlineExceeded):
		return status.FromContextError(context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return status.FromContextError(context.Canceled)
	}
	// One table decides for HTTP and for gRPC.
	p := web.ProblemOf(err)
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	reason := strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(p.Type, client.ProblemType("")), "-", "_"))
	var metadata map[string]string
	if errors.Is(err, actors.ErrRevoked) {
		metadata = map[string]string{MetadataRevision: strconv.FormatUint(g.engine.Revision(), 10)}
	}
	return withInfo(codeOf(p.Status), text, reason, metadata)
}

func withInfo(code codes.Code, text, reason string, metadata map[string]string) *status.Status {
	s := status.New(code, text)
	detailed, err := s.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: Domain, Metadata: metadata})
	if err != nil {
		return s // without a detail
	}
	return detailed
}

// codeOf returns the gRPC code for the HTTP status of a problem.
func codeOf(httpStatus int) codes.Code {
	switch httpStatus {
	case http.StatusUnauthorized:
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	}
	if httpStatus < http.StatusInternalServerError {
		return codes.InvalidArgument
	}
	return codes.Internal
}
