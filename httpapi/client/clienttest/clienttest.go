// Package clienttest is a server of decisions and remote leases for the tests of programs that use
// package client. It is the real server, with an engine in memory, in the process of the test.
//
//	s := clienttest.New(t)
//	s.Allow("user:batch", "orders:write", "orders/*")
//	go work(s.Client("user:batch"))
//	…
//	s.Revoke("user:batch")
package clienttest

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/certs"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/authzen"
	"github.com/interlock-authz/interlock/httpapi/client"
	"github.com/interlock-authz/interlock/httpapi/leases"
)

// Server is a server for one test. It knows its callers by a header that [Server.Client] sends, so
// a test needs no certificates. It is safe for concurrent use. Make one with [New].
type Server struct {
	t      testing.TB
	engine *actors.Engine
	leases *leases.Server
	http   *httptest.Server

	mu     sync.Mutex
	grants map[string][]policy.Grant // by principal
	roles  int
	cut    chan struct{} // closed when contact is back; nil if it is not lost
}

// callerHeader names the caller.
const callerHeader = "Clienttest-Caller"

// New starts a server. It ends with the test, which fails if an operation still holds a lease then.
func New(t testing.TB) *Server {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	engine, err := actors.New(actors.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, engine: engine, grants: map[string][]policy.Grant{}}
	if s.leases, err = leases.New(leases.Options{Engine: engine, Identifier: s, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	decisions, err := authzen.New(authzen.Options{Engine: engine, Identifier: s, BaseURL: "https://localhost", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	router := httpapi.NewRouter(quiet)
	s.leases.Mount(router)
	decisions.Mount(router)
	s.http = httptest.NewServer(s.passing(router))
	t.Cleanup(s.close)
	return s
}

func (s *Server) close() {
	s.Mend()
	now, cancel := context.WithCancel(context.Background())
	cancel()
	if left, _ := s.leases.Close(now); left > 0 {
		s.t.Errorf("clienttest: %d leases were not released", left)
	}
	s.http.CloseClientConnections()
	s.http.Close()
	_ = s.engine.Close(now)
}

// Identify implements [httpapi.Identifier].
func (s *Server) Identify(r *http.Request) (*httpapi.Caller, error) {
	who, err := policy.ParsePrincipal(r.Header.Get(callerHeader))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", certs.ErrNoIdentity, err)
	}
	return &httpapi.Caller{Principal: who}, nil
}

// passing holds requests while contact is lost.
func (s *Server) passing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		cut := s.cut
		s.mu.Unlock()
		if cut != nil {
			select {
			case <-cut:
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// Client returns a client of a principal, such as "user:batch". Its leases last for a second
// without contact, unless alter changes that. It is closed with the test.
func (s *Server) Client(principal string, alter ...func(*client.Options)) *client.Client {
	s.t.Helper()
	if _, err := policy.ParsePrincipal(principal); err != nil {
		s.t.Fatal(err)
	}
	transport := &http.Transport{}
	o := client.Options{BaseURL: s.http.URL, LeaseTTL: time.Second, HTTPClient: &http.Client{Transport: &as{principal, transport}}}
	for _, f := range alter {
		f(&o)
	}
	c, err := client.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.Close()
		transport.CloseIdleConnections()
	})
	return c
}

// as names the caller in each request.
type as struct {
	principal string
	next      http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (a *as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(callerHeader, a.principal)
	return a.next.RoundTrip(r)
}

// Allow allows a principal an action on a resource. Both may be patterns, as in a policy file.
func (s *Server) Allow(principal, action, resource string) {
	s.t.Helper()
	who, err := policy.ParsePrincipal(principal)
	if err != nil {
		s.t.Fatal(err)
	}
	actions, err := policy.ParseActionPattern(action)
	if err != nil {
		s.t.Fatal(err)
	}
	resources, err := policy.ParseResourcePattern(resource)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.roles++
	g := policy.Grant{Principal: who, Role: fmt.Sprintf("role-%d", s.roles)}
	s.grants[principal] = append(s.grants[principal], g)
	s.mu.Unlock()
	role, err := policy.NewRole(g.Role, nil, []policy.Permission{
		{Effect: policy.Allow, Actions: []policy.ActionPattern{actions}, Resources: []policy.ResourcePattern{resources}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.update(nil, policy.PutRole(role, ""), policy.GrantRole(g))
}

// Revoke takes all that the principal was allowed. When it returns, no operation under a lease of
// the principal is running. So it must not be called by such an operation.
func (s *Server) Revoke(principal string) { s.RevokeAfter(principal, 0) }

// RevokeAfter is Revoke with a grace for the operations in progress.
func (s *Server) RevokeAfter(principal string, grace time.Duration) {
	s.t.Helper()
	s.mu.Lock()
	grants := s.grants[principal]
	delete(s.grants, principal)
	s.mu.Unlock()
	changes := make([]policy.Change, len(grants))
	for i, g := range grants {
		changes[i] = policy.RevokeRole(g)
	}
	if len(changes) == 0 {
		s.t.Fatalf("clienttest: %s is not allowed anything", principal)
	}
	s.update(&grace, changes...)
}

func (s *Server) update(grace *time.Duration, changes ...policy.Change) {
	if _, err := s.engine.Update(context.Background(), actors.Update{Changes: changes, Grace: grace}); err != nil {
		s.t.Errorf("clienttest: %v", err)
	}
}

// Cut loses contact: requests get no answer, and event streams break, until Mend.
func (s *Server) Cut() {
	s.mu.Lock()
	if s.cut == nil {
		s.cut = make(chan struct{})
	}
	s.mu.Unlock()
	s.http.CloseClientConnections()
}

// Mend ends what Cut began.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cut != nil {
		close(s.cut)
		s.cut = nil
	}
}

// Live returns the number of leases that are out.
func (s *Server) Live() int { return s.leases.Counts().Live }
