package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// NewProblem makes a problem of one of interlock's own types.
func NewProblem(status int, name, title, detail string) *client.Problem {
	return &client.Problem{Type: client.ProblemType(name), Title: title, Detail: detail, Status: status}
}

// rule is one line of the table. The public detail is the text, or the result of the function.
type rule struct {
	matches func(error) bool
	status  int
	name    string
	title   string
	text    string
	detail  func(error) string
}

// rules turn errors into public answers. The first that matches counts. An error can match
// several sentinels, so the specific ones come first: a panic can carry any error, an unfinished
// update can have any cause, every refusal of the engine is a denial, and a revocation is a
// cancellation.
var rules = []rule{
	{is(actors.ErrPanicked), 500, "internal", "Internal error", "", nil},
	{is(actors.ErrGoexit), 500, "internal", "Internal error", "", nil},
	{is(oplog.ErrOutcomeUnknown), 504, "outcome-unknown", "Outcome unknown",
		"The update may have been applied, or may be after a restart. Read the policy, or repeat the request with its Idempotency-Key.", nil},
	{is(actors.ErrNotQuiesced), 504, "not-quiesced", "Not quiesced",
		"The update was applied, and operations that it forbids are still running. Get its receipt.", nil},

	{is(certs.ErrNoIdentity), 401, "no-identity", "No identity", "", identityDetail},
	{deniedFor(policy.ReasonCredentialExpired), 401, "credential-expired", "The certificate has expired",
		"credential-expired: connect again with a certificate that is valid now.", nil},
	{deniedFor(policy.ReasonCredentialRevoked), 401, "credential-revoked", "The certificate was revoked",
		"credential-revoked: connect again with another certificate.", nil},

	{is(control.ErrNeedsFullRights), 403, "needs-full-rights", "Full rights needed", "", ownText},
	{is(control.ErrExactOnly), 403, "exact-principals-only", "Exact principals only", "", ownText},
	{is(control.ErrLastAdministrator), 409, "last-administrator", "The last administrator", "", ownText},
	{is(control.ErrOwnIssuer), 409, "own-issuer", "Own certificate", "", ownText},
	{is(control.ErrRevokesCA), 409, "revokes-ca", "A CA would be revoked", "", revokesCADetail},
	{is(control.ErrLosesControl), 409, "loses-full-rights", "Full rights would be lost", "", losesControlDetail},

	{is(actors.ErrOverloaded), 503, "overloaded", "Overloaded", "Too many requests are waiting for this principal. Try again.", nil},
	{is(actors.ErrClosed), 503, "closed", "Shutting down", "The server is shutting down.", nil},
	{is(actors.ErrFenced), 503, "fenced", "Fenced",
		"This server cannot tell what the other servers of the cluster have agreed on, and denies everything. Try another one.", nil},
	{is(actors.ErrFault), 503, "fault", "Engine fault", "The engine denies the request until the fault is repaired.", nil},
	{is(actors.ErrRevoked), 403, "revoked", "Revoked", "The authority was revoked while the operation was running.", nil},
	{is(actors.ErrDenied), 403, "denied", "Denied", "The policy does not allow this.", nil},

	{is(actors.ErrPrecondition), 412, "precondition-failed", "Precondition failed",
		"The state that the request is based on has changed. Read it again.", nil},
	{is(actors.ErrUnknownRevision), 404, "unknown-revision", "Unknown revision", "No update has that revision.", nil},
	{is(oplog.ErrNoHistory), 501, "no-history", "No history", "The server keeps its policy in memory only. Start it with a data folder.", nil},
	{is(oplog.ErrCompacted), 410, "compacted", "No longer kept", "", ownText},
	{is(oplog.ErrKeyReused), 422, "key-reused", "Key reused", "The Idempotency-Key was used for another request.", nil},
	{is(oplog.ErrNoKeys), 400, "no-keys", "No idempotency keys",
		"A server that keeps its policy in memory does not support Idempotency-Key. Use If-Match to repeat a request safely.", nil},
	{is(oplog.ErrTooManyKeys), 503, "too-many-keys", "Too many keys", "The server keeps as many idempotency keys as it may. Try again later, or without a key.", nil},
	{is(oplog.ErrUnavailable), 503, "journal", "Store failure", "The update was not applied. An operator has to repair the store.", nil},
	{is(actors.ErrNested), 500, "internal", "Internal error", "", nil},

	{is(policy.ErrRoleInUse), 409, "role-in-use", "Role in use", "", ownText},
	{is(policy.ErrUnknownRole), 422, "unknown-role", "Unknown role", "", ownText},
	{is(policy.ErrCycle), 422, "cycle", "Inheritance cycle", "", ownText},
	{is(policy.ErrCondition), 422, "condition", "Bad condition", "", ownText},
	{is(policyfile.ErrTooLarge), 413, "too-large", "Too large", "", ownText},
	{is(policyfile.ErrSyntax), 422, "syntax", "Syntax error", "", ownText},
	{is(policy.ErrMalformed), 422, "malformed", "Malformed name", "", ownText},
	{is(policy.ErrInvalid), 422, "invalid", "Invalid", "", ownText},

	{isA[*http.MaxBytesError], 413, "body-too-large", "Body too large", "", tooLargeDetail},
	{isA[*MediaTypeError], 415, "unsupported-media-type", "Unsupported media type", "", ownText},
	{isA[*BodyError], 400, "malformed-body", "Malformed body", "", ownText},
	{is(os.ErrDeadlineExceeded), 408, "request-timeout", "Request timeout", "The body did not arrive in time.", nil},
	{is(context.DeadlineExceeded), 504, "timeout", "Timeout", "There was no answer in time.", nil},
	{is(context.Canceled), 503, "canceled", "Canceled", "The request was abandoned.", nil},
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func deniedFor(reason policy.Reason) func(error) bool {
	return func(err error) bool {
		denied, ok := errors.AsType[*actors.DeniedError](err)
		return ok && denied.Decision.Reason == reason
	}
}

// ownText is for errors about what the caller sent.
func ownText(err error) string { return err.Error() }

func revokesCADetail(err error) string {
	return err.Error() + "; all certificates that it issued end; repeat the request with ?force=" + client.ForceCA + " if that is intended."
}

func losesControlDetail(err error) string {
	return err.Error() + "; repeat the request with ?force=" + client.ForceFullRights + " if that is intended."
}

func identityDetail(err error) string {
	refused, ok := errors.AsType[*certs.IdentityError](err)
	if !ok {
		return "Identify yourself by mutual TLS, with a client certificate."
	}
	return fmt.Sprintf("%s: callers identify themselves by mutual TLS; %s.", refused.Reason, refused.Detail)
}

func tooLargeDetail(err error) string {
	tooLarge, _ := errors.AsType[*http.MaxBytesError](err)
	return fmt.Sprintf("The body is longer than %d bytes.", tooLarge.Limit)
}

// ProblemOf returns the public answer to an error. The error is its cause.
func ProblemOf(err error) *client.Problem {
	if own, ok := errors.AsType[*client.Problem](err); ok && !errors.Is(err, actors.ErrPanicked) {
		copied := *own
		if copied.Status < 400 || copied.Status > 599 {
			copied.Status = http.StatusInternalServerError
		}
		return &copied
	}
	for i := range rules {
		if r := &rules[i]; r.matches(err) {
			p := NewProblem(r.status, r.name, r.title, r.text)
			if r.detail != nil {
				p.Detail = r.detail(err)
			}
			p.Cause = err
			if faults := fieldFaults(err, nil); len(faults) > 0 {
				p.Members = map[string]any{"errors": faults}
			}
			return p
		}
	}
	p := NewProblem(http.StatusInternalServerError, "internal", "Internal error", "")
	p.Cause = err
	return p
}

// fieldFaults collects the field errors in an error and in the errors that it joins.
func fieldFaults(err error, found []client.Fault) []client.Fault {
	switch e := err.(type) {
	case nil:
	case *policy.FieldError:
		return append(found, client.Fault{Field: e.Field, Detail: e.Err.Error()})
	case *policyfile.Error:
		return append(found, client.Fault{Field: e.Field, Line: e.Line, Column: e.Column, Detail: e.Err.Error()})
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = fieldFaults(inner, found)
		}
	case interface{ Unwrap() error }:
		return fieldFaults(e.Unwrap(), found)
	}
	return found
}

