package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/gateway"
	"github.com/interlock-authz/interlock/httpapi/internal/servertest"
	"github.com/interlock-authz/interlock/httpapi/routes"
)

func TestFaults_TheClientIsGone(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		f := newFeeds()
		s := newStation(t, k, f.download)
		ctx, cancel := context.WithCancel(t.Context())
		w := s.open(s.Client(wire, s.Issue("spiffe://interlock.test/alice")), s.Request(http.MethodGet, "/files/1", "").WithContext(ctx))
		f.lines["/files/1"] <- "first"
		w.requireLine("first")
		cancel()
		require.Error(t, await(t, f.ended["/files/1"]), "the upstream's request goes on")
		s.requireNoLeases()
	})
}

func TestFaults_TheClientIsGoneDuringItsUpload(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		f := newFeeds()
		s := newStation(t, k, f.upload)
		ctx, cancel := context.WithCancel(t.Context())
		from, to := io.Pipe()
		r := s.Request(http.MethodPut, "/files/1", "").WithContext(ctx)
		r.Body, r.ContentLength = from, -1
		var sending sync.WaitGroup
		sending.Go(func() { _, _ = s.Try(s.Client(wire, s.Issue("spiffe://interlock.test/alice")), r) })
		_, err := to.Write([]byte("first"))
		require.NoError(t, err)
		await(t, f.lines["/files/1"])
		cancel()
		_ = to.CloseWithError(context.Canceled)
		sending.Wait()
		require.Error(t, await(t, f.ended["/files/1"]), "the upstream took a part for a whole")
		s.requireNoLeases()
	})
}

func TestFaults_TheUpstreamBreaksOff(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		for _, length := range []string{"", "1000"} {
			s := newStation(t, k, func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.WriteString(w, "first\n")
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			w := s.open(s.Client(wire, s.Issue("spiffe://interlock.test/alice")), s.Request(http.MethodGet, "/files/1", ""))
			w.requireCut()
			s.requireNoLeases()
		}
	})
}

func TestFaults_TheUpstreamBreaksOffBeforeItsAnswer(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		s := newStation(t, k, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		c := s.Client(wire, s.Issue("spiffe://interlock.test/alice"))
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			s.Send(c, s.Request(method, "/files/1", "x")).RequireProblem(t, 502, "upstream-failed")
		}
		s.requireNoLeases()
	})
}

func TestFaults_TheUpstreamDoesNotAnswer(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind, wire servertest.Wire) {
		var ended atomic.Int32
		s := newStation(t, k, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); ended.Add(1) }, func(c *gateway.Config) {
			u := c.Upstreams["files"]
			u.ResponseTimeout = 50 * time.Millisecond
			c.Upstreams["files"] = u
		})
		got := s.Send(s.Client(wire, s.Issue("spiffe://interlock.test/alice")), s.Request(http.MethodGet, "/files/1", ""))
		got.RequireProblem(t, 504, "upstream-timeout")
		s.requireNoLeases()
		require.Eventually(t, func() bool { return ended.Load() == 1 }, patience, time.Millisecond, "asked once, and told that it is over")
	})
}

func TestFaults_TheUpstreamIsDown(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	s := newStation(t, kinds["http1"], func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }, func(c *gateway.Config) {
		u := c.Upstreams["files"]
		c.Upstreams["down"] = gateway.Upstream{Addresses: []string{closed.Addr().String()}}
		u.Addresses = append(u.Addresses, closed.Addr().String())
		c.Upstreams["files"] = u
		c.Routes = append(c.Routes, gateway.Route{Route: routes.Route{Path: "/down/{id}", Action: "files:get", Resource: "files/{id}"}, Upstream: "down"})
	})
	c := s.As("alice")
	s.Send(c, s.Request(http.MethodGet, "/down/1", "")).RequireProblem(t, 502, "upstream-failed")
	s.requireCounts(gateway.Counts{Failed: 1})
	for range 10 { // one of the two addresses answers, and nothing was sent to the other
		require.Equal(t, "here", s.Send(c, s.Request(http.MethodPost, "/files/1", "x")).Text)
	}
}

// breaking is an upstream that reads requests and closes their connections without an answer, but
// answers the first request of each connection if it has greeting.
type breaking struct {
	net.Listener
	seen     chan string // the methods
	greeting bool
}

func newBreaking(t *testing.T, greeting bool) *breaking {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &breaking{Listener: l, seen: make(chan string, 100), greeting: greeting}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return b
}

func (b *breaking) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for first := true; ; first = false {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		b.seen <- r.Method
		if !first || !b.greeting {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// TestRepeats counts how often an upstream gets a request that it does not answer.
func TestRepeats(t *testing.T) {
	for name, test := range map[string]struct {
		method, body string
		want         int
	}{
		"GET": {http.MethodGet, "", 2}, "DELETE": {http.MethodDelete, "", 2}, "POST": {http.MethodPost, "", 1},
		"PUT": {http.MethodPut, "", 2}, "PUT with a body": {http.MethodPut, "x", 1}, "GET with a body": {http.MethodGet, "x", 1},
	} {
		for _, reused := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				one, two := newBreaking(t, reused), newBreaking(t, reused)
				s := newStation(t, kinds["http1"], http.NotFound, func(c *gateway.Config) {
					c.Upstreams["files"] = gateway.Upstream{Addresses: []string{one.Addr().String(), two.Addr().String()}}
				})
				c := s.As("alice")
				if reused { // each address answers the first request of a connection
					for range 2 {
						require.Equal(t, "ok", s.Send(c, s.Request(http.MethodGet, "/files/1", "")).Text)
					}
					<-one.seen
					<-two.seen
				}
				r := s.Request(test.method, "/files/1", test.body)
				r.Header.Set("Idempotency-Key", "a") // at this, Go's own transport repeats a POST
				got := s.Send(c, r)
				if !reused || test.want == 1 {
					got.RequireProblem(t, 502, "upstream-failed")
				}
				s.requireNoLeases()
				require.Equal(t, test.want, len(one.seen)+len(two.seen))
			})
		}
	}
}

