package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/client"
)

// answerOf is what WriteProblem makes of an error.
func answerOf(t testing.TB, method string, err error) (*http.Response, map[string]any) {
	t.Helper()
	recorder := httptest.NewRecorder()
	recorder.Header().Set("Content-Length", "3")
	httpapi.WriteProblem(recorder, httptest.NewRequest(method, "/", nil), err)
	var doc map[string]any
	if method != http.MethodHead {
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &doc))
		require.EqualValues(t, recorder.Code, doc["status"])
	}
	answer := recorder.Result()
	require.NoError(t, answer.Body.Close())
	return answer, doc
}

func deniedFor(reason policy.Reason) error {
	return fmt.Errorf("secret: %w", &actors.DeniedError{
		Decision:  policy.Denied(reason, policy.MustPrincipal("user:secret"), 41, 0),
		Principal: policy.MustPrincipal("user:secret"), Action: "secret", Resource: "secret/1",
	})
}

func TestProblemOfErrors(t *testing.T) {
	secret := errors.New("secret")
	for _, test := range []struct {
		err    error
		status int
		kind   string
	}{
		{deniedFor(policy.ReasonNoPermission), 403, "denied"},
		{deniedFor(policy.ReasonDeniedByRule), 403, "denied"},
		{deniedFor(policy.ReasonUnknownPrincipal), 403, "denied"},
		{deniedFor(policy.ReasonCredentialExpired), 401, "credential-expired"},
		{deniedFor(policy.ReasonCredentialRevoked), 401, "credential-revoked"},
		{fmt.Errorf("secret: %w", actors.ErrDenied), 403, "denied"},
		{fmt.Errorf("secret: %w", actors.ErrRevoked), 403, "revoked"},
		{fmt.Errorf("secret: %w", actors.ErrOverloaded), 503, "overloaded"},
		{fmt.Errorf("secret: %w", actors.ErrClosed), 503, "closed"},
		{fmt.Errorf("secret: %w", actors.ErrFault), 503, "fault"},
		{fmt.Errorf("secret: %w", actors.ErrFenced), 503, "fenced"},
		{actors.ErrNested, 500, "internal"},
		{actors.ErrGoexit, 500, "internal"},
		{&actors.PanicError{Value: "secret"}, 500, "internal"},
		{&actors.PanicError{Value: deniedFor(policy.ReasonCredentialExpired)}, 500, "internal"},
		{&actors.PanicError{Value: &client.Problem{Status: 200}}, 500, "internal"},
		{fmt.Errorf("%w: secret", actors.ErrPrecondition), 412, "precondition-failed"},
		{actors.ErrUnknownRevision, 404, "unknown-revision"},
		{fmt.Errorf("%w: %w: secret", oplog.ErrOutcomeUnknown, context.DeadlineExceeded), 504, "outcome-unknown"},
		{fmt.Errorf("%w: %w", oplog.ErrOutcomeUnknown, actors.ErrClosed), 504, "outcome-unknown"},
		{&actors.NotQuiescedError{Cause: context.DeadlineExceeded}, 504, "not-quiesced"},
		{&actors.NotQuiescedError{Cause: actors.ErrRevoked}, 504, "not-quiesced"},
		{fmt.Errorf("%w: secret", oplog.ErrUnavailable), 503, "journal"},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), 504, "timeout"},
		{fmt.Errorf("secret: %w", context.Canceled), 503, "canceled"},
		{fmt.Errorf("secret: %w", os.ErrDeadlineExceeded), 408, "request-timeout"},
		{&http.MaxBytesError{Limit: 9}, 413, "body-too-large"},
		{&certs.IdentityError{Reason: certs.ReasonAmbiguous, Detail: "why"}, 401, "no-identity"},
		{certs.ErrNoIdentity, 401, "no-identity"},
		{policy.ErrMalformed, 422, "malformed"},
		{policy.ErrInvalid, 422, "invalid"},
		{policy.ErrUnknownRole, 422, "unknown-role"},
		{policy.ErrCondition, 422, "condition"},
		{policyfile.ErrSyntax, 422, "syntax"},
		{policyfile.ErrTooLarge, 413, "too-large"},
		{policy.ErrRoleInUse, 409, "role-in-use"},
		{&policy.CycleError{Roles: []string{"a", "b"}}, 422, "cycle"},
		{secret, 500, "internal"},
		{&client.Problem{Type: "urn:interlock:problem:no-status", Title: "Own"}, 500, "no-status"},
		{&client.Problem{Type: "urn:interlock:problem:own", Title: "Own", Status: 418, Cause: secret}, 418, "own"},
	} {
		t.Run(fmt.Sprintf("%s %v", test.kind, test.err), func(t *testing.T) {
			answer, doc := answerOf(t, http.MethodGet, test.err)
			require.Equal(t, test.status, answer.StatusCode)
			require.Equal(t, "urn:interlock:problem:"+test.kind, doc["type"])
			require.NotEmpty(t, doc["title"])
			require.NotContains(t, fmt.Sprint(doc), "secret", "a cause is for the log only")
			require.Equal(t, test.status == 401, answer.Header.Get("Connection") == "close")
			require.Equal(t, test.status == 503, answer.Header.Get("Retry-After") != "")
			require.Empty(t, answer.Header.Get("Content-Length"))
		})
	}
}

