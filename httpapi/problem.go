package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-json-experiment/json"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/control"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
)

// Problem is an answer other than success, as RFC 9457 writes it. Everything in it is
// public but Cause. A handler may return one as its error; most errors become one by the
// table in this file.
type Problem struct {
	// Type is a URI that names the kind of problem and never changes, such as
	// "urn:interlock:problem:denied".
	Type string
	// Title is the same for all problems of a type, Detail is about this one.
	Title, Detail string
	// Status is the HTTP status, 400 to 599; anything else is answered as 500.
	Status int
	// Instance names this occurrence; [WriteProblem] sets it to the request's ID.
	Instance string
	// Members are further members of the document. They cannot replace those above.
	Members map[string]any
	// Cause is for the log only.
	Cause error
}

// Error returns the public text, and the cause if there is one.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s", p.Status, p.Title)
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Cause != nil {
		text += ": " + p.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (p *Problem) Unwrap() error { return p.Cause }

// problem makes a Problem of one of our own types.
func problem(status int, name, title, detail string) *Problem {
	return &Problem{Type: problemType(name), Title: title, Detail: detail, Status: status}
}

func problemType(name string) string { return "urn:interlock:problem:" + name }

// rule is one line of the table. The public detail is the text, or what the function
// makes of the error.
type rule struct {
	matches func(error) bool
	status  int
	name    string
	title   string
	text    string
	detail  func(error) string
}

// rules turn errors into public answers; the first that matches counts. What is wrapped
// by, or is, several sentinels stands in the order from the particular to the general:
// a panic may be of any error, an update may have any cause to be unfinished, every
// refusal of the engine is a denial, and a revocation is a cancellation.
var rules = []rule{
	{is(actors.ErrPanicked), 500, "internal", "Internal error", "", nil},
	{is(actors.ErrGoexit), 500, "internal", "Internal error", "", nil},
	{is(oplog.ErrOutcomeUnknown), 504, "outcome-unknown", "Outcome unknown",
		"The update may stand, now or after a restart; read the policy, or repeat the request with its Idempotency-Key.", nil},
	{is(actors.ErrNotQuiesced), 504, "not-quiesced", "Not quiesced",
		"The update stands, and operations that it forbids have not ended yet; ask for its receipt.", nil},

	{is(certs.ErrNoIdentity), 401, "no-identity", "No identity", "", identityDetail},
	{deniedFor(policy.ReasonCredentialExpired), 401, "credential-expired", "The certificate has expired",
		"credential-expired: connect again with a certificate that is valid now.", nil},
	{deniedFor(policy.ReasonCredentialRevoked), 401, "credential-revoked", "The certificate was revoked",
		"credential-revoked: connect again with another certificate.", nil},

	{is(control.ErrNeedsFullRights), 403, "needs-full-rights", "Full rights needed", "", ownText},
	{is(control.ErrExactOnly), 403, "exact-principals-only", "Exact principals only", "", ownText},
	{is(control.ErrLastAdministrator), 409, "last-administrator", "The last administrator", "", ownText},
	{is(control.ErrLosesControl), 409, "loses-full-rights", "Full rights would be lost", "", losesControlDetail},

	{is(actors.ErrOverloaded), 503, "overloaded", "Overloaded", "Too many requests wait for this principal; try again.", nil},
	{is(actors.ErrClosed), 503, "closed", "Shutting down", "The server is shutting down.", nil},
	{is(actors.ErrFault), 503, "fault", "The engine cannot tell", "It is denied until the fault is repaired.", nil},
	{is(actors.ErrRevoked), 403, "revoked", "Revoked", "The authority to go on was revoked while the operation ran.", nil},
	{is(actors.ErrDenied), 403, "denied", "Denied", "The policy does not allow this.", nil},

	{is(actors.ErrPrecondition), 412, "precondition-failed", "Precondition failed",
		"What the request was based on has changed; read it again.", nil},
	{is(actors.ErrUnknownRevision), 404, "unknown-revision", "Unknown revision", "No update has that revision.", nil},
	{is(oplog.ErrNoHistory), 501, "no-history", "Nothing is kept", "The policy is kept in memory only. Start the server with a folder for its data.", nil},
	{is(oplog.ErrCompacted), 410, "compacted", "Not kept any more", "", ownText},
	{is(oplog.ErrKeyReused), 422, "key-reused", "Key used before", "The Idempotency-Key was used for another request.", nil},
	{is(oplog.ErrNoKeys), 400, "no-keys", "No keys are kept",
		"Idempotency-Key is not supported while the policy is kept in memory; use If-Match to repeat a request safely.", nil},
	{is(oplog.ErrTooManyKeys), 503, "too-many-keys", "Too many keys", "As many keys of requests are kept as may be; try again later, or without one.", nil},
	{is(oplog.ErrUnavailable), 503, "journal", "No updates are taken", "The update was not applied; an operator has to repair the store.", nil},
	{is(actors.ErrNested), 500, "internal", "Internal error", "", nil},

	{is(policy.ErrRoleInUse), 409, "role-in-use", "Role in use", "", ownText},
	{is(policy.ErrUnknownRole), 422, "unknown-role", "Unknown role", "", ownText},
	{is(policy.ErrCycle), 422, "cycle", "Roles inherit each other in a cycle", "", ownText},
	{is(policy.ErrCondition), 422, "condition", "Bad condition", "", ownText},
	{is(policy.ErrTooLarge), 413, "too-large", "Too large", "", ownText},
	{is(policy.ErrSyntax), 422, "syntax", "Syntax error", "", ownText},
	{is(policy.ErrMalformed), 422, "malformed", "Malformed name", "", ownText},
	{is(policy.ErrInvalid), 422, "invalid", "Invalid", "", ownText},

	{isA[*http.MaxBytesError], 413, "body-too-large", "Body too large", "", tooLargeDetail},
	{isA[*mediaTypeError], 415, "unsupported-media-type", "Unsupported media type", "", ownText},
	{isA[*bodyError], 400, "malformed-body", "Malformed body", "", ownText},
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

// ownText is for errors about what the caller itself has sent.
func ownText(err error) string { return err.Error() }

func losesControlDetail(err error) string {
	return err.Error() + "; repeat the request with ?force=" + forceControl + " if that is meant."
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

// problemOf makes the public answer of an error. The error is its cause.
func problemOf(err error) *Problem {
	if own, ok := errors.AsType[*Problem](err); ok && !errors.Is(err, actors.ErrPanicked) {
		copied := *own
		if copied.Status < 400 || copied.Status > 599 {
			copied.Status = http.StatusInternalServerError
		}
		return &copied
	}
	for i := range rules {
		if r := &rules[i]; r.matches(err) {
			p := problem(r.status, r.name, r.title, r.text)
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
	p := problem(http.StatusInternalServerError, "internal", "Internal error", "")
	p.Cause = err
	return p
}

// fieldFault is one element of the member "errors".
type fieldFault struct {
	Field  string `json:"field"`
	Line   int    `json:"line,omitzero"`
	Column int    `json:"column,omitzero"`
	Detail string `json:"detail"`
}

// fieldFaults collects what an error, and those that it joins, says about fields.
func fieldFaults(err error, found []fieldFault) []fieldFault {
	switch e := err.(type) {
	case nil:
	case *policy.FieldError:
		return append(found, fieldFault{Field: e.Field, Detail: e.Err.Error()})
	case *policy.FileError:
		return append(found, fieldFault{Field: e.Field, Line: e.Line, Column: e.Column, Detail: e.Err.Error()})
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			found = fieldFaults(inner, found)
		}
	case interface{ Unwrap() error }:
		return fieldFaults(e.Unwrap(), found)
	}
	return found
}

// WriteProblem answers with the problem that err is, or that it becomes, and writes its
// cause to the log of the request: so an error is answered or returned, never both. Its
// public part never tells whether a resource exists, nor why a policy denies.
//
// A 401 closes the connection (with HTTP/2 by GOAWAY), since a connection keeps the
// certificate, or the lack of one, that it began with; but not that of a proxy, which has
// other clients too.
func WriteProblem(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
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
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(p.document()) // who does not read the answer needs none
	}
}

func logProblem(r *http.Request, p *Problem) {
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
	loggerOf(r.Context()).LogAttrs(r.Context(), level, "request refused", attrs...)
}

// document writes the problem as JSON: what RFC 9457 names first, then the members.
func (p *Problem) document() []byte {
	doc := struct {
		Type     string         `json:"type"`
		Title    string         `json:"title"`
		Status   int            `json:"status"`
		Detail   string         `json:"detail,omitzero"`
		Instance string         `json:"instance,omitzero"`
		Members  map[string]any `json:",embed"`
	}{p.Type, p.Title, p.Status, p.Detail, p.Instance, make(map[string]any, len(p.Members))}
	for name, value := range p.Members {
		switch name {
		case "type", "title", "status", "detail", "instance":
		default:
			doc.Members[name] = value
		}
	}
	text, err := json.Marshal(&doc, json.Deterministic(true), lenientText)
	if err != nil { // a member that is no JSON
		doc.Members = nil
		text, _ = json.Marshal(&doc, lenientText)
	}
	return append(text, '\n')
}
