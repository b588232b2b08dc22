// Package guardtest helps to test handlers behind an [httpapi.Guard] without certificates and
// servers: an engine with a policy, callers, and assertions on decisions.
package guardtest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
)

// closeTimeout bounds the wait for operations when a test ends.
const closeTimeout = 10 * time.Second

// NewEngine starts an engine in memory with a policy file in YAML, and closes it when the test
// ends. A malformed policy fails the test at once, and so does an operation that is still running
// 10 s after the end.
func NewEngine(t testing.TB, policyYAML string) *actors.Engine {
	t.Helper()
	file, err := policyfile.Parse("policy.yaml", []byte(policyYAML))
	if err != nil {
		t.Fatalf("guardtest: %v", err)
	}
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	if err != nil {
		t.Fatalf("guardtest: %v", err)
	}
	engine, err := actors.New(actors.Options{Log: memory})
	if err != nil {
		t.Fatalf("guardtest: start the engine: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := engine.Close(ctx); err != nil {
			t.Errorf("guardtest: close the engine: %v", err)
		}
	})
	return engine
}

// As identifies the caller of every request as the principal, without a credential. It panics if
// the principal is malformed.
func As(principal string) httpapi.Identifier {
	caller := &httpapi.Caller{Principal: policy.MustPrincipal(principal)}
	return identifier(func(*http.Request) (*httpapi.Caller, error) { return caller, nil })
}

// By identifies the caller of a request as the principal that a function returns, for example
// from a header. A request with an empty principal has no identity, and the guard answers it with
// 401. A malformed principal is answered with 500. The function is called concurrently.
func By(principal func(*http.Request) string) httpapi.Identifier {
	return identifier(func(r *http.Request) (*httpapi.Caller, error) {
		name := principal(r)
		if name == "" {
			return nil, certs.ErrNoIdentity
		}
		who, err := policy.ParsePrincipal(name)
		if err != nil {
			return nil, fmt.Errorf("guardtest: principal %q: %v", name, err) // not wrapped: not the client's mistake
		}
		return &httpapi.Caller{Principal: who}, nil
	})
}

type identifier func(*http.Request) (*httpapi.Caller, error)

func (f identifier) Identify(r *http.Request) (*httpapi.Caller, error) { return f(r) }

// AssertAllowed reports whether the engine allows the principal the action on the resource. If
// not, it marks the test as failed, with the reason, and the test continues.
func AssertAllowed(t testing.TB, engine *actors.Engine, principal, action, resource string) bool {
	t.Helper()
	return assert(t, engine, actors.Request{Action: action, Resource: resource}, principal, true)
}

// AssertDenied is the opposite of [AssertAllowed]. A request that the engine cannot decide is not
// denied.
func AssertDenied(t testing.TB, engine *actors.Engine, principal, action, resource string) bool {
	t.Helper()
	return assert(t, engine, actors.Request{Action: action, Resource: resource}, principal, false)
}

func assert(t testing.TB, engine *actors.Engine, req actors.Request, principal string, allowed bool) bool {
	t.Helper()
	who, err := policy.ParsePrincipal(principal)
	if err != nil {
		t.Errorf("guardtest: principal %q: %v", principal, err)
		return false
	}
	req.Principal = who
	d, err := engine.Decide(context.Background(), req)
	if err != nil {
		t.Errorf("guardtest: %s %s on %s: %v", principal, req.Action, req.Resource, err)
		return false
	}
	if d.Allowed != allowed {
		t.Errorf("guardtest: %s %s on %s: %s", principal, req.Action, req.Resource, d.Explain())
	}
	return d.Allowed == allowed
}
