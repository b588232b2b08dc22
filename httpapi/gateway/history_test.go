package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/historytest"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

// A history of the gateway has requests as uses. A use begins between the call of the client and the
// moment at which the upstream has it, because the gateway admits it in between. It ends when the
// upstream says so. A use of an action in path /aN ends by itself, or when the gateway cancels it.

const (
	historyPrincipals = 2
	historyClients    = 4
	historyTurns      = 12
)

// recorded is a gateway whose upstream records a history.
type recorded struct {
	t       *testing.T
	engine  *actors.Engine
	gateway *httptest.Server
	client  *http.Client

	mu      sync.Mutex
	history atomic.Pointer[historytest.History]
	over    map[string]chan struct{} // closed when the gateway's handler has returned, by request
}

// callers identifies a caller by a header: the histories are about what happens after that.
type callers struct{}

func (c callers) Identify(r *http.Request) (*httpapi.Caller, error) {
	who, err := policy.ParsePrincipal(r.Header.Get("Caller"))
	return &httpapi.Caller{Principal: who}, err
}

// newRecorded starts the upstream, and what newHandler makes in front of it.
func newRecorded(t *testing.T, newHandler func(e *actors.Engine, upstream string) http.Handler) *recorded {
	t.Helper()
	s := &recorded{t: t, over: map[string]chan struct{}{}}
	var roles []*policy.Role
	for a := range historytest.Actions {
		role, err := policy.NewRole(fmt.Sprintf("a%d", a), nil, []policy.Permission{permit(fmt.Sprintf("do:a%d", a))})
		require.NoError(t, err)
		roles = append(roles, role)
	}
	memory, err := oplog.NewMemoryWith(roles, nil)
	require.NoError(t, err)
	s.engine, err = actors.New(actors.Options{Log: memory, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	upstream := httptest.NewServer(http.HandlerFunc(s.use))
	handler := newHandler(s.engine, upstream.Listener.Addr().String())
	s.gateway = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(s.overOf(r.Header.Get("Request")))
		handler.ServeHTTP(w, r)
	}))
	// A transport sends a GET again if its connection, which is not new, breaks.
	transport := &http.Transport{DisableKeepAlives: true}
	s.client = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		s.gateway.Close()
		upstream.Close()
		if g, ok := handler.(*gateway.Gateway); ok {
			g.Close()
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, s.engine.Close(ctx))
	})
	return s
}

func permit(action string) policy.Permission {
	a, err := policy.ParseActionPattern(action)
	if err != nil {
		panic(err)
	}
	r, err := policy.ParseResourcePattern("thing")
	if err != nil {
		panic(err)
	}
	return policy.Permission{Effect: policy.Allow, Actions: []policy.ActionPattern{a}, Resources: []policy.ResourcePattern{r}}
}

func (s *recorded) overOf(request string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.over[request]
	if c == nil {
		c = make(chan struct{})
		s.over[request] = c
	}
	return c
}

// use is the upstream. It records the use that the request names.
func (s *recorded) use(w http.ResponseWriter, r *http.Request) {
	h := s.history.Load()
	e := historytest.Event{Kind: historytest.Begin}
	var linger int
	var call int64
	if _, err := fmt.Sscanf(r.Header.Get("Use"), "p%d c%d a%d %d %d", &e.Principal, &e.Client, &e.Action, &linger, &call); err != nil {
		s.t.Errorf("the header Use is %q", r.Header.Get("Use"))
		return
	}
	h.Add(e, call, h.Now())
	if revision, err := strconv.ParseUint(r.Header.Get(httpapi.RevisionHeader), 10, 64); err == nil {
		h.Decision(call, revision)
	}
	defer func() {
		e.Kind = historytest.End
		h.Instant(e)
	}()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	for range linger {
		if _, err := io.WriteString(w, "line\n"); err != nil || r.Context().Err() != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		runtime.Gosched()
	}
	if linger%3 == 2 {
		<-r.Context().Done() // only a revocation, or the client's end, ends it
	}
}

// record records a history of principals of its own.
func (s *recorded) record(seed uint64) *historytest.History {
	h := &historytest.History{}
	s.history.Store(h)
	who := func(p int) policy.Principal { return policy.MustPrincipal(fmt.Sprintf("test:s%d-%d", seed, p)) }
	h.Run(historytest.Load{
		Seed: seed, Clients: historyClients, Principals: historyPrincipals, Turns: historyTurns,
		Use: func(u historytest.Event, linger int) { s.request(who(u.Principal), u, linger) },
		Change: func(p, a int, allowed bool) uint64 {
			g := policy.Grant{Principal: who(p), Role: fmt.Sprintf("a%d", a)}
			c := policy.RevokeRole(g)
			if allowed {
				c = policy.GrantRole(g)
			}
			receipt, err := s.engine.Update(context.Background(), actors.Update{Changes: []policy.Change{c}})
			if err != nil {
				s.t.Errorf("update: %v", err)
			}
			return receipt.Revision
		},
	})
	return h
}