// TestG2_NothingIsRepeatedDuringAGrace revokes a call in its grace while the upstream has its
// request, and then lets the upstream break off.
func TestG2_NothingIsRepeatedDuringAGrace(t *testing.T) {
	arrived, goOn := make(chan struct{}), make(chan struct{})
	var requests atomic.Int32
	s := newStation(t, kinds["http1"], func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			_, _ = io.WriteString(w, "ok")
			return
		}
		arrived <- struct{}{}
		<-goOn
		panic(http.ErrAbortHandler)
	}, func(c *gateway.Config) { c.Routes[0].Grace = new(time.Minute) })
	c := s.As("alice")
	require.Equal(t, "ok", s.Send(c, s.Request(http.MethodGet, "/files/1", "")).Text)
	failed := make(chan error, 1)
	go func() {
		got, err := s.Try(c, s.Request(http.MethodGet, "/files/1", ""))
		if err == nil && got.StatusCode != http.StatusBadGateway {
			err = errors.New(got.Text)
		}
		failed <- err
	}()
	await(t, arrived)
	done := make(chan actors.Receipt, 1)
	go func() { done <- s.revoke("alice", "first") }()
	require.Eventually(t, func() bool { return s.leases()[0].Revoked != 0 }, patience, time.Millisecond)
	close(goOn)
	require.NoError(t, await(t, failed))
	await(t, done)
	require.EqualValues(t, 2, requests.Load(), "the request was repeated without authority")
}

func TestHealth(t *testing.T) {
	var healthy atomic.Bool
	var asked atomic.Int32
	answer := func(name string, healthy func() bool) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				asked.Add(1)
				if !healthy() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
				return
			}
			_, _ = io.WriteString(w, name)
		}))
		t.Cleanup(server.Close)
		return server
	}
	one := answer("one", func() bool { return true })
	two := answer("two", healthy.Load)
	s := newStation(t, kinds["http1"], http.NotFound, func(c *gateway.Config) {
		c.Upstreams["files"] = gateway.Upstream{
			Addresses: []string{one.Listener.Addr().String(), two.Listener.Addr().String()},
			Health:    &gateway.Health{Path: "/health", Interval: 5 * time.Millisecond},
		}
	})
	c := s.As("alice")
	answers := func() string {
		all := ""
		for range 4 {
			all += s.Send(c, s.Request(http.MethodGet, "/files/1", "")).Text + " "
		}
		return all
	}
	require.Eventually(t, func() bool { return answers() == "one one one one " }, patience, time.Millisecond)
	healthy.Store(true)
	require.Eventually(t, func() bool { return strings.Count(answers(), "two") == 2 }, patience, time.Millisecond, "in turn")
	require.Contains(t, s.Log.String(), "an upstream is unhealthy")
}

// TestReloadUnderLoad replaces the routes all the time while requests are sent.
func TestReloadUnderLoad(t *testing.T) {
	f := newFeeds()
	s := newStation(t, kinds["http1"], func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/files/2" {
			f.download(w, r)
			return
		}
		_, _ = io.WriteString(w, "old")
	})
	next := s.startUpstream(kinds["http2"], func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	c := s.As("alice")
	w := s.open(c, s.Request(http.MethodGet, "/files/2", ""))
	other := gateway.Config{Upstreams: map[string]gateway.Upstream{"files": next}, Routes: s.config.Routes}
	ctx, cancel := context.WithCancel(t.Context())
	var loading sync.WaitGroup
	var seen sync.Map
	for range 4 {
		loading.Go(func() {
			for ctx.Err() == nil {
				got, err := s.Try(c, s.Request(http.MethodGet, "/files/1", ""))
				if err != nil || got.StatusCode != http.StatusOK {
					t.Errorf("a request failed during a reload: %v %s", err, got.Text)
				}
				seen.Store(got.Text, true)
			}
		})
	}
	for range 100 {
		require.NoError(t, s.gateway.Use(other))
		require.Error(t, s.gateway.Use(gateway.Config{Routes: []gateway.Route{{Route: routes.Route{Path: "/x"}, Upstream: "none"}}}))
		require.NoError(t, s.gateway.Use(s.config))
	}
	cancel()
	loading.Wait()
	for _, text := range []string{"old", "new"} {
		_, found := seen.Load(text)
		require.True(t, found, text)
	}
	f.lines["/files/2"] <- "after all reloads"
	w.requireLine("after all reloads")
	close(f.lines["/files/2"])
	w.requireWhole()
}

var _ = policy.Principal{}