// WriteProblem answers with the problem that err is or becomes, and writes its cause to the
// request's log. The public part never reveals whether a resource exists or why a policy denies.
//
// A 401 closes the connection (GOAWAY with HTTP/2), because a connection keeps its client
// certificate, or the lack of one. The connection of a proxy stays open: it has other clients.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := ProblemOf(err)
	p.Instance = instanceOf(r.Context())
	logProblem(r, p)
	h := w.Header()
	for _, stale := range []string{"Content-Length", "Content-Encoding", "Etag", "Last-Modified", "Cache-Control"} {
		h.Del(stale)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	switch p.Status {
	case http.StatusUnauthorized:
		if !viaProxy(r.Context()) {
			h.Set("Connection", "close")
		}
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.Document()) // the client may be gone
	}
}

func logProblem(r *http.Request, p *client.Problem) {
	level := slog.LevelDebug
	switch {
	case p.Status < 500, p.Status == http.StatusNotImplemented, errors.Is(p.Cause, context.Canceled) && r.Context().Err() != nil:
	case p.Status == http.StatusServiceUnavailable:
		level = slog.LevelWarn
	default:
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.Int("status", p.Status), slog.String("type", p.Type)}
	if p.Cause != nil {
		attrs = append(attrs, slog.Any("cause", p.Cause))
	}
	if panicked, ok := errors.AsType[*actors.PanicError](p.Cause); ok {
		attrs = append(attrs, slog.String("stack", string(panicked.Stack)))
	}
	LoggerOf(r.Context()).LogAttrs(r.Context(), level, "request refused", attrs...)
}

// viaProxy reports whether a known proxy made the connection.
func viaProxy(ctx context.Context) bool {
	s := scopeOf(ctx)
	return s != nil && s.ViaProxy
}