// request sends a request, and returns when it has no part in the upstream any more.
func (s *recorded) request(who policy.Principal, u historytest.Event, linger int) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/a%d", s.gateway.URL, u.Action), nil)
	if err != nil {
		s.t.Error(err)
		return
	}
	h := s.history.Load()
	call := h.Now()
	id := fmt.Sprintf("%s-%d", who, call)
	r.Header.Set("Caller", who.String())
	r.Header.Set("Use", fmt.Sprintf("p%d c%d a%d %d %d", u.Principal, u.Client, u.Action, linger, call))
	r.Header.Set("Request", id)
	response, err := s.client.Do(r)
	if err == nil {
		if response.StatusCode == http.StatusForbidden {
			u.Kind = historytest.Denied
			h.Add(u, call, h.Now())
		}
		timer := time.AfterFunc(3*time.Millisecond, cancel) // a use that waits for its client
		_, _ = io.Copy(io.Discard, response.Body)
		timer.Stop()
		_ = response.Body.Close()
	} else if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
		s.t.Errorf("a request failed: %v", err)
	}
	cancel()
	<-s.overOf(id)
}

// realGateway is the gateway. It waits longer for its upstream than any use takes.
func realGateway(t *testing.T) func(e *actors.Engine, upstream string) http.Handler {
	return func(e *actors.Engine, upstream string) http.Handler {
		c := gateway.Config{Upstreams: map[string]gateway.Upstream{"up": {Addresses: []string{upstream}, Linger: patience}}}
		for a := range historytest.Actions {
			c.Routes = append(c.Routes, gateway.Route{Upstream: "up", Route: routes.Route{Path: fmt.Sprintf("/a%d", a), Action: fmt.Sprintf("do:a%d", a), Resource: "thing"}})
		}
		g, err := gateway.New(c, gateway.Options{Engine: e, Identifier: callers{}, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		return g
	}
}

func historiesOfTheGateway() int {
	if os.Getenv("INTERLOCK_SOAK") != "" {
		return 2000
	}
	return 200
}

// TestG1G2G4_GatewayHistories checks histories of requests through the gateway, as the upstream
// sees them.
func TestG1G2G4_GatewayHistories(t *testing.T) {
	s := newRecorded(t, realGateway(t))
	requests := 0
	for seed := range historiesOfTheGateway() {
		h := s.record(uint64(seed))
		requests += len(h.Operations())
		if !h.Check(t) {
			t.Fatalf("history of seed %d is illegal:\n%s", seed, h.Dump())
		}
		require.NoError(t, h.MonotonicErr(), "seed %d", seed)
	}
	t.Logf("%d histories with %d events", historiesOfTheGateway(), requests)
}

// proxyTo is Go's reverse proxy as it is.
func proxyTo(upstream string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: upstream}) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: historyClients, IdleConnTimeout: time.Millisecond},
		ErrorLog:     slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// checksFirst asks before it proxies, and holds no lease.
func checksFirst(e *actors.Engine, upstream string) http.Handler {
	proxy := proxyTo(upstream)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, err := callers{}.Identify(r)
		if err != nil {
			panic(err)
		}
		d, err := e.Decide(r.Context(), caller.Request("do:"+r.URL.Path[1:], "thing"))
		if err != nil || !d.Allowed {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		proxy.ServeHTTP(w, r)
	})
}

// releasesEarly holds a lease until its handler returns.
func releasesEarly(e *actors.Engine, upstream string) http.Handler {
	guard, proxy, router := httpapi.NewGuard(e, callers{}, slog.New(slog.DiscardHandler)), proxyTo(upstream), http.NewServeMux()
	for a := range historytest.Actions {
		router.Handle(fmt.Sprintf("/a%d", a), guard.Protect(httpapi.Rule{Action: fmt.Sprintf("do:a%d", a), Resource: "thing"}, proxy))
	}
	return router
}

// TestHistoriesCatchOtherGateways checks that histories show what is wrong with other designs.
func TestHistoriesCatchOtherGateways(t *testing.T) {
	for name, design := range map[string]func(*actors.Engine, string) http.Handler{"checks first": checksFirst, "releases early": releasesEarly} {
		t.Run(name, func(t *testing.T) {
			s := newRecorded(t, design)
			for seed := range 200 {
				if !s.record(uint64(seed)).Check(t) {
					t.Logf("caught in history %d", seed+1)
					return
				}
			}
			t.Fatal("200 histories of a design that is known to be wrong were all found legal")
		})
	}
}