func TestProblemNamesTheReasonOfACredentialOnly(t *testing.T) {
	_, doc := answerOf(t, http.MethodGet, deniedFor(policy.ReasonCredentialRevoked))
	require.Contains(t, doc["detail"], "credential-revoked")
	_, first := answerOf(t, http.MethodGet, deniedFor(policy.ReasonUnknownAction))
	_, second := answerOf(t, http.MethodGet, deniedFor(policy.ReasonDeniedByRule))
	require.Equal(t, first, second)
}

func TestProblemListsTheFields(t *testing.T) {
	_, doc := answerOf(t, http.MethodPut, errors.Join(
		&policy.FieldError{Field: "changes[0].role", Err: policy.ErrUnknownRole},
		&policyfile.Error{File: "p.yaml", Line: 3, Column: 5, Field: "roles.x", Err: policy.ErrInvalid},
		fmt.Errorf("more: %w", &policy.FieldError{Field: "within[1]", Err: policy.ErrMalformed}),
	))
	require.EqualValues(t, 422, doc["status"])
	require.Equal(t, []any{
		map[string]any{"field": "changes[0].role", "detail": "unknown role"},
		map[string]any{"field": "roles.x", "line": 3.0, "column": 5.0, "detail": "invalid"},
		map[string]any{"field": "within[1]", "detail": "malformed name"},
	}, doc["errors"])
}

func TestProblemMembers(t *testing.T) {
	_, doc := answerOf(t, http.MethodGet, &client.Problem{
		Type: "urn:x", Title: "X", Status: 400, Members: map[string]any{"status": 200, "revision": 7, "bad\xff": "b\xffd"},
	})
	require.EqualValues(t, 400, doc["status"])
	require.EqualValues(t, 7, doc["revision"])
	_, doc = answerOf(t, http.MethodGet, &client.Problem{
		Type: "urn:x", Title: "X", Status: 400, Members: map[string]any{"no JSON": func() {}},
	})
	require.Equal(t, map[string]any{"type": "urn:x", "title": "X", "status": 400.0}, doc)
}

func TestProblemForHEADHasNoBody(t *testing.T) {
	recorder := httptest.NewRecorder()
	httpapi.WriteProblem(recorder, httptest.NewRequest(http.MethodHead, "/", nil), actors.ErrClosed)
	require.Equal(t, 503, recorder.Code)
	require.Empty(t, recorder.Body.String())
}

func TestProblemIsAnErrorWithItsCause(t *testing.T) {
	p := &client.Problem{Title: "Denied", Detail: "no", Status: 403, Cause: actors.ErrDenied}
	require.ErrorIs(t, p, actors.ErrDenied)
	require.Equal(t, "403 Denied: no: denied", p.Error())
}
